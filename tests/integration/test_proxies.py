"""Real proxies in front of real daemons, set up as the documentation says."""

from __future__ import annotations

import re
import smtplib
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.integration.client import MESSAGE, Client, queue_id
from tests.integration.daemon_process import (
    ROOT,
    DaemonTestCase,
    Process,
    answers,
    free_port,
    wait_until,
)
from tests.integration.programs import DEADLINE, find_program, missing, run_program

# The proxy is on the one and clients are on the other, which no daemon here trusts.
PROXY_IP = "127.0.0.1"
CLIENT_IP = "127.0.0.2"
NGINX_MODULES = Path("/usr/lib/nginx/modules")


def documented(title: str) -> str:
    """:returns: the first example below that title in the documentation."""
    text = (ROOT / "docs" / "proxies.rst").read_text()
    section = re.search(rf"(?m)^{re.escape(title)}\n-+\n(?s:.*?)::\n\n((?:(?: {{4}}.*)?\n)+)", text)
    assert section is not None, title
    return section[1]


def changed(text: str, changes: Mapping[str, str]) -> str:
    """:returns: the text with those changes, none of them in vain."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def deliver(port: int, source_ip: str = CLIENT_IP) -> str:
    """Send a message to that port of the proxy's address. :returns: its queue id."""
    with smtplib.SMTP(PROXY_IP, port, timeout=DEADLINE, source_address=(source_ip, 0)) as smtp:
        smtp.ehlo("client.example.com")
        smtp.mail("a@example.com")
        smtp.rcpt("b@example.com")
        code, text = smtp.data(MESSAGE)
    return queue_id(f"{code} {text.decode()}")


class ProxyTestCase(DaemonTestCase):
    """Daemons that trust the proxy's address and no other, each with a store of its own."""

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Let daemons run, and stores be, in a directory of that name."""
        outer = self.directory
        self.directory = outer / name
        self.directory.mkdir(exist_ok=True)
        try:
            yield
        finally:
            self.directory = outer

    def start_daemon(self, name: str, **changes: object) -> Process:
        """Start a daemon in a directory of that name."""
        with self.within(name):
            return self.start(trusted_proxies=[PROXY_IP], **changes)

    def stored_by(self, name: str) -> dict[str, bytes]:
        """:returns: what the daemon of that name has stored."""
        with self.within(name):
            return self.stored()

    def launch_proxy(self, port: int, *command: str) -> Process:
        """Start a proxy and wait until it answers on that port."""
        proxy = Process(command, self.directory)
        self.addCleanup(proxy.kill)
        wait_until(lambda: answers(port) or not proxy.running)
        self.assertTrue(proxy.running, proxy.output)
        return proxy

    def assert_received_from(self, ip: str, mail: bytes, helo: str = "client.example.com") -> None:
        """The mail's first trace field says so."""
        self.assertIn(f"\r\nReceived: from {helo} ({helo} [{ip}])\r\n".encode(), mail)


class BalancerTestCase(ProxyTestCase):
    """Two daemons, ``mail1`` and ``mail2``, behind a balancer that speaks the PROXY protocol."""

    def setUp(self) -> None:
        super().setUp()
        self.daemons = {name: self.start_daemon(name, proxyon=True) for name in ("mail1", "mail2")}

    def addresses(self, port: int) -> dict[str, str]:
        """:returns: those that stand in the documentation, and those that are here."""
        return {
            "192.0.2.10:25": f"{PROXY_IP}:{port}",
            "192.0.2.11:25": f"{PROXY_IP}:{self.daemons['mail1'].port()}",
            "192.0.2.12:25": f"{PROXY_IP}:{self.daemons['mail2'].port()}",
        }

    def assert_balances(self, port: int) -> None:
        """Both daemons get mail, with the client's address, and have nothing to complain of."""
        sent = {deliver(port) for _ in range(6)}
        stored = [self.stored_by(name) for name in self.daemons]
        self.assertEqual({queued for mails in stored for queued in mails}, sent)
        for mails in stored:
            self.assertNotEqual(mails, {})
            for mail in mails.values():
                self.assert_received_from(CLIENT_IP, mail)
        for daemon in self.daemons.values():
            self.assert_clean(daemon)

    def assert_survives(self, port: int) -> None:
        """A daemon dies; what was accepted is stored, and mail goes on to be accepted."""
        sent = [deliver(port) for _ in range(4)]
        self.assertNotEqual(self.stored_by("mail1"), {})
        self.daemons["mail1"].kill()
        sent += [deliver(port) for _ in range(4)]
        stored = {**self.stored_by("mail1"), **self.stored_by("mail2")}
        self.assertEqual(set(stored), set(sent))


