"""Real clients speak TLS to a real daemon; and whoever tries something else gets nowhere."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
from email.message import EmailMessage
from typing import Any

from tests.integration.client import MESSAGE, Client, queue_id
from tests.integration.daemon_process import ROOT, DaemonTestCase, Process
from tests.integration.programs import DEADLINE, missing, run_program
from tests.smtp.certificates import SERVER, Identity, issue

# What clients connect to, and what the certificate is for.
HOST = "127.0.0.1"
FROM, TO = "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>"
# The first octets of a client's hello, which promise more (RFC 8446 section 5.1).
HELLO = b"\x16\x03\x01\x02\x00\x01"
NOT_NOW = r"^503 5\.5\.1 "


class TLSClient(Client):
    """A client on a raw socket that can begin TLS."""

    def __enter__(self) -> TLSClient:
        return self

    def start_tls(self, context: ssl.SSLContext) -> None:
        """
        Shake hands. Of TLS 1.3, the server's last word on it comes later.

        :raises OSError: the handshake failed.
        """
        self._replies.close()
        self._socket = context.wrap_socket(self._socket, server_hostname=SERVER)
        self._replies = self._socket.makefile("rb")

    def reset(self) -> None:
        """Break the connection off."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._replies.close()
        self._socket.close()

    def read_to_the_end(self) -> bytes:
        """:returns: all that comes before the server closes."""
        octets = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := self._replies.read(1):
                octets += piece
        return octets

    def is_let_in(self, context: ssl.SSLContext) -> bool:
        """:returns: whether the server takes part in a handshake, and then in a conversation."""
        try:
            self.start_tls(context)
            return self.reply()[:3] == "220" or self.command("NOOP")[:3] == "250"
        except OSError:
            return False


