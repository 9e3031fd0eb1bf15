"""Hasher: a name for each recipient's copy."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.interfaces import Task
from tests.processors.support import Chain, make_envelope

TWO = (b"<a@example.org>", b"<b@example.org>")


class HasherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.chain = Chain(self, "HeadersParser|Hasher")

    def test_one_of_128_bits_for_each_recipient(self) -> None:
        hashes = self.chain.save(make_envelope(recipients=TWO)).hashes
        self.assertEqual(len(set(hashes)), 2)
        for value in hashes:
            self.assertRegex(value, r"\A[0-9a-f]{32}\Z")

    def test_same_envelope_again_has_the_same(self) -> None:
        envelope = self.chain.save(make_envelope(recipients=TWO))
        first = envelope.hashes.copy()
        self.assertEqual(self.chain.save(envelope).hashes, first)

    def test_same_message_in_another_transaction_has_others(self) -> None:
        one, other = self.chain.save(make_envelope()), self.chain.save(make_envelope())
        self.assertNotEqual(one.hashes, other.hashes)

    def test_depends_on_sender_subject_and_recipient(self) -> None:
        variants = (
            make_envelope(),
            make_envelope(sender=b"<>"),
            make_envelope(b"Subject: other\r\n\r\n"),
            make_envelope(recipients=(b"<BOB@example.org>",)),
        )
        for envelope in variants:
            envelope.queued_id = "0" * 32
        hashes = {self.chain.save(envelope).hashes[0] for envelope in variants}
        self.assertEqual(len(hashes), len(variants))

    def test_parts_do_not_run_into_each_other(self) -> None:
        one = make_envelope(b"Subject: mx\r\n\r\n", sender=b"<a@example.co>")
        other = make_envelope(b"Subject: x\r\n\r\n", sender=b"<a@example.com>")
        one.queued_id = other.queued_id
        self.assertNotEqual(self.chain.save(one).hashes, self.chain.save(other).hashes)

    def test_odd_values(self) -> None:
        envelope = make_envelope(
            b"Subject: =?utf-7?q?+2AA-?= \xff \0\r\n\r\n",
            (b'<"\\"@ "@[IPv6:::1]>', b"<postmaster>"),
            b"<>",
        )
        self.assertEqual(len(set(self.chain.save(envelope).hashes)), 2)

    def test_recipient_check_is_passed_on(self) -> None:
        envelope = make_envelope()
        self.assertEqual(self.chain.process(envelope, Task.VALIDATE_RCPT).enhanced, "2.1.5")
        self.assertEqual(envelope.hashes, [])
