"""Programs that people send mail with, each with what it has of its own."""

from __future__ import annotations

import smtplib
import socket
from email.message import EmailMessage

from tests.integration.client import Client, queue_id
from tests.integration.daemon_process import DaemonTestCase, Process
from tests.integration.postfix import Postfix, PostfixTestCase, reported_recipients
from tests.integration.programs import DEADLINE, run_program
from tests.smtp.certificates import SERVER, issue

HOST = "127.0.0.1"
# As Postfix and curl read messages, with lines that end with LF.
HEADER = b"From: a@example.com\nTo: b@example.com\nSubject: test\n"
DOTS = b".\n..\n.a line\n...\n\n.\n"


def crlf(text: bytes) -> bytes:
    """:returns: the text as it goes over the wire."""
    return text.replace(b"\n", b"\r\n")


class PostfixTests(PostfixTestCase):
    def start_both(self, **changes: object) -> tuple[Process, Postfix]:
        """Start a daemon and a Postfix that hands all mail to it."""
        process = self.start(**changes)
        return process, self.start_postfix(relayhost=f"[{HOST}]:{process.port()}")

    def assert_delivered(self, postfix: Postfix, message: bytes, *arguments: str) -> bytes:
        """Send a message to one recipient, the last argument. :returns: what is stored."""
        postfix.send(message, "-f", "a@example.com", *arguments)
        status, words = postfix.outcomes(arguments[-1])[arguments[-1]]
        self.assertEqual(status, "sent 2.0.0", words)
        ((queued, mail),) = self.stored().items()
        self.assertEqual(queue_id(words), queued)
        return mail

    def test_pipelined_recipients(self) -> None:
        process, postfix = self.start_both()
        recipients = [f"user{number}@example.com" for number in range(5)]
        postfix.send(HEADER + b"\nHello.\n", "-f", "a@example.com", *recipients)
        outcomes = postfix.outcomes(*recipients)
        self.assertEqual({status for status, _ in outcomes.values()}, {"sent 2.0.0"})
        self.assertEqual(len(self.stored()), len(recipients))
        spoken = [line[:6] for line in postfix.dialog if line[:2] == "> "]
        until_the_end = ["> EHLO", "> MAIL", *["> RCPT"] * 5, "> DATA", "> ."]
        # What follows may not be in the log yet.
        self.assertEqual(spoken[: len(until_the_end)], until_the_end)
        self.assertRegex(" ".join(line[:6] for line in postfix.dialog), "> RCPT > DATA < 250")
        self.assert_clean(process)

    def test_refused_recipient(self) -> None:
        """Only that one bounces, and the bounce comes to us, too."""
        process, postfix = self.start_both(allowed_hosts=["example.com"])
        postfix.send(
            HEADER + b"\nHello.\n", "-f", "a@example.com", "b@example.com", "c@example.org"
        )
        outcomes = postfix.outcomes("a@example.com", "b@example.com", "c@example.org")
        self.assertEqual(
            {recipient: status for recipient, (status, _) in outcomes.items()},
            {
                "a@example.com": "sent 2.0.0",
                "b@example.com": "sent 2.0.0",
                "c@example.org": "bounced 5.7.1",
            },
        )
        bounce = self.stored()[queue_id(outcomes["a@example.com"][1])]
        self.assertEqual(reported_recipients(bounce), ["c@example.org"])
        self.assert_clean(process)

    def test_8bitmime(self) -> None:
        process, postfix = self.start_both()
        header = HEADER + (
            b"MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\n"
            b"Content-Transfer-Encoding: 8bit\n"
        )
        body = b"\nGr\xfc\xdfe\n"
        mail = self.assert_delivered(postfix, header + body, "-B8BITMIME", "b@example.com")
        self.assertTrue(mail.endswith(crlf(body)))
        self.assertRegex("\n".join(postfix.dialog), "> MAIL FROM:.* SIZE=[0-9]+ BODY=8BITMIME\n")
        self.assert_clean(process)

    def test_smtputf8(self) -> None:
        process, postfix = self.start_both()
        message = "From: a@example.com\nTo: jürgen@example.com\nSubject: Grüße\n\nHello.\n"
        mail = self.assert_delivered(postfix, message.encode(), "jürgen@example.com")
        self.assertIn("\r\nSubject: Grüße\r\n".encode(), mail)
        self.assertIn(b" with UTF8SMTP id ", mail)
        self.assert_clean(process)

    def test_five_megabytes_and_dots(self) -> None:
        process, postfix = self.start_both()
        body = b"\n" + DOTS + b"".join(b".line %07d\n" % number for number in range(400_000)) + DOTS
        self.assertGreater(len(body), 5 * 10**6)
        mail = self.assert_delivered(postfix, HEADER + body, "b@example.com")
        # Not assertEqual: it would take minutes to show how megabytes differ.
        self.assertTrue(mail.endswith(crlf(body)))
        self.assert_clean(process)

    def test_starttls(self) -> None:
        authority = issue("Test Authority", authority=True)
        (self.shared / "authority.pem").write_bytes(authority.certificate_pem)
        files = issue(SERVER, authority).write(self.directory, "server")
        process = self.start(tls={**files, "start_tls_on": True})
        postfix = self.start_postfix(
            relayhost=f"[{HOST}]:{process.port()}",
            smtp_tls_security_level="secure",
            smtp_tls_secure_cert_match=SERVER,
            smtp_tls_CAfile=str(self.shared / "authority.pem"),
        )
        mail = self.assert_delivered(postfix, HEADER + b"\n" + DOTS, "b@example.com")
        self.assertIn(b" with ESMTPS id ", mail)
        self.assertTrue(mail.endswith(crlf(DOTS)))
        self.assert_clean(process)