class HAProxyTests(BalancerTestCase):
    def start_haproxy(self, healthy: str = "L7OK", **changes: str) -> int:
        """
        Start HAProxy and wait until it finds both daemons healthy.

        :param healthy: what the result of a health check is then.
        :param changes: what is other than in the documentation: words there by words here.
        :returns: the port to send mail to.
        """
        port = free_port()
        # Health checks are many then, beside all that a test does.
        often = {"inter 2s": "inter 50ms"}
        config = changed(documented("HAProxy"), {**self.addresses(port), **often, **changes})
        self.stats_port = free_port()
        config = f"global\n    stats socket ipv4@{PROXY_IP}:{self.stats_port}\n{config}"
        (self.directory / "haproxy.cfg").write_text(config)
        self.launch_proxy(port, find_program("haproxy"), "-db", "-f", "haproxy.cfg")
        wait_until(lambda: self.health() == {"mail1": healthy, "mail2": healthy})
        return port

    def health(self) -> dict[str, str]:
        """:returns: the last health check's result by the name of the server."""
        with socket.create_connection((PROXY_IP, self.stats_port), DEADLINE) as stats:
            stats.sendall(b"show stat\n")
            lines = stats.makefile().read().removeprefix("# ").splitlines()
        names, *rows = (line.split(",") for line in lines if line)
        servers = (dict(zip(names, row, strict=True)) for row in rows)
        return {
            server["svname"]: server["check_status"]
            for server in servers
            if server["svname"] in self.daemons
        }

    def test_version_2(self) -> None:
        self.assert_balances(self.start_haproxy())

    def test_version_1(self) -> None:
        self.assert_balances(self.start_haproxy(**{"send-proxy-v2": "send-proxy"}))

    def test_health_checks_that_only_connect(self) -> None:
        smtp_checks = "option smtpchk EHLO balancer.example.com"
        self.assert_balances(self.start_haproxy("L4OK", **{smtp_checks: ""}))

    def test_a_server_dies(self) -> None:
        port = self.start_haproxy()
        self.assert_survives(port)
        wait_until(lambda: self.health()["mail1"] == "L4CON")
        self.assertIn(deliver(port), self.stored_by("mail2"))


class NginxTestCase(ProxyTestCase):
    """How nginx runs in a directory of the test's."""

    def start_nginx(self, port: int, module: str, config: str) -> None:
        """
        Start nginx and wait until it answers.

        :param module: that it needs.
        :param config: as the documentation has it, with the ports of the test.
        """
        executable = find_program("nginx")
        module_file = NGINX_MODULES / module
        if not module_file.exists():
            missing(module)
        prefix = self.directory / "nginx"
        prefix.mkdir()
        paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"    {path}_temp_path {path};\n" for path in paths)
        preamble = (
            f"load_module {module_file};\ndaemon off;\nmaster_process off;\n"
            "pid nginx.pid;\nerror_log stderr warn;\n"
        )
        config = config.replace("http {\n", f"http {{\n    access_log off;\n{temporary}")
        (prefix / "nginx.conf").write_text(preamble + config)
        self.launch_proxy(port, executable, "-p", f"{prefix}/", "-e", "stderr", "-c", "nginx.conf")


class NginxStreamTests(NginxTestCase, BalancerTestCase):
    def start_balancer(self) -> int:
        """:returns: the port to send mail to."""
        port = free_port()
        config = changed(documented("nginx, streams"), self.addresses(port))
        self.start_nginx(port, "ngx_stream_module.so", config)
        return port

    def test_balances(self) -> None:
        self.assert_balances(self.start_balancer())

    def test_a_server_dies(self) -> None:
        self.assert_survives(self.start_balancer())


class NginxMailTests(NginxTestCase):
    def test_xclient(self) -> None:
        daemon = self.start_daemon("mail", xclient_on=True)
        port, auth_port = free_port(), free_port()
        changes = {
            "192.0.2.10:25": f"{PROXY_IP}:{port}",
            "127.0.0.1:8025": f"{PROXY_IP}:{auth_port}",
            "Auth-Server 192.0.2.11": f"Auth-Server {PROXY_IP}",
            "Auth-Port 25": f"Auth-Port {daemon.port()}",
        }
        config = changed(documented("nginx, mail"), changes)
        self.start_nginx(port, "ngx_mail_module.so", config)
        sent = deliver(port)
        stored = self.stored_by("mail")
        self.assertEqual(list(stored), [sent])
        self.assert_received_from(CLIENT_IP, stored[sent])
        self.assert_clean(daemon)


