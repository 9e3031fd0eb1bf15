"""Header: the trace that goes before a delivered message."""

from __future__ import annotations

import time
from email import message_from_bytes
from email.utils import parsedate_to_datetime

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import ConfigError
from guerrilla_tw.interfaces import Task
from guerrilla_tw.mail.envelope import Envelope
from tests.processors.support import Chain, make_envelope


class HeaderTests(SynchronousTestCase):
    def header(self, envelope: Envelope, **settings: object) -> str:
        """:returns: the delivery header with folds undone."""
        Chain(self, "Header", **settings).save(envelope)
        self.assertTrue(envelope.delivery_header.endswith("\r\n"))
        return envelope.delivery_header.replace("\r\n\t", " ")

    def test_two_fields(self) -> None:
        envelope = make_envelope()
        text = self.header(envelope)
        date = text.partition("; ")[2].strip()
        self.assertEqual(
            text,
            "Delivered-To: bob@example.org\r\n"
            "Received: from client.example (client.example [192.0.2.1])"
            f" by example.org with ESMTP id {envelope.queued_id}@example.org; {date}\r\n",
        )
        self.assertIsNotNone(parsedate_to_datetime(date).tzinfo)

    def test_is_what_a_mail_reader_sees(self) -> None:
        envelope = make_envelope(b"Subject: x\r\n\r\nbody\r\n")
        self.header(envelope)
        message = message_from_bytes(envelope.delivered_data)
        self.assertEqual(message.keys(), ["Delivered-To", "Received", "Subject"])
        self.assertEqual(message.get_payload(), "body\r\n")

    def test_protocol(self) -> None:
        """RFC 3848, and RFC 6531 section 4.3."""
        for protocol, tls, esmtp, lmtp, utf8 in (
            ("SMTP", False, False, False, False),
            ("ESMTP", False, True, False, False),
            ("SMTPS", True, False, False, False),
            ("ESMTPS", True, True, False, False),
            ("UTF8SMTP", False, True, False, True),
            ("UTF8SMTPS", True, True, False, True),
            ("LMTP", False, True, True, False),
            ("UTF8LMTPS", True, True, True, True),
        ):
            envelope = make_envelope(tls=tls, esmtp=esmtp)
            envelope.lmtp, envelope.utf8 = lmtp, utf8
            self.assertIn(f" with {protocol} id ", self.header(envelope))

    def test_addresses_in_utf8(self) -> None:
        """RFC 6532: the field is UTF-8, as the header that it goes before."""
        path = '<"jürgen ß"@BÜCHER.example>'.encode()
        envelope = make_envelope("Subject: ü\r\n\r\n".encode(), recipients=(path,))
        envelope.utf8 = True
        text = self.header(envelope)
        self.assertIn('Delivered-To: "jürgen ß"@bücher.example\r\n', text)
        self.assertIn(" by bücher.example with UTF8SMTP id ", text)
        self.assertEqual(text.count("\r\n"), 2)
        self.assertIn(envelope.delivery_header.encode() + envelope.data, envelope.delivered_data)

    def test_primary_mail_host_stands_for_the_recipients(self) -> None:
        for path in (b"<bob@example.org>", b"<bob@[192.0.2.7]>", b"<bob@[IPv6:2001:db8::7]>"):
            text = self.header(
                make_envelope(recipients=(path,)), primary_mail_host="mail.example.net"
            )
            self.assertIn("Delivered-To: bob@mail.example.net\r\n", text)
            self.assertIn(" by mail.example.net with ", text)
            self.assertIn("@mail.example.net;", text)

    def test_first_hash_is_the_id(self) -> None:
        envelope = make_envelope(recipients=(b"<a@example.org>", b"<b@example.org>"))
        Chain(self, "Hasher|Header").save(envelope)
        self.assertIn(f" id {envelope.hashes[0]}@example.org;", envelope.delivery_header)
        self.assertNotIn(envelope.queued_id, envelope.delivery_header)

    def test_hostile_helo_stays_in_its_comment(self) -> None:
        for helo in ("a\r\nX-Evil: 1", "a)\r\n\r\nbody", "a (b) <c> ;@\\\"'", "ü\0\x7f", ""):
            envelope = make_envelope(helo=helo)
            text = self.header(envelope)
            self.assertEqual(text.count("\r\n"), 2)
            self.assertTrue(text.isascii())
            received = text.split("\r\n")[1]
            self.assertRegex(
                received,
                r"^Received: from [A-Za-z0-9._:?-]* \([A-Za-z0-9._:?-]* \[192\.0\.2\.1\]\) by ",
            )

    def test_address_literal_in_helo(self) -> None:
        self.assertIn("from [192.0.2.1] (", self.header(make_envelope(helo="[192.0.2.1]")))

    def test_ipv6_client_is_tagged(self) -> None:
        """RFC 5321 section 4.1.3."""
        text = self.header(make_envelope(remote_ip="2001:db8::1"))
        self.assertIn("(client.example [IPv6:2001:db8::1])", text)

    def test_client_without_address(self) -> None:
        text = self.header(make_envelope(remote_ip=""))
        self.assertIn("from client.example (client.example) by", text)

    def test_odd_recipients(self) -> None:
        for path, host in (
            (b'<"a@b \\" c"@example.org>', "example.org"),
            (b"<bob@[192.0.2.7]>", "[192.0.2.7]"),
            (b"<bob@[IPv6:2001:DB8::7]>", "[IPv6:2001:db8::7]"),
        ):
            envelope = make_envelope(recipients=(path,))
            text = self.header(envelope)
            self.assertIn(f"Delivered-To: {envelope.rcpt_to[0]}\r\n", text)
            self.assertIn(f" by {host} with ", text)
            self.assertIn(f"@{host};", text)

    def test_only_the_first_recipient_is_named(self) -> None:
        """The others may be blind copies."""
        text = self.header(make_envelope(recipients=(b"<a@example.org>", b"<second@example.org>")))
        self.assertNotIn("second@example.org", text)

    def test_wrong_setting(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            Chain(self, "Header", primary_mail_host=3)
        self.assertEqual(caught.exception.path, "backend_config.primary_mail_host")

    def test_primary_mail_host_is_a_host_name(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            Chain(self, "Header", primary_mail_host="a.example\r\nBcc: x")
        self.assertEqual(
            str(caught.exception), "backend_config.primary_mail_host: is not a host name"
        )

    def test_date_is_the_present(self) -> None:
        self.patch(time, "time", lambda: 1_000_000_000.5)
        date = self.header(make_envelope()).partition("; ")[2]
        self.assertEqual(parsedate_to_datetime(date).timestamp(), 1_000_000_000)

    def test_recipient_check_is_passed_on(self) -> None:
        envelope = make_envelope()
        chain = Chain(self, "Header")
        self.assertEqual(chain.process(envelope, Task.VALIDATE_RCPT).enhanced, "2.1.5")
        self.assertEqual(envelope.delivery_header, "")
