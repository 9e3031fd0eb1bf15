"""The argument of XCLIENT, parsed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.smtp.commands import CommandError
from guerrilla_tw.smtp.xclient import XClient, parse_xclient

HOST_NAME = "abcXYZ019-._"


def encode(value: str) -> bytes:
    """As xtext in which everything is a hexchar."""
    return b"".join(b"+%02X" % octet for octet in value.encode())


class XClientTests(SynchronousTestCase):
    def assert_refused(self, argument: bytes, text: str | None = None) -> None:
        error = self.assertRaises(CommandError, parse_xclient, argument)
        self.assertTrue(error.reply.startswith(b"501 5.5.4 "), (argument, error.reply))
        self.assertEqual(error.reply.count(b"\r\n"), 1)
        if text is not None:
            self.assertIn(text.encode("ascii"), error.reply)

    def test_all(self) -> None:
        argument = b"NAME=mx.example.com ADDR=192.0.2.7 PORT=4321 PROTO=ESMTP HELO=mx"
        self.assertEqual(
            parse_xclient(argument), XClient("192.0.2.7", "mx.example.com", 4321, "mx", True)
        )

    def test_one(self) -> None:
        self.assertEqual(parse_xclient(b"ADDR=192.0.2.7"), XClient(ip="192.0.2.7"))
        self.assertEqual(parse_xclient(b"name=mx"), XClient(name="mx"))
        self.assertEqual(parse_xclient(b"Port=0"), XClient(port=0))
        self.assertEqual(parse_xclient(b"PORT=65535"), XClient(port=65535))
        self.assertEqual(parse_xclient(b"proto=smtp"), XClient(extended=False))
        self.assertEqual(parse_xclient(b"HELO=[192.0.2.7]"), XClient(helo="[192.0.2.7]"))

    def test_ipv6(self) -> None:
        for tag in (b"IPV6:", b"IPv6:", b"ipv6:"):
            self.assertEqual(parse_xclient(b"ADDR=" + tag + b"2001:DB8::0:7").ip, "2001:db8::7")
        self.assertEqual(parse_xclient(b"ADDR=IPV6:::ffff:192.0.2.7").ip, "192.0.2.7")

    def test_unavailable(self) -> None:
        for mark in (b"[UNAVAILABLE]", b"[unavailable]", b"[TempUnavail]"):
            argument = b"NAME=%b ADDR=%b PORT=%b HELO=%b" % ((mark,) * 4)
            self.assertEqual(parse_xclient(argument), XClient("", "", 0, ""))

    def test_blanks(self) -> None:
        expected = XClient("192.0.2.7", "mx")
        self.assertEqual(parse_xclient(b"ADDR=192.0.2.7   NAME=mx"), expected)

    def test_ignored_attributes(self) -> None:
        for login in (b"alice", b"alice+tag@example.com", b"alice+40example.com"):
            argument = b"ADDR=192.0.2.7 LOGIN=" + login + b" DESTADDR=IPV6:::1 DESTPORT=25"
            self.assertEqual(parse_xclient(argument), XClient("192.0.2.7"))
        self.assertEqual(parse_xclient(b"LOGIN=alice"), XClient())
        self.assert_refused(b"DESTADDR=here", "DESTADDR")
        self.assert_refused(b"DESTPORT=smtp", "DESTPORT")
        self.assert_refused(b"LOGIN=")
        self.assert_refused(b"LOGIN=\xc3\xa9")

    def test_no_attribute(self) -> None:
        for argument in (b"", b"   "):
            self.assert_refused(argument)

    def test_malformed(self) -> None:
        for argument in (b"ADDR", b"ADDR=", b"=192.0.2.7", b"A-B=1", b"ADDR =192.0.2.7", b"\xff=1"):
            self.assert_refused(argument)
        self.assert_refused(b"NAME=mx\tADDR=192.0.2.7")
        self.assert_refused(b"NAME=mx\x00")

    def test_unknown(self) -> None:
        self.assert_refused(b"ADDR=192.0.2.7 COLOUR=red", "unknown")

    def test_twice(self) -> None:
        self.assert_refused(b"ADDR=192.0.2.7 addr=192.0.2.8", "ADDR")

    def test_bad_values(self) -> None:
        for argument in (
            b"ADDR=mx.example.com",
            b"ADDR=192.0.2.256",
            b"ADDR=192.0.2.07",
            b"ADDR=2001:db8::7",
            b"ADDR=[192.0.2.7]",
            b"ADDR=IPV6:192.0.2.7",
            b"ADDR=IPV6:fe80::1%eth0",
            b"ADDR=IPV6:",
            b"PORT=65536",
            b"PORT=-1",
            b"PORT=123456",
            b"PORT=smtp",
            b"PROTO=LMTP",
            b"PROTO=[UNAVAILABLE]",
            b"NAME=<x>",
            b"NAME=" + b"x" * 256,
            b"HELO=a)(b",
        ):
            self.assert_refused(argument, "bad value for " + argument.decode().partition("=")[0])

    def test_xtext(self) -> None:
        self.assertEqual(parse_xclient(b"HELO=mx+2Eexample+2Ecom").helo, "mx.example.com")
        self.assertEqual(parse_xclient(b"ADDR=" + encode("IPV6:::1")).ip, "::1")
        self.assertEqual(parse_xclient(b"NAME=" + encode("[UNAVAILABLE]")).name, "")
        for bad in (b"a+", b"a+4", b"a+2e", b"a+4G", b"a=b", b"+"):
            self.assert_refused(b"HELO=" + bad)

    def test_nothing_hides_in_xtext(self) -> None:
        for name in (b"HELO", b"NAME", b"ADDR", b"PORT", b"PROTO"):
            for octet in ("\r", "\n", "\0", " ", "\t", "\x7f", "\xe9", "\r\nMAIL FROM:<x>"):
                for value in (encode(octet), b"1" + encode(octet), b"mx" + encode(octet) + b"x"):
                    self.assert_refused(name + b"=" + value)

    @settings(deadline=None, derandomize=True, max_examples=200)
    @given(
        st.ip_addresses(v=4),
        st.text(HOST_NAME, min_size=1, max_size=255),
        st.integers(0, 65535),
        st.booleans(),
    )
    def test_round_trip(self, ip: object, name: str, port: int, extended: bool) -> None:
        helo = encode(name).decode("ascii")
        argument = f"HELO={helo} NAME={name} ADDR={ip} PORT={port} PROTO={'E' * extended}SMTP"
        self.assertEqual(
            parse_xclient(argument.encode("ascii")), XClient(str(ip), name, port, name, extended)
        )

    @settings(deadline=None, derandomize=True, max_examples=500)
    @given(
        st.lists(
            st.sampled_from([b"ADDR=", b"NAME=", b"HELO=", b"PORT=", b"PROTO=", b"LOGIN="])
            | st.sampled_from([b" ", b"+0D", b"+", b"[UNAVAILABLE]", b"1", b"IPV6:", b"::", b"="])
            | st.binary(max_size=4),
            max_size=12,
        )
    )
    def test_hostile(self, parts: list[bytes]) -> None:
        """Whatever comes, it is refused, or what it says is printable and without blanks."""
        try:
            client = parse_xclient(b"".join(parts))
        except CommandError as error:
            self.assertTrue(error.reply.startswith(b"501 5.5.4 "), error.reply)
            return
        for text in (client.ip, client.name, client.helo):
            self.assertTrue(not text or (text.isascii() and text.isprintable() and " " not in text))
