"""Command lines, parsed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.address import Address
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.commands import (
    CommandError,
    parse_host_name,
    parse_mail,
    parse_rcpt,
    split_command,
)

MAX_SIZE = 1000


class CommandTests(SynchronousTestCase):
    def assert_refused(self, code: bytes, argument: bytes) -> None:
        parse = parse_rcpt if argument[:2].upper() == b"TO" else parse_mail_argument
        error = self.assertRaises(CommandError, parse, argument)
        self.assertEqual(error.reply.split(b" ")[:2], code.split(b" "), error.reply)
        self.assertEqual(error.reply.count(b"\r\n"), 1)

    def test_split(self) -> None:
        self.assertEqual(split_command(b"mail FROM:<a@b>"), (b"MAIL", b"FROM:<a@b>"))
        self.assertEqual(split_command(b"QUIT"), (b"QUIT", b""))
        self.assertEqual(split_command(b"NOOP   "), (b"NOOP", b""))
        self.assertEqual(split_command(b""), (b"", b""))

    def test_host_names(self) -> None:
        self.assertEqual(parse_host_name(b"mx_1.example.com"), "mx_1.example.com")
        self.assertEqual(parse_host_name(b"[IPv6:2001:db8::1]"), "[IPv6:2001:db8::1]")
        self.assertEqual(parse_host_name(b"my laptop"), "my")

    def test_hostile_host_names(self) -> None:
        for argument in (b"", b"a\tb", b"\xc3\xa9.example", b"<x>", b"a)(b", b"x" * 256, b"a\x7f"):
            error = self.assertRaises(CommandError, parse_host_name, argument)
            self.assertEqual(error.reply, replies.NEEDS_HOST_NAME)

    def test_mail(self) -> None:
        address = parse_mail_argument(b"from: <Alice@example.com>")
        self.assertEqual((str(address), address.params), ("Alice@example.com", ()))
        self.assertTrue(parse_mail_argument(b"FROM:<>").null_path)

    def test_mail_parameters(self) -> None:
        address = parse_mail_argument(b"FROM:<a@b> size=1000 Body=8bitmime")
        self.assertEqual(address.params, (("SIZE", "1000"), ("BODY", "8bitmime")))
        address = parse_mail_argument(b"FROM:<>  BODY=7BIT   SIZE=1")
        self.assertEqual(address.params, (("BODY", "7BIT"), ("SIZE", "1")))

    def test_mail_too_large(self) -> None:
        self.assert_refused(b"552 5.3.4", b"FROM:<a@b> SIZE=1001")
        self.assert_refused(b"552 5.3.4", b"FROM:<a@b> SIZE=99999999999999999999")

    def test_mail_refused(self) -> None:
        self.assert_refused(b"501 5.5.4", b"")
        self.assert_refused(b"501 5.5.4", b"<a@b>")
        self.assert_refused(b"501 5.1.7", b"FROM:")
        self.assert_refused(b"501 5.1.7", b"FROM:<a@b")
        self.assert_refused(b"501 5.1.7", b"FROM:<a b@c>")
        self.assert_refused(b"501 5.5.4", b"FROM:<a@b> SIZE=x")
        self.assert_refused(b"501 5.5.4", b"FROM:<a@b> SIZE")
        self.assert_refused(b"501 5.5.4", b"FROM:<a@b> SIZE=")
        self.assert_refused(b"501 5.5.4", b"FROM:<a@b> SIZE=123456789012345678901")
        self.assert_refused(b"501 5.5.4", b"FROM:<a@b> BODY=BINARYMIME")
        self.assert_refused(b"501 5.5.4", b"FROM:<a@b> =x")
        self.assert_refused(b"501 5.5.4", b"FROM:<a@b> SIZE=1 SIZE=2")
        self.assert_refused(b"555 5.5.4", b"FROM:<a@b> SMTPUTF8")

    def test_rcpt(self) -> None:
        self.assertEqual(str(parse_rcpt(b"to:<bob@example.com>")), "bob@example.com")
        self.assertEqual(parse_rcpt(b"TO:<postmaster>").host, "")

    def test_rcpt_refused(self) -> None:
        self.assert_refused(b"501 5.5.4", b"TO<a@b>")
        self.assert_refused(b"501 5.1.3", b"TO:<>")
        self.assert_refused(b"501 5.1.3", b"TO:<a@b>x")
        self.assert_refused(b"555 5.5.4", b"TO:<a@b> NOTIFY=NEVER")
        self.assert_refused(b"501 5.5.4", b"TO:<a@b> \xff=1")


def parse_mail_argument(argument: bytes) -> Address:
    return parse_mail(argument, MAX_SIZE)