class SwaksTests(DaemonTestCase):
    def test_pipeline(self) -> None:
        process = self.start()
        swaks = run_program(
            *("swaks", "--server", f"{HOST}:{process.port()}", "--pipeline", "--helo", "me"),
            *("--from", "a@example.com", "--to", "b@example.com,c@example.com"),
        )
        self.assertEqual(swaks.returncode, 0, swaks.stdout)
        self.assertRegex(swaks.stdout, r"(?m)^ -> DATA\n<-  250 2\.1\.0 ")
        self.assertEqual(len(self.stored()), 2)
        self.assert_clean(process)


class SmtplibTests(DaemonTestCase):
    def test_smtputf8_and_a_host_with_u_labels(self) -> None:
        process = self.start(allowed_hosts=["bücher.example"])
        message = EmailMessage()
        message["From"] = "björn@example.com"
        message["Subject"] = "Grüße"
        message.set_content("Hello.\n")
        with smtplib.SMTP(HOST, process.port(), timeout=DEADLINE) as client:
            recipients = ["jürgen@bücher.example", "b@xn--bcher-kva.example", "c@bucher.example"]
            refused = client.send_message(message, to_addrs=recipients)
        self.assertEqual({to: code for to, (code, _) in refused.items()}, {recipients[2]: 550})
        for mail in self.stored().values():
            self.assertIn("\r\nSubject: Grüße\r\n".encode(), mail)
            self.assertIn(b" with UTF8SMTP id ", mail)
        self.assertEqual(len(self.stored()), 2)
        self.assert_clean(process)

    def deliver_bare_newlines(self, process: Process) -> None:
        """Send what smtplib sends as it is, being bytes; then what it should have been."""
        with smtplib.SMTP(HOST, process.port(), timeout=DEADLINE) as client:
            try:
                client.sendmail("a@example.com", "b@example.com", b"\n.bare\n..\n")
            finally:
                client.sendmail("a@example.com", "b@example.com", b"\r\n.proper\r\n")

    def test_bare_newlines_are_refused(self) -> None:
        process = self.start()
        error = self.assertRaises(smtplib.SMTPDataError, self.deliver_bare_newlines, process)
        self.assertEqual(error.smtp_code, 550)
        (mail,) = self.stored().values()
        self.assertTrue(mail.endswith(b"\r\n\r\n.proper\r\n"))

    def test_bare_newlines_are_normalized(self) -> None:
        """The dots that smtplib stuffs behind them stay: they may be the sender's own."""
        self.deliver_bare_newlines(self.start(bare_newline="normalize"))
        bare, proper = self.stored().values()
        self.assertTrue(bare.endswith(b"\r\n\r\n..bare\r\n...\r\n\r\n"), bare)
        self.assertTrue(proper.endswith(b"\r\n\r\n.proper\r\n"))


class CurlTests(DaemonTestCase):
    def test_file(self) -> None:
        process = self.start()
        (self.directory / "message").write_bytes(HEADER + b"\n" + DOTS)
        curl = run_program(
            *("curl", "--silent", "--show-error", "--crlf"),
            *("--mail-from", "a@example.com", "--mail-rcpt", "b@example.com"),
            *("--mail-rcpt", "c@example.com", "--upload-file", str(self.directory / "message")),
            f"smtp://{HOST}:{process.port()}/client.example.com",
        )
        self.assertEqual((curl.returncode, curl.stdout), (0, ""))
        self.assertEqual(len(self.stored()), 2)
        for mail in self.stored().values():
            self.assertTrue(mail.endswith(crlf(HEADER + b"\n" + DOTS)))
        self.assert_clean(process)


class ChunkTests(DaemonTestCase):
    """BDAT, which hardly any program at hand speaks."""

    def test_five_megabytes_of_anything(self) -> None:
        process = self.start()
        octets = bytes(range(256)) + b"\n\r.\r\n.\n\0\0QUIT\r\n\r\n.\r\n"
        message = b"Subject: binary\r\n\r\n" + octets * (5 * 2**20 // len(octets) + 1)
        sizes = [1, 2, 3, 100_000, 2**20, len(message)]
        with Client(process.port()) as client:
            self.assertIn("250-CHUNKING", client.hello())
            client.command("MAIL FROM:<a@example.com> BODY=BINARYMIME")
            client.command("RCPT TO:<b@example.com>")
            start = 0
            for size in sizes:
                chunk = message[start : start + size]
                start += size
                last = " LAST" if start >= len(message) else ""
                client.write(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
                reply = client.reply()
                self.assertEqual(reply[:3], "250", reply)
            self.assertEqual(client.command("QUIT")[:3], "221")
        mail = self.stored()[queue_id(reply)]
        # Not assertEqual: it would take minutes to show how megabytes differ.
        self.assertTrue(mail.endswith(b"\r\n" + message))
        self.assert_clean(process)


class MaxClientsTests(DaemonTestCase):
    def test_client_too_many_that_does_not_wait_for_the_greeting(self) -> None:
        """It is not reset while it sends, and reads why it is sent away."""
        process = self.start(max_clients=1)
        with Client(process.port()) as first:
            self.assertEqual(first.reply()[:3], "220")
            for _ in range(10):
                with socket.create_connection((HOST, process.port()), DEADLINE) as second:
                    second.sendall(b"x" * 200_000)
                    second.recv(1, socket.MSG_PEEK)
                    second.sendall(b"x" * 200_000)
                    told = second.makefile("rb").read()
                self.assertRegex(told, rb"\A421 4\.7\.0 [^\r\n]+\r\n\Z")
