"""
The sample configurations of go-guerrilla start and serve here.

The settings and their values are those of ``goguerrilla.conf.sample`` in its repository. Only paths
and ports are the test's.
"""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import ConfigError, TLSConfig, load_config, parse_config
from tests.integration.client import queue_id
from tests.integration.daemon_process import DaemonTestCase, Process, free_port
from tests.integration.programs import DEADLINE
from tests.smtp.certificates import issue

HOST_NAME = "mail.test.com"
HOSTS = ["guerrillamail.com", "guerrillamailblock.com", "sharklasers.com"]
HOSTS += ["guerrillamail.net", "guerrillamail.org"]
RECIPIENT = "test@sharklasers.com"
# Two of them are no ciphers of OpenSSL's any more, and the first never was one.
CIPHERS = [
    "TLS_FALLBACK_SCSV",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
]


class SampleTestCase(DaemonTestCase):
    """A daemon with a key of its own, and ports for the two servers of a sample."""

    def setUp(self) -> None:
        super().setUp()
        authority = issue("Test Authority", authority=True)
        files = issue(HOST_NAME, authority).write(self.directory, "test.com")
        self.key_files = {name: files[name] for name in ("private_key_file", "public_key_file")}
        authority_file = self.directory / "authority.pem"
        authority_file.write_bytes(authority.certificate_pem)
        self.context = ssl.create_default_context(cafile=authority_file)
        # The certificate is for the name, and the client connects to an address.
        self.context.check_hostname = False
        self.ports = free_port(), free_port()
        self.pid_file = self.directory / "go-guerrilla.pid"

    def start_with(self, config: dict[str, Any], servers: int) -> Process:
        self.write_config_text(json.dumps(config, indent=4))
        process = self.launch("--config", "test.json")
        for port in self.ports[:servers]:
            process.wait_for(rf"listening on .*:{port}\b")
        return process

    @contextmanager
    def starttls(self) -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP("127.0.0.1", self.ports[0], timeout=DEADLINE) as client:
            client.ehlo()
            client.starttls(context=self.context)
            yield client

    @contextmanager
    def implicit_tls(self) -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP_SSL(
            "127.0.0.1", self.ports[1], timeout=DEADLINE, context=self.context
        ) as client:
            yield client

    def assert_takes_mail(self, client: smtplib.SMTP) -> None:
        _, said = client.ehlo()
        self.assertEqual(said.splitlines()[0], HOST_NAME.encode())
        self.assertEqual(client.esmtp_features["size"], "1000000")
        client.mail("me@example.com")
        self.assertEqual(client.rcpt("bob@example.com")[0], 550)
        self.assertEqual(client.rcpt(RECIPIENT)[0], 250)
        code, text = client.data("Subject: Hello\r\n\r\nHello\r\n")
        queue_id(f"{code} {text.decode()}")

    def assert_serves(self, process: Process) -> None:
        """With both servers."""
        for connect in (self.starttls, self.implicit_tls):
            with connect() as client:
                self.assert_takes_mail(client)
        # The Debugger says what it sees of both messages.
        process.wait_for(r"(?s)test@sharklasers\.com.*test@sharklasers\.com")
        self.assertEqual(self.pid_file.read_text().strip(), str(process.pid))
        self.assertNotIn("Traceback", process.output)


class SampleTests(SampleTestCase):
    """The one of its last years."""

    def config(self, **second: Any) -> dict[str, Any]:
        tls: dict[str, Any] = {
            **self.key_files,
            "protocols": ["ssl3.0", "tls1.2"],
            "ciphers": CIPHERS,
            "curves": ["P256", "P384", "P521", "X25519"],
            "client_auth_type": "NoClientCert",
        }
        server = {"host_name": HOST_NAME, "max_size": 1000000, "timeout": 180, "log_file": "stderr"}
        return {
            "log_file": "stderr",
            "log_level": "info",
            "allowed_hosts": HOSTS,
            "pid_file": str(self.pid_file),
            "backend_config": {
                "log_received_mails": True,
                "save_workers_size": 1,
                "save_process": "HeadersParser|Header|Debugger",
                "primary_mail_host": "mail.example.com",
                "gw_save_timeout": "30s",
                "gw_val_rcpt_timeout": "3s",
            },
            "servers": [
                {
                    **server,
                    "is_enabled": True,
                    "listen_interface": f"127.0.0.1:{self.ports[0]}",
                    "max_clients": 1000,
                    "tls": {"start_tls_on": True, "tls_always_on": False, **tls},
                },
                {
                    **server,
                    "is_enabled": False,
                    "listen_interface": f"127.0.0.1:{self.ports[1]}",
                    "max_clients": 500,
                    "tls": {"start_tls_on": False, "tls_always_on": True, **tls},
                    **second,
                },
            ],
        }

    def test_as_it_is(self) -> None:
        """Its second server is not enabled."""
        process = self.start_with(self.config(), 1)
        with self.starttls() as client:
            self.assert_takes_mail(client)
        with self.assertRaises(ConnectionRefusedError):
            smtplib.SMTP("127.0.0.1", self.ports[1])
        # It has no store.
        self.assertIn("NO PROCESSOR STORES MAIL", process.output)

    def test_both_servers(self) -> None:
        process = self.start_with(self.config(is_enabled=True), 2)
        self.assert_serves(process)

    def test_speaks_up_to_the_highest_version_that_it_names(self) -> None:
        self.start_with(self.config(), 1)
        with self.starttls() as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            self.assertEqual(client.sock.version(), "TLSv1.2")

    def test_what_is_left_out_is_said(self) -> None:
        self.write_config_text(json.dumps(self.config()))
        warnings = load_config(str(self.directory / "test.json")).warnings
        said = "\n".join(warnings)
        for name in ("ssl3.0", "TLS_FALLBACK_SCSV", "TLS_RSA_WITH_RC4_128_SHA"):
            self.assertIn(name, said)