class DirectTests(ProxyTestCase):
    """Without a proxy, or with one that lies."""

    def greeting_for(self, source_ip: str, port: int) -> bytes:
        """:returns: all that a client from that address is told that says EHLO."""
        with socket.create_connection((PROXY_IP, port), DEADLINE, (source_ip, 0)) as client:
            client.sendall(b"EHLO x\r\n")
            return client.makefile("rb").read()

    def test_proxyon_refuses_direct_clients(self) -> None:
        port = self.start_daemon("mail", proxyon=True).port()
        for source_ip in (CLIENT_IP, PROXY_IP):
            told = self.greeting_for(source_ip, port)
            self.assertRegex(told.decode(), r"\A421 4\.7\.0 [^\r\n]+\r\n\Z")

    def test_proxy_speaks_for_itself(self) -> None:
        daemon = self.start_daemon("mail", proxyon=True)
        with Client(daemon.port()) as client:
            client.write(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")
            client.hello()
            sent = queue_id(client.deliver(MESSAGE))
        self.assert_received_from(PROXY_IP, self.stored_by("mail")[sent])
        self.assert_clean(daemon)

    def test_untrusted_header(self) -> None:
        daemon = self.start_daemon("mail", proxyon=True)
        header = b"PROXY TCP4 192.0.2.7 192.0.2.11 4321 25\r\n"
        with socket.create_connection(
            (PROXY_IP, daemon.port()), DEADLINE, (CLIENT_IP, 0)
        ) as client:
            client.sendall(header)
            self.assertRegex(client.makefile("rb").read(), rb"\A421 4\.7\.0 [^\r\n]+\r\n\Z")

    def test_untrusted_xclient(self) -> None:
        port = self.start_daemon("mail", xclient_on=True).port()
        with smtplib.SMTP(PROXY_IP, port, source_address=(CLIENT_IP, 0)) as smtp:
            smtp.ehlo("client.example.com")
            self.assertFalse(smtp.has_extn("XCLIENT"))
            code, text = smtp.docmd("XCLIENT", "ADDR=192.0.2.7")
            self.assertEqual((code, text[:6]), (550, b"5.7.0 "))

    def test_xclient_behind_a_proxy(self) -> None:
        """Whom the header names is the one who must be trusted."""
        port = self.start_daemon("mail", proxyon=True, xclient_on=True).port()
        for source_ip, offered in ((PROXY_IP, True), (CLIENT_IP, False)):
            with Client(port) as client:
                client.write(f"PROXY TCP4 {source_ip} {PROXY_IP} 1 25\r\n".encode())
                self.assertEqual("XCLIENT" in client.hello(), offered)


class SwaksTests(ProxyTestCase):
    def swaks(self, daemon: Process, *arguments: str) -> bytes:
        """Send a message with swaks. :returns: what is stored."""
        server = f"{PROXY_IP}:{daemon.port()}"
        swaks = run_program(
            "swaks", "--server", server, "--to", "b@example.com", "--helo", "me", *arguments
        )
        self.assertEqual(swaks.returncode, 0, swaks.stdout)
        self.assert_clean(daemon)
        (mail,) = self.stored_by("mail").values()
        return mail

    def proxied(self, family: str, source: str, destination: str, *arguments: str) -> bytes:
        """Send a message with a PROXY header. :returns: what is stored."""
        return self.swaks(
            self.start_daemon("mail", proxyon=True),
            *("--proxy-family", family, "--proxy-source", source, "--proxy-source-port", "4321"),
            *("--proxy-dest", destination, "--proxy-dest-port", "25", *arguments),
        )

    def test_proxy_version_1(self) -> None:
        mail = self.proxied("TCP4", "192.0.2.7", "192.0.2.11", "--proxy-version", "1")
        self.assert_received_from("192.0.2.7", mail, "me")

    def test_proxy_version_1_ipv6(self) -> None:
        mail = self.proxied("TCP6", "2001:db8::7", "2001:db8::11", "--proxy-version", "1")
        self.assert_received_from("IPv6:2001:db8::7", mail, "me")

    def test_proxy_version_2(self) -> None:
        mail = self.proxied("AF_INET", "192.0.2.7", "192.0.2.11", "--proxy-version", "2")
        self.assert_received_from("192.0.2.7", mail, "me")

    def test_xclient(self) -> None:
        mail = self.swaks(
            self.start_daemon("mail", xclient_on=True),
            *("--xclient-addr", "IPV6:2001:db8::7", "--xclient-name", "mx.example.com"),
            "--xclient-delim",
            *("--xclient-helo", "mx", "--xclient-proto", "SMTP"),
        )
        self.assert_received_from("IPv6:2001:db8::7", mail, "mx")
        self.assertIn(b" with SMTP id ", mail)
