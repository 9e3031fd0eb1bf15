"""A message of the spool, while nobody else has it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from guerrilla_tw.mail.body import Body
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.spool.files import OpenFile, SpooledBody, open_file
from guerrilla_tw.spool.records import (
    PREFIX,
    PROGRESS,
    Header,
    Parts,
    Progress,
    RecordError,
    body_digest,
    decode_header,
    decode_prefix,
    decode_progress,
    encode_progress,
)

# Of opening a directory, a link, a socket.
_NO_FILE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENXIO})
#: When a message is due that nobody has tried, in seconds of the epoch.
UNTRIED = 0.0
# Octets of a body that is read into memory.
_SMALL = 2**18


class Claim:
    """
    A file that this process has locked; the lock is gone when the process is.

    :param file: locked.
    :param path: of it.
    :param header: of the message.
    :param parts: of the file.
    :param progress: of the delivery.
    """

    def __init__(
        self, file: OpenFile, path: str, header: Header, parts: Parts, progress: Progress
    ) -> None:
        self.file = file
        self.path = path
        self.header = header
        self.parts = parts
        self.progress = progress

    @property
    def name(self) -> str:
        """Of the file."""
        return os.path.basename(self.path)

    @property
    def queued_id(self) -> str:
        """Of the message."""
        return self.header.queued_id

    def envelope(self) -> Envelope:
        """
        Make an envelope for a run of the chain, and see whether the body is as it was written.

        :raises RecordError: it is not, or an address is none.
        :raises OSError: the disk fails.
        """
        return self.header.envelope(self._body())

    def body_pieces(self) -> Iterator[bytes]:
        """
        Give the message piece by piece.

        :raises OSError: the disk fails.
        """
        return self.file.pieces(self.parts.body_start, self.parts.body_size)

    def check_body(self) -> None:
        """:raises RecordError: the body is not as it was written."""
        digest = body_digest()
        for piece in self.body_pieces():
            digest.update(piece)
        self._compare(digest.digest())

    def begin(self, now: float) -> bool:
        """
        Write down that somebody tries to deliver it. That is for other processes, should this one
        be killed, so it is not synced.

        :param now: seconds of the epoch.
        :returns: whether nobody had tried before, as far as those know who were there since then.
        :raises OSError: the disk fails.
        """
        is_first = os.fstat(self.file.descriptor).st_mtime == UNTRIED
        os.utime(self.file.descriptor, (now, now))
        return is_first

    def note(self, progress: Progress, due: float) -> None:
        """
        Write down how delivery goes. It is not synced: without it the message is only tried again.

        :param due: when it is to be tried again, in seconds of the epoch.
        :raises OSError: the disk fails.
        """
        os.pwrite(self.file.descriptor, encode_progress(progress), self.parts.progress_start)
        self.progress = progress
        os.utime(self.file.descriptor, (due, due))

    def release(self) -> None:
        """Let others have it."""
        self.file.unlock()

    def _body(self) -> Body:
        if self.parts.body_size > _SMALL:
            self.check_body()
            return SpooledBody(self.file, self.parts.body_start, self.parts.body_size)
        octets = self.file.read(self.parts.body_start, self.parts.body_size)
        digest = body_digest()
        digest.update(octets)
        self._compare(digest.digest())
        body = Body()
        body.write(octets)
        return body

    def _compare(self, digest: bytes) -> None:
        if digest != self.parts.body_digest:
            raise RecordError("the digest of its body is another one")


def open_claim(path: str, *, lock: bool = True, write: bool = True) -> Claim | None:
    """
    Open a message.

    :param path: of its file.
    :param lock: whether nobody else may have it meanwhile.
    :param write: whether its progress can be written.
    :returns: None if it is not there any more, or somebody has it.
    :raises RecordError: it is none.
    :raises OSError: the disk fails.
    """
    try:
        file = open_file(path, os.O_RDWR if write else os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise RecordError("it is not a regular file") from None
    # Who had it may have removed it, or put another one in its place.
    if lock and not (file.lock() and file.is_at(path)):
        return None
    found = os.fstat(file.descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise RecordError("it is not a regular file")
    prefix = file.read(0, PREFIX)
    parts = decode_prefix(prefix, found.st_size)
    header = decode_header(prefix, file.read(PREFIX, parts.header_size))
    progress = decode_progress(
        file.read(parts.progress_start, PROGRESS), Progress(0, header.received_at)
    )
    return Claim(file, path, header, parts, progress)
