"""The PROXY protocol, on bytes, and who is trusted."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.smtp.proxy import ProxyHeaderError, ProxyHeaderReader, TrustedProxies

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UDP6, UNIX, UNIX_DATAGRAM = 0, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32

IPV4 = IPv4Address("192.0.2.7")
IPV6 = IPv6Address("2001:db8::7")
# What a reader gave: the client and what follows the header; None if it goes on; or the error.
Outcome = tuple[str | None, bytes] | None | str


def read(pieces: Iterable[bytes]) -> Outcome:
    """Feed a reader until the header ends; what is not fed then follows it too."""
    reader = ProxyHeaderReader()
    left = iter(pieces)
    for piece in left:
        try:
            rest = reader.feed(piece)
        except ProxyHeaderError as error:
            return str(error)
        if rest is not None:
            return reader.source, rest + b"".join(left)
    return None


def octets(stream: bytes) -> list[bytes]:
    """Cut a stream into single octets."""
    return [stream[at : at + 1] for at in range(len(stream))]


def line(
    source: object = IPV4, destination: object = IPV4, ports: str = "1 25", family: str = "TCP4"
) -> bytes:
    """A header of version 1."""
    return f"PROXY {family} {source} {destination} {ports}\r\n".encode()


def block(command: int, family: int, addresses: bytes = b"", tlvs: bytes = b"") -> bytes:
    """A header of version 2."""
    length = (len(addresses) + len(tlvs)).to_bytes(2, "big")
    return SIGNATURE + bytes([command, family]) + length + addresses + tlvs


def pair(source: IPv4Address | IPv6Address) -> bytes:
    """Addresses and ports of a header of version 2."""
    return source.packed + bytes(len(source.packed)) + b"\0\1\0\x19"


class HeaderTestCase(SynchronousTestCase):
    def assert_reads(self, header: bytes, source: str | None) -> None:
        for rest in (b"", b"EHLO x\r\n", header):
            stream = header + rest
            self.assertEqual(read([stream]), (source, rest), header)
            self.assertEqual(read(octets(stream)), (source, rest), header)
        for length in range(len(header)):
            self.assertIdentical(read([header[:length]]), None, header[:length])

    def assert_refused(self, header: bytes, length: int | None = None) -> None:
        """
        :param length: octets of the header that are enough to refuse it, by default all.
        """
        if length is None:
            length = len(header)
        self.assertIdentical(read([header[: length - 1]]), None, header)
        self.assertIsInstance(read([header[:length]]), str, repr(header))
        self.assertEqual(read([header]), read(octets(header)), header)


class LineTests(HeaderTestCase):
    """Version 1."""

    def test_ipv4(self) -> None:
        self.assert_reads(line(), "192.0.2.7")
        self.assert_reads(line("255.255.255.255", "0.0.0.0", "65535 0"), "255.255.255.255")

    def test_ipv6(self) -> None:
        self.assert_reads(line(IPV6, "::1", family="TCP6"), "2001:db8::7")
        self.assert_reads(line("2001:0DB8:0:0::00A1", IPV6, family="TCP6"), "2001:db8::a1")
        longest = ":".join(["ffff"] * 8)
        self.assert_reads(line(longest, longest, "65535 65535", "TCP6"), longest)

    def test_ipv4_mapped(self) -> None:
        for mapped in ("::ffff:192.0.2.7", "::FFFF:c000:207"):
            self.assert_reads(line(mapped, "::1", family="TCP6"), "192.0.2.7")

    def test_unknown(self) -> None:
        self.assert_reads(b"PROXY UNKNOWN\r\n", None)
        self.assert_reads(b"PROXY UNKNOWN \0any\xff thing  \r\n", None)
        self.assert_reads(b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None)

    def test_too_long(self) -> None:
        self.assert_refused(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", 107)
        self.assert_refused(b"PROXY UNKNOWN " + b"x" * 500, 107)
        self.assert_refused(b"PROXY TCP4 " + b"1" * 500, 107)

    def test_not_a_line(self) -> None:
        for stream in (
            b"EHLO x\r\n",
            b"proxy TCP4 192.0.2.7 192.0.2.7 1 25\r\n",
            b" PROXY TCP4",
            b"\x16\x03\x01\x02\0",
        ):
            self.assert_refused(stream, 1)
        self.assert_refused(b"PROXYTCP4", 6)
        self.assert_refused(b"PROXY  TCP4", 7)
        self.assert_refused(b"PROXY TCP5 ", 10)
        self.assert_refused(b"PROXY TCP4\r\n", 11)
        self.assert_refused(b"PROXY UNKNOWNX\r\n", 14)
        self.assert_refused(b"PROXY UDP4 192.0.2.7 192.0.2.7 1 25\r\n", 8)

    def test_early(self) -> None:
        """A wrong character is not waited for the end of the line with."""
        self.assert_refused(b"PROXY TCP4 192.0.2.a", 20)
        self.assert_refused(b"PROXY TCP4 \t", 12)
        self.assert_refused(b"PROXY TCP6 2001:db8::1%eth0 ::1 1 25\r\n", 23)
        self.assert_refused(b"PROXY TCP4 \xd9\xa1", 12)

    def test_bare_line_ends(self) -> None:
        header = line()
        self.assert_refused(header[:-2] + b"\n", len(header) - 1)
        self.assert_refused(header[:-1] + b"\r\n", len(header))
        self.assert_refused(header[:-1] + b"EHLO x\r\n", len(header))
        self.assert_refused(b"PROXY UNKNOWN\n", 14)
        self.assert_refused(b"PROXY UNKNOWN\r\r\n", 15)
        self.assert_refused(b"PROXY UNKNOWN x\r\r\n", 17)
        self.assert_refused(b"PROXY UNKNOWN x\ny\r\n", 16)

    def test_exact_syntax(self) -> None:
        for header in (
            line(ports="1"),
            line(ports="1 25 "),
            line(ports="1  25"),
            line(ports="1 25 3"),
            line(ports="01 25"),
            line(ports="1 00"),
            line(ports="65536 25"),
            line(ports="1 99999999999999999999"),
            line(source=""),
            line(source="192.0.2.07"),
            line(source="192.0.2"),
            line(source="192.0.2.256"),
            line(destination="192.0.2.1."),
            line("1::2::3", "::1", family="TCP6"),
            line("12345::1", "::1", family="TCP6"),
            b"PROXY TCP4 \r\n",
        ):
            self.assert_refused(header)

    def test_family_mismatch(self) -> None:
        self.assert_refused(line("192.0.2.7", "192.0.2.7", family="TCP6"))
        self.assert_refused(line("::1", "192.0.2.7", family="TCP6"))
        self.assert_refused(line("192.0.2.7", "::1"), len(b"PROXY TCP4 192.0.2.7 :"))


class BlockTests(HeaderTestCase):
    """Version 2."""

    def test_ipv4(self) -> None:
        self.assert_reads(block(PROXY, TCP4, pair(IPV4)), "192.0.2.7")

    def test_ipv6(self) -> None:
        self.assert_reads(block(PROXY, TCP6, pair(IPV6)), "2001:db8::7")

    def test_ipv4_mapped(self) -> None:
        mapped = IPv6Address("::ffff:192.0.2.7")
        self.assert_reads(block(PROXY, TCP6, pair(mapped)), "192.0.2.7")

    def test_tlvs_are_skipped(self) -> None:
        tlvs = b"\x04\0\3abc" + b"\xff\0\0"
        self.assert_reads(block(PROXY, TCP4, pair(IPV4), tlvs), "192.0.2.7")
        self.assert_reads(block(PROXY, UNSPEC, b"", tlvs), None)

    def test_health_check(self) -> None:
        self.assert_reads(block(LOCAL, UNSPEC), None)
        self.assert_reads(block(LOCAL, TCP4, pair(IPV4)), None)
        self.assert_reads(block(LOCAL, 0xFF, b"anything"), None)
        self.assert_reads(block(LOCAL, TCP4, b"short"), None)

    def test_no_ip_address(self) -> None:
        self.assert_reads(block(PROXY, UNSPEC), None)
        self.assert_reads(block(PROXY, UNIX, bytes(216)), None)

    def test_signature(self) -> None:
        for length in range(1, len(SIGNATURE) + 1):
            self.assert_refused(SIGNATURE[: length - 1] + b"x" + SIGNATURE[length:], length)

    def test_unknown_version_or_command(self) -> None:
        for command in (0x00, 0x10, 0x11, 0x22, 0x2F, 0x30, 0x31, 0xFF):
            self.assert_refused(block(command, TCP4, pair(IPV4)), 13)

    def test_unknown_family_or_transport(self) -> None:
        for family in (UDP4, UDP6, UNIX_DATAGRAM, 0x13, 0x41, 0xFF):
            self.assert_refused(block(PROXY, family, bytes(216)), 14)

    def test_too_short_for_its_family(self) -> None:
        for family, length in ((TCP4, 11), (TCP6, 35), (TCP6, 12), (TCP4, 0), (UNIX, 215)):
            self.assert_refused(block(PROXY, family, bytes(length)), 16)

    def test_longest(self) -> None:
        tlvs = bytes(65535 - 12)
        stream = block(PROXY, TCP4, pair(IPV4), tlvs) + b"EHLO x\r\n"
        for pieces in ([stream], octets(stream)):
            self.assertEqual(read(pieces), ("192.0.2.7", b"EHLO x\r\n"))

    def test_nothing_is_kept_of_what_is_skipped(self) -> None:
        reader = ProxyHeaderReader()
        self.assertIdentical(reader.feed(block(LOCAL, UNSPEC)[:-2] + b"\xff\xff"), None)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(65):
            self.assertIdentical(reader.feed(bytes(1000)), None)
        self.assertLess(tracemalloc.get_traced_memory()[0], 10_000)
        self.assertEqual(reader.feed(bytes(536)), b"\0")


ADDRESSES = st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)) | st.tuples(
    st.ip_addresses(v=6), st.ip_addresses(v=6)
)
PORTS = st.integers(0, 65535)
PARTS = st.sampled_from(
    [
        b"PROXY ",
        b"TCP4 ",
        b"TCP6 ",
        b"UNKNOWN",
        b"192.0.2.7 ",
        b"::1 ",
        b"1 25",
        b" ",
        b"\r\n",
        b"\r",
        b"\n",
        SIGNATURE,
        b"\x20",
        b"\x21\x11\0\x0c",
        b"\x21\x21\0\x30",
        b"\x21\x31\0\xd8",
        b"\x20\0\1\0",
        bytes(12),
        bytes(36),
        bytes(200),
    ]
)


class AnyStreamTests(HeaderTestCase):
    @settings(deadline=None, derandomize=True, max_examples=200)
    @given(ADDRESSES, PORTS, PORTS, st.binary(max_size=20))
    def test_round_trip(
        self,
        addresses: tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address],
        source_port: int,
        destination_port: int,
        rest: bytes,
    ) -> None:
        source, destination = addresses
        mapped = source.ipv4_mapped if isinstance(source, IPv6Address) else None
        expected = (str(mapped or source), rest)
        ports = f"{source_port} {destination_port}"
        header = line(source, destination, ports, f"TCP{source.version}")
        self.assertEqual(read([header + rest]), expected)
        packed = source.packed + destination.packed
        packed += source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big")
        header = block(PROXY, TCP4 if source.version == 4 else TCP6, packed, rest)
        self.assertEqual(read([header + rest]), expected)

    @settings(deadline=None, derandomize=True, max_examples=500)
    @given(st.lists(PARTS | st.binary(max_size=5), max_size=10), st.data())
    def test_every_split_gives_the_same(self, parts: list[bytes], data: st.DataObject) -> None:
        stream = b"".join(parts)
        whole = read([stream])
        self.assertEqual(read(octets(stream)), whole)
        cut = data.draw(st.integers(0, len(stream)))
        self.assertEqual(read([stream[:cut], stream[cut:]]), whole)


class TrustedProxiesTests(SynchronousTestCase):
    def test_addresses_and_networks(self) -> None:
        trusted = TrustedProxies(["192.0.2.1", "198.51.100.0/24", "::1", "2001:db8::/32"])
        for ip in ("192.0.2.1", "198.51.100.255", "::1", "2001:db8:ffff::", "2001:DB8:0:0::1"):
            self.assertTrue(trusted.trusts(ip), ip)
        for ip in ("192.0.2.2", "198.51.101.0", "::2", "2001:db9::", "127.0.0.1"):
            self.assertFalse(trusted.trusts(ip), ip)

    def test_nobody(self) -> None:
        self.assertFalse(TrustedProxies([]).trusts("127.0.0.1"))

    def test_unix_socket(self) -> None:
        self.assertTrue(TrustedProxies([]).trusts(""))

    def test_ipv4_mapped(self) -> None:
        self.assertTrue(TrustedProxies(["192.0.2.0/24"]).trusts("::ffff:192.0.2.1"))
        for network in ("::ffff:192.0.2.0/120", "::ffff:192.0.2.1"):
            trusted = TrustedProxies([network])
            for ip in ("192.0.2.1", "::ffff:192.0.2.1"):
                self.assertTrue(trusted.trusts(ip))
            self.assertFalse(trusted.trusts("192.0.3.1"))

    def test_one_family_is_not_the_other(self) -> None:
        self.assertFalse(TrustedProxies(["0.0.0.0/0"]).trusts("2001:db8::1"))
        self.assertFalse(TrustedProxies(["::/0"]).trusts("192.0.2.1"))
        self.assertTrue(TrustedProxies(["::/0"]).trusts("2001:db8::1"))

    def test_bad_ones_are_named(self) -> None:
        for bad in ("", "localhost", "192.0.2", "192.0.2.1/33", "::1/129", "192.0.2.0/24x"):
            error = self.assertRaises(ValueError, TrustedProxies, ["::1", bad])
            self.assertIn(repr(bad), str(error))

    def test_host_bits(self) -> None:
        error = self.assertRaises(ValueError, TrustedProxies, ["192.0.2.1/24"])
        self.assertIn("'192.0.2.1/24'", str(error))
        self.assertIn("192.0.2.0/24 is meant?", str(error))
