"""Command lines, parsed."""

from __future__ import annotations

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.address import Address
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.commands import (
    CommandError,
    MailCommand,
    parse_bdat,
    parse_host_name,
    parse_mail,
    parse_rcpt,
    refuse_argument,
    split_command,
)

MAX_SIZE = 1000

bounded = settings(max_examples=300, deadline=None, derandomize=True)
PIECES = [
    *(b"FROM:", b"TO:", b"<a@b>", b"<>", b"<\xc3\xbc@b>", b" ", b"\t", b"=", b"\xff", b"\0", b"-"),
    *(b"SIZE=10", b"SIZE", b"BODY=BINARYMIME", b"body=8bitmime", b"SMTPUTF8", b"X-Y=z", b"LAST"),
]
arguments = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join),
)


class CommandTests(SynchronousTestCase):
    def assert_refused(self, code: bytes, argument: bytes, utf8: bool = False) -> None:
        if argument[:2].upper() == b"TO":
            error = self.assertRaises(CommandError, parse_rcpt, argument, utf8)
        else:
            error = self.assertRaises(CommandError, parse_mail, argument, MAX_SIZE)
        self.assertEqual(error.reply.split(b" ")[:2], code.split(b" "), error.reply)
        self.assertEqual(error.reply.count(b"\r\n"), 1)

    def test_split(self) -> None:
        self.assertEqual(split_command(b"mail FROM:<a@b>"), (b"MAIL", b"FROM:<a@b>"))
        self.assertEqual(split_command(b"QUIT"), (b"QUIT", b""))
        self.assertEqual(split_command(b"NOOP   "), (b"NOOP", b""))
        self.assertEqual(split_command(b""), (b"", b""))

    def test_no_argument(self) -> None:
        refuse_argument(b"")
        error = self.assertRaises(CommandError, refuse_argument, b"x")
        self.assertEqual(error.reply, replies.NEEDS_NO_PARAMETER)

    def test_host_names(self) -> None:
        self.assertEqual(parse_host_name(b"mx_1.example.com"), "mx_1.example.com")
        self.assertEqual(parse_host_name(b"[IPv6:2001:db8::1]"), "[IPv6:2001:db8::1]")
        self.assertEqual(parse_host_name(b"my laptop"), "my")

    def test_hostile_host_names(self) -> None:
        for argument in (b"", b"a\tb", b"\xc3\xa9.example", b"<x>", b"a)(b", b"x" * 256, b"a\x7f"):
            error = self.assertRaises(CommandError, parse_host_name, argument)
            self.assertEqual(error.reply, replies.NEEDS_HOST_NAME)

    def test_mail(self) -> None:
        mail = parse_mail(b"from: <Alice@example.com>", MAX_SIZE)
        self.assertEqual(mail, MailCommand(Address("Alice", "example.com"), 0, False, False))
        self.assertTrue(parse_mail(b"FROM:<>", MAX_SIZE).address.null_path)

    def test_mail_parameters(self) -> None:
        for text, size, binary, utf8, params in (
            (
                b"FROM:<a@b> size=1000 Body=8bitmime",
                *(1000, False, False, (("SIZE", "1000"), ("BODY", "8bitmime"))),
            ),
            (
                b"FROM:<a@b>  BODY=7BIT   SIZE=1 ",
                1,
                False,
                False,
                (("BODY", "7BIT"), ("SIZE", "1")),
            ),
            (b"FROM:<a@b> SIZE=00000000000000000000", 0, False, False, (("SIZE", "0" * 20),)),
            (b"FROM:<a@b> body=binaryMime", 0, True, False, (("BODY", "binaryMime"),)),
            (b"FROM:<a@b> SmtpUtf8", 0, False, True, (("SMTPUTF8", None),)),
        ):
            mail = parse_mail(text, MAX_SIZE)
            self.assertEqual((mail.size, mail.binary, mail.utf8), (size, binary, utf8))
            self.assertEqual(mail.address, Address("a", "b", params=params))

    def test_mail_too_large(self) -> None:
        self.assert_refused(b"552 5.3.4", b"FROM:<a@b> SIZE=1001")
        self.assert_refused(b"552 5.3.4", b"FROM:<a@b> SIZE=99999999999999999999")

    def test_mail_refused(self) -> None:
        self.assert_refused(b"501 5.5.4", b"")
        self.assert_refused(b"501 5.5.4", b"<a@b>")
        self.assert_refused(b"501 5.1.7", b"FROM:")
        self.assert_refused(b"501 5.1.7", b"FROM:<a@b")
        self.assert_refused(b"501 5.1.7", b"FROM:<a b@c>")

    def test_mail_parameters_refused(self) -> None:
        for parameters in (
            *(b"SIZE=x", b"SIZE", b"SIZE=", b"SIZE=123456789012345678901", b"SIZE=-1", b"SIZE=1="),
            *(b"BODY=9BIT", b"BODY", b"BODY=8BITMIMES", b"SMTPUTF8=1", b"SMTPUTF8="),
            *(
                b"=x",
                b"-X=1",
                b"X_Y",
                b"X=a=b",
                b"SIZE=\xd9\xa1",
                b"\xff=1",
                b"\xc5\xbfIZE=1",
                b"X=\0",
            ),
            *(b"SIZE=1 SIZE=2", b"SMTPUTF8 smtputf8", b"SIZE=1\tBODY=7BIT", b"SIZE=1\x1cBODY=7BIT"),
        ):
            self.assert_refused(b"501 5.5.4", b"FROM:<a@b> " + parameters)
        for parameters in (b"X", b"AUTH=<>", b"RET=HDRS", b"SIZES=1", b"SIZE=1 X-Y=z", b"X=1 X=2"):
            self.assert_refused(b"555 5.5.4", b"FROM:<a@b> " + parameters)

    def test_mail_in_utf8(self) -> None:
        mail = parse_mail("FROM:<jürgen@bücher.example> SIZE=1 SMTPUTF8".encode(), MAX_SIZE)
        self.assertEqual((mail.size, mail.utf8), (1, True))
        self.assertEqual(str(mail.address), "jürgen@bücher.example")

    def test_utf8_needs_smtputf8(self) -> None:
        """RFC 6531 section 3.5. A source route counts, though it is dropped."""
        for path in ("<ü@b>", "<a@ü>", '<"ü"@b>', "<@ü:a@b>", "ü@b"):
            for parameters in (b"", b" SIZE=1", b" BODY=8BITMIME"):
                self.assert_refused(b"553 5.6.7", b"FROM:%b%b" % (path.encode(), parameters))
            self.assert_refused(b"553 5.6.7", b"TO:" + path.encode())

    def test_rcpt(self) -> None:
        self.assertEqual(str(parse_rcpt(b"to:<bob@example.com>", False)), "bob@example.com")
        self.assertEqual(parse_rcpt(b"TO:<postmaster>", False).host, "")
        self.assertEqual(str(parse_rcpt("TO:<ü@b>".encode(), True)), "ü@b")

    def test_rcpt_refused(self) -> None:
        for utf8 in (False, True):
            self.assert_refused(b"501 5.5.4", b"TO<a@b>", utf8)
            self.assert_refused(b"501 5.1.3", b"TO:<>", utf8)
            self.assert_refused(b"501 5.1.3", b"TO:<a@b>x", utf8)
            self.assert_refused(b"501 5.1.3", b"TO:<\xff@b>", utf8)
            self.assert_refused(b"555 5.5.4", b"TO:<a@b> NOTIFY=NEVER", utf8)
            self.assert_refused(b"555 5.5.4", b"TO:<a@b> SIZE=1", utf8)
            self.assert_refused(b"555 5.5.4", b"TO:<a@b> SMTPUTF8", utf8)
            self.assert_refused(b"501 5.5.4", b"TO:<a@b> \xff=1", utf8)

    def test_bdat(self) -> None:
        self.assertEqual(parse_bdat(b"0"), (0, False))
        self.assertEqual(parse_bdat(b"86400 LAST"), (86400, True))
        self.assertEqual(parse_bdat(b"0  last"), (0, True))
        self.assertEqual(parse_bdat(b"9" * 20), (10**20 - 1, False))

    def test_bdat_refused(self) -> None:
        for argument in (
            *(
                b"",
                b"LAST",
                b"-1",
                b"+1",
                b"1.0",
                b"0x1",
                b"1_0",
                b"1LAST",
                b"1 FIRST",
                b"1 LAST 2",
            ),
            *(b"9" * 21, b"1 2", b"1\tLAST", b"1\n", b"\xd9\xa1", b"1 LA\xc5\xbfT"),
        ):
            error = self.assertRaises(CommandError, parse_bdat, argument)
            self.assertTrue(error.reply.startswith(b"501 5.5.4 "))

    @bounded
    @given(arguments)
    def test_arbitrary_octets(self, argument: bytes) -> None:
        """What is taken is in order, and what is refused has one line for it."""
        try:
            mail = parse_mail(argument, MAX_SIZE)
        except CommandError as error:
            self.assertRegex(error.reply, rb"\A5[05][0-9] 5\.[0-9]\.[0-9] [ -~]+\r\n\Z")
        else:
            self.assertLessEqual(mail.size, MAX_SIZE)
            self.assertTrue(mail.utf8 or argument.isascii())
        for parse in (partial(parse_rcpt, utf8=False), partial(parse_rcpt, utf8=True), parse_bdat):
            try:
                parse(argument)
            except CommandError as error:
                self.assertRegex(error.reply, rb"\A5[05][0-9] 5\.[0-9]\.[0-9] [ -~]+\r\n\Z")
