"""The envelope."""

from __future__ import annotations

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.mail.headers import Headers, header_block

MESSAGE = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nTo: a@b\r\n\r\nbody \xff\0\r\n"


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
        self.assertEqual((envelope.lmtp, envelope.utf8), (False, False))

    def test_protocol(self) -> None:
        """RFC 5321 section 4.4, RFC 3848, RFC 6531 section 4.3; SMTPS for HELO over TLS."""
        for keyword, envelope in (
            ("SMTP", Envelope()),
            ("ESMTP", Envelope(esmtp=True)),
            ("UTF8SMTP", Envelope(esmtp=True, utf8=True)),
            ("LMTP", Envelope(esmtp=True, lmtp=True)),
            ("UTF8LMTP", Envelope(esmtp=True, lmtp=True, utf8=True)),
        ):
            self.assertEqual(envelope.protocol, keyword)
            envelope.tls = True
            self.assertEqual(envelope.protocol, keyword + "S")

    def test_protocol_implies_its_greeting(self) -> None:
        self.assertEqual(Envelope(utf8=True).protocol, "UTF8SMTP")
        self.assertEqual(Envelope(lmtp=True).protocol, "LMTP")

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

    def test_body_of_a_storage(self) -> None:
        storage = BodyStorage()
        envelope = Envelope(body=storage.new_body())
        envelope.body.write(MESSAGE)
        self.assertEqual(storage.in_memory, len(MESSAGE))
        self.assertIs(envelope.data, MESSAGE)
        del envelope
        self.assertEqual(storage.in_memory, 0)

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

    def test_parse_headers_of_any_length(self) -> None:
        """The same of a body in a file as of the whole message, and no half field."""
        for fields in (2, 20_000, 30_000):
            data = b"Subject: 0123456789abc\r\n" * fields + b"\r\nX-Body: y\r\n"
            for storage in (BodyStorage(), BodyStorage(spill_size=0)):
                envelope = Envelope(body=storage.new_body())
                envelope.body.write(data)
                envelope.parse_headers()
                self.assertEqual(len(envelope.header), len(Headers(header_block(data))))
                self.assertEqual(set(envelope.header.get_all("Subject")), {"0123456789abc"})

    def test_parse_headers_loads_the_beginning_only(self) -> None:
        envelope = Envelope(body=BodyStorage(spill_size=0).new_body())
        envelope.body.write(b"Subject: x\r\n\r\n" + bytes(2**23))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        envelope.parse_headers()
        self.assertLess(tracemalloc.get_traced_memory()[1], 2**20)
        self.assertEqual(envelope.subject, "x")

    def test_delivered_pieces(self) -> None:
        envelope = Envelope()
        self.assertEqual(list(envelope.delivered_pieces()), [])
        message = b"0123456789abcdef" * 2**13 + b"end"
        envelope.body.write(message)
        envelope.delivery_header = "Delivered-To: a@b\r\n"
        pieces = list(envelope.delivered_pieces())
        self.assertEqual(b"".join(pieces), envelope.delivered_data)
        self.assertEqual([len(piece) for piece in pieces], [19, 2**16, 2**16, 3])

    def test_delivered_data(self) -> None:
        envelope = Envelope()
        envelope.body.write(MESSAGE)
        self.assertEqual(envelope.delivered_data, MESSAGE)
        envelope.delivery_header = "Delivered-To: a@b\r\n"
        self.assertEqual(envelope.delivered_data, b"Delivered-To: a@b\r\n" + MESSAGE)
        self.assertEqual(envelope.data, MESSAGE)

    def test_delivery_header_with_utf8(self) -> None:
        envelope = Envelope()
        envelope.delivery_header = "Delivered-To: \u7528@b\r\n"
        self.assertEqual(envelope.delivered_data, b"Delivered-To: \xe7\x94\xa8@b\r\n")

    def test_delivery_header_that_breaks_its_contract(self) -> None:
        envelope = Envelope()
        envelope.delivery_header = "X: ü\ud800\r\n"
        self.assertEqual(envelope.delivered_data, b"X: \xc3\xbc?\r\n")


class SnapshotTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.envelope = Envelope(
            "192.0.2.1", "client.example", tls=True, esmtp=True, lmtp=True, utf8=True
        )
        self.envelope.mail_from = Address("s", "x")
        self.envelope.rcpt_to.append(Address("a", "b"))
        self.envelope.values["x"] = 1
        self.envelope.hashes.append("h")

    def test_is_the_same_message(self) -> None:
        copy = self.envelope.snapshot()
        for name in ("remote_ip", "helo", "mail_from", "queued_id", "protocol"):
            self.assertEqual(getattr(copy, name), getattr(self.envelope, name))
        for name in ("tls", "esmtp", "lmtp", "utf8", "rcpt_to", "values", "hashes"):
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

    def test_body_of_its_own_is_of_no_storage(self) -> None:
        storage = BodyStorage()
        copy = Envelope(body=storage.new_body()).snapshot()
        copy.body.write(MESSAGE)
        self.assertEqual((copy.data, storage.in_memory), (MESSAGE, 0))
