"""
What a file of the spool holds: a checked header, the message, and how its delivery goes.

::

    offset  octets
    0       8       GTWSPOOL
    8       2       version of this form
    10      4       length of the header
    14      8       length of the body
    22      32      digest of the body (BLAKE2b-256)
    54      32      digest of all before it and of the header
    86              the header: an Header, as JSON
                    the body, as it was received
                    512 octets: a Progress

All numbers have their highest octet first. Header and body never change; the progress is written
over when an attempt has failed, and has a checksum of its own: if it is torn, the message is
tried as if it were new.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from copy import copy
from hashlib import blake2b
from ipaddress import ip_address
from typing import Annotated, Any, Final

import msgspec

from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.envelope import Envelope

_MAGIC: Final = b"GTWSPOOL"
_VERSION: Final = 1
_FIXED: Final = struct.Struct(">8sHIQ32s")
_DIGEST: Final = 32
#: Octets before the header.
PREFIX: Final = _FIXED.size + _DIGEST
#: Octets of the progress.
PROGRESS: Final = 512
_PROGRESS_FIXED: Final = struct.Struct(">IIdH")
# 100,000 recipients have less.
_LONGEST_HEADER: Final = 2**26
_PIECE: Final = 2**18
# Of the epoch: the year 5138, as with the names of files.
_LAST_SECOND: Final = 1e11


class RecordError(ValueError):
    """A file that is not as it was written. The text says what is wrong with it."""


class Path(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """
    An :class:`.Address` of an envelope, in JSON.

    :param user: see there, as for the others.
    :param is_literal: whether the host is an address literal.
    """

    user: str = ""
    host: str = ""
    is_literal: bool = False
    quoted: bool = False
    params: tuple[tuple[str, str | None], ...] = ()
    display_name: str = ""
    null_path: bool = False

    @classmethod
    def of(cls, address: Address) -> Path:
        """:returns: the same address."""
        return cls(
            address.user,
            address.host,
            address.ip is not None,
            address.quoted,
            address.params,
            address.display_name,
            address.null_path,
        )

    def address(self) -> Address:
        """:raises RecordError: the host is no address literal."""
        try:
            ip = ip_address(self.host) if self.is_literal else None
        except ValueError:
            raise RecordError("its header has an address that is none") from None
        return Address(
            self.user,
            self.host,
            ip,
            self.quoted,
            self.params,
            self.display_name,
            self.null_path,
        )


class Header(msgspec.Struct, frozen=True, gc=False):
    """
    An envelope as it was before any processor had it, but for its body.

    :param queued_id: see :class:`.Envelope`, as for the others.
    :param received_at: seconds of the epoch.
    """

    queued_id: str
    received_at: Annotated[float, msgspec.Meta(ge=0.0, lt=_LAST_SECOND)]
    mail_from: Path
    rcpt_to: tuple[Path, ...]
    remote_ip: str
    helo: str
    tls: bool
    esmtp: bool
    lmtp: bool
    utf8: bool

    @classmethod
    def of(cls, envelope: Envelope, received_at: float) -> Header:
        """:returns: what a spool keeps of an envelope that no processor had yet."""
        return cls(
            envelope.queued_id,
            received_at,
            Path.of(envelope.mail_from),
            tuple(map(Path.of, envelope.rcpt_to)),
            envelope.remote_ip,
            envelope.helo,
            envelope.tls,
            envelope.esmtp,
            envelope.lmtp,
            envelope.utf8,
        )

    def for_some(self, indices: Sequence[int]) -> Header:
        """:returns: the same for some of the recipients, which are given by their places."""
        some = tuple(self.rcpt_to[index] for index in indices)
        return msgspec.structs.replace(self, rcpt_to=some)

    def envelope(self, body: Any) -> Envelope:
        """
        Make an envelope for another run of the chain.

        :param body: of the message, a :class:`.Body`.
        :raises RecordError: an address cannot be one.
        """
        envelope = Envelope(
            self.remote_ip,
            self.helo,
            tls=self.tls,
            esmtp=self.esmtp,
            lmtp=self.lmtp,
            utf8=self.utf8,
            body=body,
        )
        envelope.queued_id = self.queued_id
        envelope.received_at = self.received_at
        envelope.mail_from = self.mail_from.address()
        envelope.rcpt_to = [path.address() for path in self.rcpt_to]
        return envelope


# Made here and not where it is used: several threads that find out at once what a header consists
# of end the process by SIGSEGV (msgspec 0.22).
_READ_HEADER: Final = msgspec.json.Decoder(Header).decode


class Original:
    """
    A message as it is before any processor has it.

    :param envelope: new from the front.
    :param received_at: seconds of the epoch.
    """

    __slots__ = ("_body", "header", "size")

    def __init__(self, envelope: Envelope, received_at: float) -> None:
        self.header = Header.of(envelope, received_at)
        self.size = envelope.size
        self._body = envelope.body

    def for_some(self, indices: Sequence[int]) -> Original:
        """:returns: the same for some of the recipients, which are given by their places."""
        some = copy(self)
        some.header = self.header.for_some(indices)
        return some

    def pieces(self) -> Iterator[bytes]:
        """:returns: the body piece by piece, without what a processor has appended."""
        rest = self.size
        with self._body.open() as reader:
            while rest and (piece := reader.read(min(rest, _PIECE))):
                yield piece
                rest -= len(piece)


class Progress(msgspec.Struct, frozen=True, gc=False):
    """
    How the delivery of a message goes.

    :param attempts: how often it has failed.
    :param since: seconds of the epoch from when on the lifetime counts.
    :param reason: of the last failure, one line of printable ASCII.
    """

    attempts: int
    since: float
    reason: str = ""


class Parts(msgspec.Struct, frozen=True, gc=False):
    """
    What the beginning of a file says of it.

    :param header_size: octets.
    :param body_size: octets.
    :param body_digest: of the body.
    """

    header_size: int
    body_size: int
    body_digest: bytes

    @property
    def body_start(self) -> int:
        """The offset of the body."""
        return PREFIX + self.header_size

    @property
    def progress_start(self) -> int:
        """The offset of the progress."""
        return self.body_start + self.body_size

    @property
    def size(self) -> int:
        """Octets of the whole file."""
        return self.progress_start + PROGRESS


def body_digest() -> Any:
    """:returns: a hash object for the body."""
    return blake2b(digest_size=_DIGEST)


def encode_header(header: Header) -> bytes:
    """:raises ValueError: it has half a character, which JSON cannot hold."""
    return msgspec.json.encode(header)


def encode_prefix(header: bytes, body_size: int, digest: bytes) -> bytes:
    """
    Make the beginning of a file.

    :param header: encoded.
    :param body_size: octets.
    :param digest: of the body.
    """
    fixed = _FIXED.pack(_MAGIC, _VERSION, len(header), body_size, digest)
    return fixed + blake2b(fixed + header, digest_size=_DIGEST).digest()


def decode_prefix(prefix: bytes, size: int) -> Parts:
    """
    Read the beginning of a file.

    :param prefix: its first :data:`PREFIX` octets.
    :param size: octets of the whole file.
    :raises RecordError: it is not one, or not all of it is there.
    """
    if not size:
        raise RecordError("it is empty")
    if len(prefix) < PREFIX or prefix[:8] != _MAGIC:
        raise RecordError("it does not begin as a message in a spool does")
    _, version, header_size, body_size, digest = _FIXED.unpack_from(prefix)
    if version != _VERSION:
        raise RecordError(f"it is of version {version}, and {_VERSION} is known here")
    parts = Parts(header_size, body_size, digest)
    if size != parts.size or header_size > _LONGEST_HEADER:
        raise RecordError(f"it has {size} octets in place of {parts.size}")
    return parts


def decode_header(prefix: bytes, encoded: bytes) -> Header:
    """
    Read the header.

    :param prefix: of the same file.
    :param encoded: the header.
    :raises RecordError: one of the two is not as it was written.
    """
    digest = blake2b(prefix[: _FIXED.size] + encoded, digest_size=_DIGEST).digest()
    if digest != prefix[_FIXED.size :]:
        raise RecordError("the digest of its header is another one")
    try:
        return _READ_HEADER(encoded)
    except (msgspec.MsgspecError, ValueError):
        # Of the same version, and yet not.
        raise RecordError("its header cannot be read") from None


def encode_progress(progress: Progress) -> bytes:
    """:returns: :data:`PROGRESS` octets."""
    room = PROGRESS - _PROGRESS_FIXED.size
    reason = progress.reason.encode("ascii", "replace")[:room]
    fixed = (min(progress.attempts, 2**32 - 1), progress.since, len(reason))
    content = _PROGRESS_FIXED.pack(0, *fixed) + reason
    return struct.pack(">I", zlib.crc32(content)) + content[4:].ljust(PROGRESS - 4, b"\0")


def decode_progress(octets: bytes, otherwise: Progress) -> Progress:
    """
    Read how delivery goes.

    :param octets: :data:`PROGRESS` of them.
    :param otherwise: what is taken for it if they are torn.
    """
    if len(octets) != PROGRESS:
        return otherwise
    checksum, attempts, since, length = _PROGRESS_FIXED.unpack_from(octets)
    end = _PROGRESS_FIXED.size + length
    content = b"\0\0\0\0" + octets[4:end]
    if end > PROGRESS or checksum != zlib.crc32(content):
        return otherwise
    return Progress(attempts, since, octets[_PROGRESS_FIXED.size : end].decode("ascii", "replace"))