class TLSTestCase(DaemonTestCase):
    """
    Daemons with a certificate of an authority of their own.

    :ivar client_context: of a client who trusts that authority, and nobody else.
    """

    def setUp(self) -> None:
        super().setUp()
        self.authority = issue("Test Authority", authority=True)
        self.authority_file = str(self.directory / "authority.pem")
        (self.directory / "authority.pem").write_bytes(self.authority.certificate_pem)
        self.files = issue(SERVER, self.authority).write(self.directory, "server")
        self.client_context = ssl.create_default_context(cafile=self.authority_file)

    def curl(self, process: Process, scheme: str, *arguments: str) -> None:
        """Send a message, if the certificate is right."""
        (self.directory / "message.eml").write_bytes(MESSAGE)
        curl = run_program(
            *("curl", "--silent", "--show-error", "--cacert", self.authority_file, *arguments),
            *("--mail-from", "a@example.com", "--mail-rcpt", "b@example.com"),
            *("--upload-file", str(self.directory / "message.eml")),
            f"{scheme}://{HOST}:{process.port()}/client.example.com",
        )
        self.assertEqual((curl.returncode, curl.stdout), (0, ""))

    def swaks(self, process: Process, *arguments: str) -> None:
        """Send a message, if the certificate is right."""
        if "=== TLS supported" not in run_program("swaks", "--support").stdout:
            missing("Net::SSLeay, which swaks needs for TLS,")
        swaks = run_program(
            *("swaks", "--server", f"{HOST}:{process.port()}", "--to", "b@example.com"),
            *("--helo", "client.example.com", "--tls-verify"),
            *("--tls-ca-path", self.authority_file, *arguments),
        )
        self.assertEqual(swaks.returncode, 0, swaks.stdout)

    def openssl(self, process: Process, *arguments: str) -> None:
        """Send a message, if the certificate is right."""
        commands = ["EHLO client.example.com", FROM, TO, "DATA"]
        lines = "".join(f"{line}\r\n" for line in commands).encode()
        program = shutil.which("openssl") or missing("openssl")
        openssl = subprocess.run(
            [
                *(program, "s_client", "-quiet", "-verify_return_error", "-verify_ip", HOST),
                *("-CAfile", self.authority_file, *arguments),
                *("-connect", f"{HOST}:{process.port()}"),
            ],
            input=(lines + MESSAGE + b".\r\nQUIT\r\n").decode(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        self.assertIn("250 2.0.0 OK: queued as ", openssl.stdout)

    def assert_stored(self, protocol: str, text: bytes = b"") -> None:
        """One message is stored, and says which protocol it came by (RFC 3848)."""
        (mail,) = self.stored().values()
        self.assertIn(f" with {protocol} id ".encode(), mail)
        self.assertIn(text, mail)

    def assert_serves_on(self, process: Process) -> None:
        """It has nothing but warnings to say, and takes a message of who does as he should."""
        with TLSClient(process.port()) as client:
            self.secure(client)
            queue_id(client.deliver(MESSAGE))
        for complaint in ("Traceback", "Unhandled", "#error", "#critical"):
            self.assertNotIn(complaint, process.output)

    def secure(self, client: TLSClient) -> None:
        """Begin a session within TLS."""
        raise NotImplementedError

    def assert_unfit_clients_get_nowhere(self, process: Process) -> None:
        """Handshakes fail, and that is all."""
        with TLSClient(process.port()) as client:
            self.ready(client)
            error = self.assertRaises(OSError, client.start_tls, ssl.create_default_context())
            self.assertIn("certificate verify failed", str(error))
        process.wait_for("ended=tls-failed .*unknown ca")
        with TLSClient(process.port()) as client:
            self.ready(client)
            client.write(b"EHLO client.example.com\r\n")
            # Perhaps an alert (RFC 8446 section 6), and no word of SMTP.
            self.assertNotIn(b"250", client.read_to_the_end())
        with TLSClient(process.port()) as client:
            self.ready(client)
            client.write(HELLO)
            client.reset()
        process.wait_for("(?s)(ended=tls-failed .*){3}")
        self.assert_serves_on(process)

    def assert_handshakes_end_in_time(self, process: Process) -> None:
        """:param process: with a short ``timeout``."""
        for beginning in (b"", HELLO):
            with TLSClient(process.port()) as client:
                self.ready(client)
                client.write(beginning)
                self.assertEqual(client.read_to_the_end(), b"")
        process.wait_for("(?s)(the handshake was not finished in time.*){2}")
        self.assert_serves_on(process)

    def ready(self, client: TLSClient) -> None:
        """Come to where a handshake is to begin."""
        raise NotImplementedError

    def assert_large_message_arrives(self, process: Process) -> None:
        line = b".line %07d " + b"\xe4" * 60 + b"\r\n"
        body = b"".join(line % number for number in range(5 * 2**20 // len(line) + 1))
        message = b"Subject: large\r\n\r\n" + body
        with TLSClient(process.port()) as client:
            self.secure(client)
            queued = queue_id(client.deliver(message))
        # Not assertEqual: it would take minutes to show how megabytes differ.
        self.assertTrue(self.stored()[queued].endswith(b"\r\n" + message))
        self.assert_clean(process)


class StartTLSTestCase(TLSTestCase):
    def start_tls_server(self, tls: dict[str, Any] | None = None, **changes: Any) -> Process:
        return self.start(tls={**self.files, "start_tls_on": True, **(tls or {})}, **changes)

    def ready(self, client: TLSClient) -> None:
        self.assertIn("250-STARTTLS", client.hello())
        self.assertEqual(client.command("STARTTLS")[:3], "220")

    def secure(self, client: TLSClient) -> None:
        self.ready(client)
        client.start_tls(self.client_context)
        self.assertEqual(client.command("EHLO client.example.com")[:3], "250")


class StartTLSTests(StartTLSTestCase):
    def test_smtplib(self) -> None:
        process = self.start_tls_server()
        with smtplib.SMTP(HOST, process.port(), timeout=DEADLINE) as client:
            client.starttls(context=self.client_context)
            client.ehlo()
            self.assertFalse(client.has_extn("starttls"))
            self.assertTrue(client.has_extn("smtputf8"))
            self.assertEqual(client.send_message(utf8_message()), {})
        self.assert_stored("UTF8SMTPS", "Subject: Grüße".encode())
        self.assert_clean(process)

    def test_swaks(self) -> None:
        process = self.start_tls_server()
        self.swaks(process, "--tls")
        self.assert_stored("ESMTPS")
        self.assert_clean(process)

    def test_curl(self) -> None:
        process = self.start_tls_server()
        self.curl(process, "smtp", "--ssl-reqd")
        self.assert_stored("ESMTPS", MESSAGE)
        self.assert_clean(process)

    def test_openssl(self) -> None:
        process = self.start_tls_server()
        self.openssl(process, "-starttls", "smtp")
        self.assert_stored("ESMTPS", MESSAGE)
        self.assert_clean(process)

    def test_commands_behind_starttls_have_no_effect(self) -> None:
        process = self.start_tls_server()
        injected = f"STARTTLS\r\n{FROM}\r\n{TO}\r\nVRFY x\r\n".encode()
        with TLSClient(process.port()) as client:
            client.hello()
            client.write(injected)
            self.assertEqual(client.reply(), "220 2.0.0 ready to start TLS")
            client.start_tls(self.client_context)
            self.assertRegex(client.command(FROM), NOT_NOW)
            client.command("EHLO client.example.com")
            self.assertRegex(client.command(TO), NOT_NOW)
            queue_id(client.deliver(MESSAGE))
        self.assertEqual(len(self.stored()), 1)
        self.assert_clean(process)

    def test_session_starts_anew(self) -> None:
        process = self.start_tls_server()
        with TLSClient(process.port()) as client:
            client.hello()
            self.assertEqual(client.command(FROM)[:3], "250")
            self.assertEqual(client.command("STARTTLS")[:3], "220")
            client.start_tls(self.client_context)
            self.assertRegex(client.command(TO), NOT_NOW)
            self.assertRegex(client.command(FROM), NOT_NOW)
            self.assertNotIn("STARTTLS", client.command("EHLO client.example.com"))
            self.assertRegex(client.command(TO), NOT_NOW)
            self.assertRegex(client.command("STARTTLS"), NOT_NOW)
            self.assertEqual(client.command("QUIT")[:3], "221")
            self.assertEqual(client.reply(), "")
        self.assert_clean(process)

    def test_not_where_it_is_off(self) -> None:
        process = self.start_tls_server({"start_tls_on": False})
        with TLSClient(process.port()) as client:
            self.assertNotIn("STARTTLS", client.hello())
            self.assertRegex(client.command("STARTTLS"), "^502 5.5.1 ")

    def test_unfit_clients(self) -> None:
        self.assert_unfit_clients_get_nowhere(self.start_tls_server())

    def test_handshakes_that_never_end(self) -> None:
        self.assert_handshakes_end_in_time(self.start_tls_server(timeout=1))

    def test_five_megabytes(self) -> None:
        self.assert_large_message_arrives(self.start_tls_server())

    def test_settings_that_cannot_be_used(self) -> None:
        other = issue(SERVER).write(self.directory, "other")["private_key_file"]
        for setting, value, cause in [
            ("private_key_file", "none.pem", "none.pem cannot be read: No such file or directory"),
            (
                "private_key_file",
                other,
                "is not the key of the first certificate in public_key_file",
            ),
            ("client_auth_type", "Some", "there is no 'Some'"),
        ]:
            tls = {**self.files, "start_tls_on": True, setting: value}
            process = self.launch("--config", self.write_config(tls=tls))
            self.assertEqual(process.finish(), 1)
            line = f"test.json: servers[0].tls.{setting}: {cause}\n"
            self.assertTrue("".join(process.stderr).endswith(line), process.output)
            self.assertNotIn("Traceback", process.output)


class SMTPSTests(TLSTestCase):
    """Implicit TLS, as on port 465."""

    def start_smtps(self, tls: dict[str, Any] | None = None, **changes: Any) -> Process:
        return self.start(tls={**self.files, "tls_always_on": True, **(tls or {})}, **changes)

    def ready(self, client: TLSClient) -> None:
        pass

    def secure(self, client: TLSClient) -> None:
        client.start_tls(self.client_context)
        self.assertEqual(client.hello()[:3], "250")

    def test_smtplib(self) -> None:
        process = self.start_smtps()
        with smtplib.SMTP_SSL(
            HOST, process.port(), context=self.client_context, timeout=DEADLINE
        ) as client:
            client.ehlo()
            self.assertFalse(client.has_extn("starttls"))
            self.assertEqual(client.send_message(utf8_message()), {})
        self.assert_stored("UTF8SMTPS", "Subject: Grüße".encode())
        self.assert_clean(process)

    def test_swaks(self) -> None:
        process = self.start_smtps()
        self.swaks(process, "--tlsc")
        self.assert_stored("ESMTPS")
        self.assert_clean(process)

    def test_curl(self) -> None:
        process = self.start_smtps()
        self.curl(process, "smtps")
        self.assert_stored("ESMTPS", MESSAGE)
        self.assert_clean(process)

    def test_openssl(self) -> None:
        process = self.start_smtps()
        self.openssl(process)
        self.assert_stored("ESMTPS", MESSAGE)
        self.assert_clean(process)

    def test_no_starttls_within_tls(self) -> None:
        process = self.start_smtps({"start_tls_on": True})
        with TLSClient(process.port()) as client:
            client.start_tls(self.client_context)
            self.assertNotIn("STARTTLS", client.hello())
            self.assertRegex(client.command("STARTTLS"), NOT_NOW)
            queue_id(client.deliver(MESSAGE))
        self.assert_clean(process)

    def test_greeting_waits_for_tls(self) -> None:
        process = self.start_smtps(timeout=1)
        with TLSClient(process.port()) as client:
            self.assertEqual(client.read_to_the_end(), b"")

    def test_behind_a_proxy_header(self) -> None:
        """Its octets and those of the hello may come in one segment."""
        process = self.start_smtps(proxyon=True)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.client_context.wrap_bio(incoming, outgoing, server_hostname=SERVER)
        with socket.create_connection((HOST, process.port()), timeout=DEADLINE) as connection:
            header = b"PROXY TCP4 192.0.2.7 192.0.2.11 4321 465\r\n"
            self.assertRaises(ssl.SSLWantReadError, tls.do_handshake)
            connection.sendall(header + outgoing.read())
            greeting = b""
            while not greeting:
                incoming.write(connection.recv(2**16))
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    greeting = tls.read(1024)
                connection.sendall(outgoing.read())
        self.assertEqual(greeting[:4], b"220 ")

    def test_unfit_clients(self) -> None:
        self.assert_unfit_clients_get_nowhere(self.start_smtps())

    def test_handshakes_that_never_end(self) -> None:
        self.assert_handshakes_end_in_time(self.start_smtps(timeout=1))

    def test_five_megabytes(self) -> None:
        self.assert_large_message_arrives(self.start_smtps())

    def test_client_certificates(self) -> None:
        known = issue("client.example.com", self.authority)
        process = self.start_smtps(
            {"client_auth_type": "RequireAndVerifyClientCert", "root_cas_file": self.authority_file}
        )
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for identity, let_in in [
                (None, False),
                (issue("client.example.com"), False),
                (known, True),
            ]:
                context = self.context_of(identity, version)
                with TLSClient(process.port()) as client:
                    self.assertEqual(client.is_let_in(context), let_in)
        self.client_context = self.context_of(known, ssl.TLSVersion.TLSv1_3)
        self.assert_serves_on(process)

    def context_of(self, identity: Identity | None, version: ssl.TLSVersion) -> ssl.SSLContext:
        """:returns: of a client who shows this certificate."""
        context = ssl.create_default_context(cafile=self.authority_file)
        context.maximum_version = version
        if identity is not None:
            files = identity.write(self.directory, "client")
            context.load_cert_chain(files["public_key_file"], files["private_key_file"])
        return context


class MakeCertificateTests(StartTLSTestCase):
    """The example that makes a certificate for a try-out."""

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = str(ROOT / "examples" / "make_certificate.py")
        return run_program(sys.executable, program, *arguments)

    def test_what_it_prints_is_a_configuration_that_works(self) -> None:
        made = self.make(SERVER, str(self.directory))
        self.assertEqual(made.returncode, 0, made.stdout)
        self.assertIn("For a try-out only", made.stdout)
        printed = re.search(r'^"tls": (\{.*?^\})$', made.stdout, re.MULTILINE | re.DOTALL)
        assert printed is not None, made.stdout
        self.assertEqual((self.directory / "key.pem").stat().st_mode & 0o777, 0o600)
        self.client_context = ssl.create_default_context(
            cafile=str(self.directory / "certificate.pem")
        )
        self.assert_serves_on(self.start(tls=json.loads(printed[1])))

    def test_it_overwrites_nothing(self) -> None:
        for name, other in (("key.pem", "certificate.pem"), ("certificate.pem", "key.pem")):
            directory = self.directory / f"with {name}"
            directory.mkdir()
            (directory / name).write_text("mine")
            made = self.make(SERVER, str(directory))
            line = (
                f"make_certificate.py: {directory / name} is there already; nothing was written\n"
            )
            self.assertEqual((made.returncode, made.stdout), (1, line))
            self.assertEqual((directory / name).read_text(), "mine")
            self.assertFalse((directory / other).exists())

    def test_arguments_that_cannot_be(self) -> None:
        for host, directory, cause in [
            ("", ".", "argument host: '' is no address and no name in ASCII"),
            ("grüße.example", ".", "is no address and no name in ASCII"),
            (SERVER, "/dev/null/no", "argument directory: no directory '/dev/null/no'"),
        ]:
            made = self.make(host, directory)
            self.assertEqual(made.returncode, 2)
            self.assertIn(cause, made.stdout)
            self.assertNotIn("Traceback", made.stdout)


def utf8_message() -> EmailMessage:
    """:returns: what needs SMTPUTF8."""
    message = EmailMessage()
    message["From"] = "björn@example.com"
    message["To"] = "jürgen@example.com"
    message["Subject"] = "Grüße"
    message.set_content("Hello.\n")
    return message
