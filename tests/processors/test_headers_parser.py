"""HeadersParser: header fields and subject."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.interfaces import Task
from tests.processors.support import Chain, make_envelope


class HeadersParserTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.chain = Chain(self, "HeadersParser")

    def test_sets_header_and_subject(self) -> None:
        envelope = self.chain.save(
            make_envelope(b"To: bob@example.org\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\n\r\nx\r\n")
        )
        self.assertEqual(envelope.subject, "Grüße")
        self.assertEqual(envelope.header.get("to"), "bob@example.org")

    def test_subject_holds_no_line_break(self) -> None:
        """Folded, bare CR, and a line break hidden in an encoded word."""
        for value in (b"a\r\n b", b"a\rb", b"=?utf-8?q?a=0D=0AX:_b?="):
            envelope = self.chain.save(make_envelope(b"Subject: " + value + b"\r\n\r\n"))
            self.assertTrue(envelope.subject)
            self.assertNotRegex(envelope.subject, r"[\r\n]")

    def test_no_header(self) -> None:
        for data in (b"", b"\r\nSubject: body\r\n", b"no field\r\nSubject: x\r\n"):
            envelope = self.chain.save(make_envelope(data))
            self.assertEqual((envelope.subject, len(envelope.header)), ("", 0))

    def test_huge_header_takes_no_long_time(self) -> None:
        data = b"Subject: x\r\n" + b"X: y\r\n" * 100_000 + b":" * 1_000_000 + b"\r\n\r\nbody"
        # A quadratic parser would hang here.
        envelope = self.chain.save(make_envelope(data))
        self.assertEqual(envelope.header.get("X"), "y")
        self.assertEqual(envelope.data, data)

    def test_recipient_check_is_passed_on(self) -> None:
        envelope = make_envelope()
        self.assertEqual(self.chain.process(envelope, Task.VALIDATE_RCPT).enhanced, "2.1.5")
        self.assertEqual(envelope.subject, "")

    def test_needs_no_thread(self) -> None:
        self.chain.save(make_envelope())
        self.assertEqual(self.chain.pool.visits, 0)