class OlderSampleTests(SampleTestCase):
    """The one before there were processors: a backend by its name, keys in the server."""

    def config(self) -> dict[str, Any]:
        server = {
            "is_enabled": True,
            "host_name": HOST_NAME,
            "max_size": 1000000,
            **self.key_files,
            "timeout": 180,
            "log_file": "stderr",
        }
        return {
            "log_file": "stderr",
            "log_level": "info",
            "allowed_hosts": HOSTS,
            "pid_file": str(self.pid_file),
            "backend_name": "dummy",
            "backend_config": {"log_received_mails": True},
            "servers": [
                {
                    **server,
                    "listen_interface": f"127.0.0.1:{self.ports[0]}",
                    "start_tls_on": True,
                    "tls_always_on": False,
                    "max_clients": 1000,
                },
                {
                    **server,
                    "listen_interface": f"127.0.0.1:{self.ports[1]}",
                    "start_tls_on": False,
                    "tls_always_on": True,
                    "max_clients": 500,
                },
            ],
        }

    def test_both_servers(self) -> None:
        process = self.start_with(self.config(), 2)
        self.assert_serves(process)
        for older in ("backend_name", "servers[1].private_key_file"):
            self.assertIn(f"{older}: older ", process.output)

    def test_dashboard(self) -> None:
        """It was in a branch only, and the sample of that branch has it."""
        dashboard = {"is_enabled": True, "listen_interface": ":8080"}
        process = self.start_with({**self.config(), "dashboard": dashboard}, 2)
        self.assertIn("dashboard: there is none here, left out", process.output)


class OldTLSTests(SynchronousTestCase):
    """What is taken for something newer, or left out, leaves the rest as it is."""

    def tls(self, **settings: Any) -> tuple[TLSConfig, tuple[str, ...]]:
        """:returns: what a server gets, and the warnings."""
        text = json.dumps({"servers": [{"is_enabled": True, "tls": settings}]})
        loaded = parse_config(text.encode(), "test.json")
        return loaded.config.servers[0].tls, loaded.warnings

    def test_newer_ones_stay(self) -> None:
        protocols, ciphers = ["tls1.1", "tls1.3"], ["TLS_AES_128_GCM_SHA256"]
        tls, warnings = self.tls(protocols=protocols, ciphers=ciphers)
        self.assertEqual((list(tls.protocols), list(tls.ciphers)), (protocols, ciphers))
        self.assertEqual(warnings, ())

    def test_older_ones(self) -> None:
        tls, warnings = self.tls(protocols=["ssl3.0", "tls1.2"], ciphers=CIPHERS)
        self.assertEqual(tls.protocols, ("tls1.0", "tls1.2"))
        left_out = [name for name in CIPHERS if "RC4" in name or name == "TLS_FALLBACK_SCSV"]
        self.assertEqual(tls.ciphers, tuple(name for name in CIPHERS if name not in left_out))
        self.assertEqual(len(warnings), 2)

    def test_nothing_else(self) -> None:
        """An empty list would stand for the default, which nobody has asked for."""
        tls, _ = self.tls(ciphers=["TLS_RSA_WITH_RC4_128_SHA"])
        self.assertEqual(tls.ciphers, ("TLS_RSA_WITH_RC4_128_SHA",))

    def test_wrong_types(self) -> None:
        for name in ("protocols", "ciphers"):
            for value in (None, "tls1.2", [1], [["ssl3.0"]]):
                with self.assertRaises(ConfigError, msg=f"{name}: {value}") as caught:
                    self.tls(**{name: value})
                self.assertTrue(caught.exception.path.startswith(f"servers[0].tls.{name}"))
