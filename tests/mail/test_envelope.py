"""The envelope and its body."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.envelope import Body, Envelope

MESSAGE = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nTo: a@b\r\n\r\nbody \xff\0\r\n"


class BodyTests(SynchronousTestCase):
    def test_empty(self) -> None:
        body = Body()
        self.assertEqual((body.size, body.data, body.open().read()), (0, b"", b""))

    def test_single_piece_is_kept_without_a_copy(self) -> None:
        body = Body()
        body.write(MESSAGE)
        self.assertIs(body.data, MESSAGE)
        self.assertEqual(body.size, len(MESSAGE))

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(st.lists(st.binary(max_size=5), max_size=6))
    def test_pieces_join(self, pieces: list[bytes]) -> None:
        body = Body()
        for count, piece in enumerate(pieces, 1):
            body.write(piece)
            self.assertEqual(body.data, b"".join(pieces[:count]))
        self.assertEqual(body.size, len(b"".join(pieces)))
        self.assertEqual(body.open().read(), b"".join(pieces))

    def test_readers_do_not_disturb_each_other(self) -> None:
        for pieces in ([b"abcd"], [b"ab", b"cd"]):
            body = Body()
            for piece in pieces:
                body.write(piece)
            first, second = body.open(), body.open()
            self.assertEqual(first.read(3), b"abc")
            self.assertEqual(second.read(), b"abcd")
            self.assertEqual(first.read(), b"d")


class EnvelopeTests(SynchronousTestCase):
    def test_new(self) -> None:
        envelope = Envelope("192.0.2.1", "client.example", tls=True, esmtp=True)
        self.assertEqual(envelope.remote_ip, "192.0.2.1")
        self.assertEqual(envelope.helo, "client.example")
        self.assertEqual((envelope.tls, envelope.esmtp), (True, True))
        self.assertEqual(envelope.mail_from, Address(null_path=True))
        self.assertEqual((envelope.rcpt_to, envelope.values, envelope.hashes), ([], {}, []))
        self.assertEqual((envelope.subject, envelope.delivery_header), ("", ""))
        self.assertEqual((len(envelope.header), envelope.size, envelope.data), (0, 0, b""))

    def test_protocol_flags_are_off_unless_said(self) -> None:
        envelope = Envelope()
        self.assertEqual((envelope.tls, envelope.esmtp), (False, False))

    def test_queue_ids_are_128_bits_in_hex_and_differ(self) -> None:
        ids = {Envelope("192.0.2.1", "same").queued_id for _ in range(1000)}
        self.assertEqual(len(ids), 1000)
        for queued_id in ids:
            self.assertRegex(queued_id, r"\A[0-9a-f]{32}\Z")

    def test_envelopes_share_nothing(self) -> None:
        one, other = Envelope(), Envelope()
        one.rcpt_to.append(Address("a", "b"))
        one.values["x"] = 1
        one.hashes.append("h")
        one.body.write(b"data")
        self.assertEqual((other.rcpt_to, other.values, other.hashes, other.data), ([], {}, [], b""))

    def test_unknown_attribute_is_refused(self) -> None:
        with self.assertRaises(AttributeError):
            Envelope().recipients = []  # type: ignore[attr-defined]

    def test_data_comes_from_the_body(self) -> None:
        envelope = Envelope()
        envelope.body.write(MESSAGE)
        self.assertIs(envelope.data, MESSAGE)
        self.assertEqual(envelope.size, len(MESSAGE))
        self.assertEqual(envelope.open().read(), MESSAGE)

    def test_parse_headers(self) -> None:
        envelope = Envelope()
        envelope.body.write(MESSAGE)
        envelope.parse_headers()
        self.assertEqual(envelope.subject, "Grüße")
        self.assertEqual(envelope.header.get("to"), "a@b")
        self.assertEqual(list(envelope.header), ["Subject", "To"])

    def test_parse_headers_without_subject(self) -> None:
        for data in (b"", b"just text\r\n", b"To: a@b\r\n\r\nSubject: not this\r\n"):
            envelope = Envelope()
            envelope.body.write(data)
            envelope.parse_headers()
            self.assertEqual(envelope.subject, "")

    def test_delivered_data(self) -> None:
        envelope = Envelope()
        envelope.body.write(MESSAGE)
        self.assertEqual(envelope.delivered_data, MESSAGE)
        envelope.delivery_header = "Delivered-To: a@b\r\n"
        self.assertEqual(envelope.delivered_data, b"Delivered-To: a@b\r\n" + MESSAGE)
        self.assertEqual(envelope.data, MESSAGE)

    def test_delivery_header_that_breaks_its_contract(self) -> None:
        envelope = Envelope()
        envelope.delivery_header = "X: ü\ud800\r\n"
        self.assertEqual(envelope.delivered_data, b"X: ??\r\n")


class SnapshotTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.envelope = Envelope("192.0.2.1", "client.example", tls=True, esmtp=True)
        self.envelope.mail_from = Address("s", "x")
        self.envelope.rcpt_to.append(Address("a", "b"))
        self.envelope.values["x"] = 1
        self.envelope.hashes.append("h")

    def test_is_the_same_message(self) -> None:
        copy = self.envelope.snapshot()
        for name in ("remote_ip", "helo", "tls", "esmtp", "mail_from", "queued_id"):
            self.assertEqual(getattr(copy, name), getattr(self.envelope, name))
        for name in ("rcpt_to", "values", "hashes"):
            self.assertEqual(getattr(copy, name), getattr(self.envelope, name))

    def test_later_changes_do_not_reach_it(self) -> None:
        copy = self.envelope.snapshot()
        self.envelope.rcpt_to.append(Address("c", "d"))
        self.envelope.values["x"] = 2
        self.envelope.hashes.clear()
        self.assertEqual(copy.rcpt_to, [Address("a", "b")])
        self.assertEqual((copy.values, copy.hashes), ({"x": 1}, ["h"]))

    def test_its_changes_do_not_reach_the_envelope(self) -> None:
        copy = self.envelope.snapshot()
        copy.rcpt_to.clear()
        copy.values.clear()
        copy.hashes.clear()
        copy.body.write(b"x")
        self.assertEqual(self.envelope.rcpt_to, [Address("a", "b")])
        self.assertEqual((self.envelope.values, self.envelope.hashes), ({"x": 1}, ["h"]))
        self.assertEqual(self.envelope.size, 0)

    def test_has_no_body(self) -> None:
        self.envelope.body.write(MESSAGE)
        self.assertEqual(self.envelope.snapshot().data, b"")
        self.assertEqual(self.envelope.data, MESSAGE)
