"""A directory of messages, which several processes may share."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import islice

from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.spool import scanning
from guerrilla_tw.spool.claims import UNTRIED, Claim, open_claim
from guerrilla_tw.spool.errors import SpoolError, SpoolFull, telling
from guerrilla_tw.spool.files import OpenFile, open_file
from guerrilla_tw.spool.names import new_name, part_name
from guerrilla_tw.spool.places import Places, sync_directory
from guerrilla_tw.spool.records import (
    PREFIX,
    Header,
    Original,
    Parts,
    Progress,
    body_digest,
    encode_header,
    encode_prefix,
    encode_progress,
)
from guerrilla_tw.spool.scanning import Scan
from guerrilla_tw.spool.usage import Usage


class Spool:
    """
    Writes, finds, claims and moves messages. Its methods block, and may run in several threads.

    :param path: of the directory.
    :param max_bytes: octets of all files together, at most.
    :param min_free: octets of the disk that are left free.
    """

    def __init__(self, path: str, max_bytes: int, min_free: int) -> None:
        self.places = Places(os.path.abspath(path))
        self._max_bytes = max_bytes
        self._min_free = min_free
        self._usage: Usage

    def open(self) -> None:
        """
        Make what is not there, and be ready for messages.

        :raises PlaceError: a directory cannot be used.
        :raises OSError: the disk fails.
        """
        self.places.make()
        self._usage = Usage(os.path.join(self.places.root, "usage"))

    # Writing

    def write(self, original: Original, reason: str = "", due: float = UNTRIED) -> Claim:
        """
        Put a message into the queue. It is on the disk then, and claimed.

        :param original: the message.
        :param reason: why the first attempt has failed; empty if there was none.
        :param due: when it is to be tried, in seconds of the epoch.
        :raises SpoolFull: there is no room.
        :raises SpoolError: the disk fails.
        """
        header = original.header
        progress = Progress(1 if reason else 0, header.received_at, reason)
        path = os.path.join(self.places.queue, _name_of(header))
        return self._write(header, progress, original.pieces(), original.size, path, due)

    def _write(
        self,
        header: Header,
        progress: Progress,
        body: Iterable[bytes],
        size: int,
        path: str,
        due: float,
        *,
        is_copy: bool = False,
    ) -> Claim:
        try:
            encoded = encode_header(header)
        except ValueError as error:
            raise SpoolError(f"its envelope cannot be written: {error}") from None
        octets = Parts(len(encoded), size, b"").size
        # Without a limit: who has the message already would be given it again, and soon there is
        # less of it here than there was.
        self._take(octets, limited=not is_copy)
        try:
            with telling(f"cannot write in {self.places.root}"):
                tmp, file = self._new_file()
                try:
                    parts = _fill(file, encoded, body, size, progress)
                    os.utime(file.descriptor, (due, due))
                    os.fsync(file.descriptor)
                    os.rename(tmp, path)
                    # A copy stays: there may be none beside it any more.
                    tmp = "" if is_copy else path
                    sync_directory(os.path.dirname(path))
                except BaseException:
                    with suppress(OSError):
                        os.unlink(tmp)
                    file.unlock()
                    raise
        except BaseException:
            self._give_back(octets)
            raise
        return Claim(file, path, header, parts, progress)

    def _take(self, octets: int, *, limited: bool) -> None:
        """:raises SpoolFull: there is no room for so many."""
        with telling(f"cannot use {self.places.root}"):
            if not limited:
                self._usage.give_back(-octets)
                return
            disk = os.statvfs(self.places.root)
            if disk.f_bavail * disk.f_frsize - octets < self._min_free:
                raise SpoolFull("the disk has less room than spool_min_free")
            if not self._usage.take(octets, self._max_bytes):
                raise SpoolFull("the spool has as much as spool_max_bytes says")

    def _give_back(self, octets: int) -> None:
        # It is counted anew now and then.
        with suppress(OSError):
            self._usage.give_back(octets)

    def _new_file(self) -> tuple[str, OpenFile]:
        while True:
            path = os.path.join(self.places.tmp, secrets.token_hex(16))
            file = open_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            # Somebody who tidies up may have been faster.
            if file.lock() and file.is_at(path):
                return path, file

    # Reading

    def scan(
        self, now: float, latest: float, limit: int, last: AbstractSet[str] = frozenset()
    ) -> Scan:
        """
        Look through the spool, and count its octets anew.

        :param now: see :func:`.scanning.scan`, as for the others.
        :raises SpoolError: the disk fails.
        """
        with telling(f"cannot read {self.places.root}"):
            scanning.remove_leftovers(self.places)
            before = self._usage.octets
            found = scanning.scan(self.places, now, latest, limit, last)
            self._usage.correct(found.octets, before)
        return found

    def claim(self, name: str) -> Claim | None:
        """
        Have a message of the queue for oneself.

        :param name: of its file.
        :returns: None if it is not there any more, or somebody has it.
        :raises RecordError: it is none, or not as it was written.
        :raises SpoolError: the disk fails.
        """
        with telling(f"cannot read {self.places.root}"):
            return open_claim(os.path.join(self.places.queue, name))

    def envelope(self, claim: Claim, now: float) -> Envelope:
        """
        Make an envelope of a message, for a run of the chain that begins.

        :param now: seconds of the epoch.
        :raises RecordError: it is not as it was written.
        :raises SpoolError: the disk fails.
        """
        with telling(f"cannot use {claim.path}"):
            envelope = claim.envelope()
            envelope.may_be_stored = not claim.begin(now)
        return envelope

    # What becomes of a message

    def remove(self, claim: Claim) -> None:
        """
        Forget a message.

        The directory is not synced: after a loss of power the message may be there again.

        :raises SpoolError: the disk fails.
        """
        with telling(f"cannot remove {claim.path}"):
            os.unlink(claim.path)
        self._give_back(claim.parts.size)
        claim.release()

    def retry(self, claim: Claim, reason: str, due: float) -> None:
        """
        Have a message tried again.

        :param reason: why it was not delivered.
        :param due: when, in seconds of the epoch.
        :raises SpoolError: the disk fails.
        """
        progress = Progress(claim.progress.attempts + 1, claim.progress.since, reason)
        try:
            with telling(f"cannot write {claim.path}"):
                claim.note(progress, due)
        finally:
            claim.release()

    def bury(self, claim: Claim, reason: str) -> None:
        """
        Give a message up.

        :param reason: why it will not be delivered.
        :raises SpoolError: the disk fails.
        """
        progress = Progress(claim.progress.attempts + 1, claim.progress.since, reason)
        grave = os.path.join(self.places.dead, claim.name)
        try:
            with telling(f"cannot move {claim.path}"):
                claim.note(progress, time.time())
                os.fsync(claim.file.descriptor)
                _move(claim.path, grave)
        finally:
            claim.release()

    def bury_some(self, claim: Claim, indices: Sequence[int], reason: str) -> None:
        """
        Give a message up for some of its recipients; a copy for them is with the dead.

        :param indices: places of the recipients.
        :param reason: why it will not be delivered to them.
        :raises SpoolError: the disk fails, or there is no room.
        """
        header = claim.header.for_some(indices)
        progress = Progress(claim.progress.attempts + 1, claim.progress.since, reason)
        recipients = (str(path.address()) for path in header.rcpt_to)
        grave = os.path.join(self.places.dead, part_name(claim.name, recipients))
        self._write_copy(claim, header, progress, grave)

    def keep_some(self, claim: Claim, indices: Sequence[int]) -> Claim:
        """
        Keep a message for some of its recipients, since the others have it.

        :param indices: places of the recipients.
        :returns: what is in its place; the same where these are all.
        :raises SpoolError: the disk fails, or there is no room.
        """
        if len(indices) == len(claim.header.rcpt_to):
            return claim
        header = claim.header.for_some(indices)
        kept = self._write_copy(claim, header, claim.progress, claim.path)
        self._give_back(claim.parts.size)
        claim.release()
        return kept

    def _write_copy(self, claim: Claim, header: Header, progress: Progress, path: str) -> Claim:
        size = claim.parts.body_size
        now = time.time()
        return self._write(header, progress, claim.body_pieces(), size, path, now, is_copy=True)

    def set_aside(self, name: str) -> str:
        """
        Move a file out of the way that is not as it was written.

        :param name: of a file in the queue.
        :returns: where it is now.
        :raises SpoolError: the disk fails.
        """
        path = os.path.join(self.places.damaged, name)
        with telling(f"cannot move {name}"):
            _move(os.path.join(self.places.queue, name), path)
        return path


def _name_of(header: Header) -> str:
    try:
        return new_name(header.queued_id, header.received_at)
    except ValueError as error:
        raise SpoolError(str(error)) from None


def _fill(
    file: OpenFile, header: bytes, body: Iterable[bytes], size: int, progress: Progress
) -> Parts:
    """Write a whole file."""
    digest = body_digest()
    pieces = iter(body)
    # What is small is one piece, and written at once.
    first = b"".join(islice(pieces, 1))
    digest.update(first)
    file.write(b"".join((bytes(PREFIX), header, first)))
    written = len(first)
    for piece in pieces:
        digest.update(piece)
        file.write(piece)
        written += len(piece)
    if written != size:
        raise SpoolError(f"the body has {written} octets in place of {size}")
    file.write(encode_progress(progress))
    os.pwrite(file.descriptor, encode_prefix(header, size, digest.digest()), 0)
    return Parts(len(header), size, digest.digest())


def _move(source: str, target: str) -> None:
    """Rename, and have both names on the disk: first where it is now."""
    os.rename(source, target)
    sync_directory(os.path.dirname(target))
    sync_directory(os.path.dirname(source))
