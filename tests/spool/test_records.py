"""What a file of the spool holds, and what is noticed when it is not that any more."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.spool.records import (
    PREFIX,
    PROGRESS,
    Header,
    Original,
    Path,
    Progress,
    RecordError,
    body_digest,
    decode_header,
    decode_prefix,
    decode_progress,
    encode_header,
    encode_prefix,
    encode_progress,
)
from tests.backends.fakes import make_envelope

# No half characters: what comes from a client is valid UTF-8.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
LITERAL = st.one_of(
    st.ip_addresses(v=4).map(lambda ip: Address("user", str(ip), ip)),
    st.ip_addresses(v=6).map(lambda ip: Address("user", str(ip), ip)),
)
PARAMS = st.lists(st.tuples(TEXT, st.none() | TEXT), max_size=3).map(tuple)
NAMED = st.builds(
    Address, user=TEXT, host=TEXT, quoted=st.booleans(), params=PARAMS, null_path=st.booleans()
)
ADDRESS = NAMED | LITERAL
ENVELOPE = st.builds(
    Envelope,
    TEXT,
    TEXT,
    tls=st.booleans(),
    esmtp=st.booleans(),
    lmtp=st.booleans(),
    utf8=st.booleans(),
)


def encode(header: Header, body: bytes) -> bytes:
    """:returns: a whole file but for its progress."""
    digest = body_digest()
    digest.update(body)
    encoded = encode_header(header)
    return encode_prefix(encoded, len(body), digest.digest()) + encoded + body


def check(file: bytes) -> Header:
    """
    Read a file as a claim does.

    :raises RecordError: it is not as it was written.
    """
    prefix = file[:PREFIX]
    parts = decode_prefix(prefix, len(file))
    header = decode_header(prefix, file[PREFIX : parts.body_start])
    digest = body_digest()
    digest.update(file[parts.body_start : parts.progress_start])
    if digest.digest() != parts.body_digest:
        raise RecordError("body")
    return header


class HeaderTests(SynchronousTestCase):
    @given(ENVELOPE, ADDRESS, st.lists(ADDRESS, max_size=4), st.floats(0, 1e11, exclude_max=True))
    def test_an_envelope_is_the_same_again(
        self, envelope: Envelope, sender: Address, recipients: list[Address], received_at: float
    ) -> None:
        envelope.mail_from = sender
        envelope.rcpt_to = recipients
        header = check(encode(Header.of(envelope, received_at), b"") + bytes(PROGRESS))
        again = header.envelope(envelope.body)
        same = ("remote_ip", "helo", "tls", "esmtp", "lmtp", "utf8", "mail_from", "rcpt_to")
        for name in (*same, "queued_id", "protocol"):
            self.assertEqual(getattr(again, name), getattr(envelope, name), name)
        self.assertEqual(again.received_at, received_at)

    def test_address_literals(self) -> None:
        for ip in (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")):
            address = Address("user", str(ip), ip)
            self.assertEqual(Path.of(address).address(), address)
        # A host that looks like one is a host.
        self.assertEqual(Path.of(Address("user", "192.0.2.1")).address().ip, None)

    def test_some_recipients(self) -> None:
        header = Header.of(make_envelope("a", "b", "c"), 1.0).for_some([0, 2])
        self.assertEqual([path.user for path in header.rcpt_to], ["a", "c"])

    def test_half_a_character(self) -> None:
        envelope = make_envelope()
        envelope.helo = "\udc80"
        self.assertRaises(ValueError, encode_header, Header.of(envelope, 1.0))


class DamageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = encode(Header.of(make_envelope(), 1.0), b"body") + bytes(PROGRESS)

    def test_whole(self) -> None:
        check(self.file)

    def test_truncated_anywhere(self) -> None:
        for size in range(len(self.file)):
            self.assertRaises(RecordError, check, self.file[:size])

    def test_longer(self) -> None:
        self.assertRaises(RecordError, check, self.file + b"\0")

    def test_any_bit_of_header_and_body(self) -> None:
        for position in range(len(self.file) - PROGRESS):
            for bit in (0, 5, 7):
                damaged = bytearray(self.file)
                damaged[position] ^= 1 << bit
                self.assertRaises(RecordError, check, bytes(damaged))

    @given(st.binary(min_size=1, max_size=400))
    def test_anything_else(self, octets: bytes) -> None:
        self.assertRaises(RecordError, check, octets)
        self.assertRaises(RecordError, check, self.file[:14] + octets + self.file[14:])

    def test_another_version_is_named(self) -> None:
        file = self.file[:8] + b"\x00\x02" + self.file[10:]
        error = self.assertRaises(RecordError, check, file)
        self.assertIn("version 2", str(error))


class ProgressTests(SynchronousTestCase):
    NEW = Progress(0, 1.0)

    @settings(max_examples=200)
    @given(st.integers(0, 2**32 - 1), st.floats(allow_nan=False), st.text(max_size=600))
    def test_the_same_again(self, attempts: int, since: float, reason: str) -> None:
        octets = encode_progress(Progress(attempts, since, reason))
        self.assertEqual(len(octets), PROGRESS)
        again = decode_progress(octets, self.NEW)
        self.assertEqual((again.attempts, again.since), (attempts, since))
        self.assertTrue(reason.encode("ascii", "replace").startswith(again.reason.encode()))

    def test_torn(self) -> None:
        """Then the message is tried as if it were new."""
        old = encode_progress(Progress(1, 1.0, "one"))
        new = encode_progress(Progress(7, 2.0, "another, which is longer"))
        for cut in range(1, 40):
            torn = decode_progress(new[:cut] + old[cut:], self.NEW)
            self.assertEqual(torn, self.NEW)
        for octets in (b"", bytes(PROGRESS), b"\xff" * PROGRESS, old[:-1]):
            self.assertEqual(decode_progress(octets, self.NEW), self.NEW)


class OriginalTests(SynchronousTestCase):
    def test_what_processors_do_to_an_envelope(self) -> None:
        envelope = make_envelope("a")
        original = Original(envelope, 1.0)
        data = envelope.data
        envelope.rcpt_to.append(Address("b", "example.com"))
        envelope.mail_from = Address("c", "example.com")
        envelope.body.write(b"footer\r\n")
        self.assertEqual(b"".join(original.pieces()), data)
        self.assertEqual([path.user for path in original.header.rcpt_to], ["a"])
        self.assertEqual(original.header.mail_from.user, "")


class ThreadsTests(SynchronousTestCase):
    # A module that is executed anew has new types, of which nobody knows anything yet.
    _PROGRAM = """
import importlib, sys, threading
from guerrilla_tw.spool import records
from tests.spool.test_records import encoded_header
sys.setswitchinterval(1e-6)
prefix, encoded = encoded_header()
for _ in range(40):
    importlib.reload(records)
    barrier = threading.Barrier(8)
    def decode():
        barrier.wait()
        records.decode_header(prefix, encoded)
    threads = [threading.Thread(target=decode) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print("done")
"""

    def test_several_read_their_first_header_at_once(self) -> None:
        """As after a start with a full spool. It once ended the process by SIGSEGV."""
        command = [sys.executable, "-c", self._PROGRAM]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "done\n", ""))


def encoded_header() -> tuple[bytes, bytes]:
    """:returns: a prefix, and the header that it is of."""
    encoded = encode_header(Original(make_envelope(), 1.0).header)
    return encode_prefix(encoded, 0, body_digest().digest()), encoded
