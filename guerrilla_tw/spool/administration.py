"""What an operator does with a spool, also while daemons deliver it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec

from guerrilla_tw.spool.claims import Claim, open_claim
from guerrilla_tw.spool.errors import SpoolError, telling
from guerrilla_tw.spool.names import is_name, new_name, queue_id_of
from guerrilla_tw.spool.places import PlaceError, Places, sync_directory
from guerrilla_tw.spool.records import Progress, RecordError
from guerrilla_tw.spool.scanning import list_directory
from guerrilla_tw.spool.usage import Usage


class Entry(msgspec.Struct, frozen=True, gc=False):
    """
    A file of a spool, as an operator sees it.

    :param queued_id: of the message; empty if the name does not say.
    :param state: ``queue``, ``dead`` or ``damaged``.
    :param file: its path.
    :param octets: of the file.
    :param due: when it is to be tried, in seconds of the epoch; of others when they came here.
    :param received_at: in seconds of the epoch.
    :param attempts: how often delivery has failed.
    :param reason: of the last failure, or what is wrong with the file.
    :param size: octets of the message.
    :param mail_from: the reverse-path.
    :param rcpt_to: for whom it is.
    :param client: its address.
    :param helo: what it called itself.
    :param tls: whether it came over TLS.
    """

    queued_id: str
    state: str
    file: str
    octets: int
    due: float
    received_at: float = 0.0
    attempts: int = 0
    reason: str = ""
    size: int = 0
    mail_from: str = ""
    rcpt_to: tuple[str, ...] = ()
    client: str = ""
    helo: str = ""
    tls: bool = False


class Administration:
    """
    Lists, retries and deletes.

    :param path: of the spool.
    """

    def __init__(self, path: str) -> None:
        self.places = Places(os.path.abspath(path))

    def owner(self) -> int:
        """
        Find out whose spool it is.

        :returns: his user id. Nobody else but root can have put anything there.
        :raises SpoolError: somebody else can, or there is no spool.
        """
        root = self.places.root
        with telling(f"cannot read {root}"):
            owner = os.stat(root).st_uid
        try:
            self.places.check(owner)
        except PlaceError as error:
            raise SpoolError(str(error)) from None
        return owner

    def files(self) -> list[tuple[str, str]]:
        """
        List files.

        :returns: their states and paths, the oldest first.
        :raises SpoolError: the spool cannot be read.
        """
        found = []
        with telling(f"cannot read {self.places.root}"):
            for state in ("queue", "dead", "damaged"):
                directory = os.path.join(self.places.root, state)
                found += [
                    (listed.name, state, os.path.join(directory, listed.name))
                    for listed in list_directory(directory)
                    if is_name(listed.name) or state == "damaged"
                ]
        return [(state, path) for _, state, path in sorted(found)]

    def entries(self, files: Iterable[tuple[str, str]]) -> Iterator[Entry | None]:
        """
        Read what is known of files.

        :param files: states and paths.
        :returns: for each an entry; None if it is gone.
        :raises SpoolError: the disk fails.
        """
        for state, path in files:
            with telling(f"cannot read {path}"):
                yield _entry(state, path)

    def retry(self, entry: Entry) -> bool:
        """
        Have a message delivered now; one of the dead gets another lifetime.

        :returns: whether it will be: else it is being delivered, or gone.
        :raises SpoolError: the disk fails, or it cannot be in the queue.
        """
        with telling(f"cannot write {entry.file}"):
            claim = _claim(entry)
            if claim is None:
                return False
            now = time.time()
            if entry.state == "queue":
                os.utime(claim.file.descriptor, (now, now))
            else:
                path = self._path_in_queue(claim)
                claim.note(Progress(0, now, claim.progress.reason), now)
                os.fsync(claim.file.descriptor)
                os.rename(entry.file, path)
                sync_directory(self.places.queue)
                sync_directory(os.path.dirname(entry.file))
            claim.release()
            return True

    def _path_in_queue(self, claim: Claim) -> str:
        """
        Find a place where a daemon looks at a message: an operator may have named its file.

        :raises SpoolError: there is none.
        """
        try:
            header = claim.header
            name = claim.name
            name = name if is_name(name) else new_name(header.queued_id, header.received_at)
        except ValueError as error:
            raise SpoolError(f"{claim.path}: {error}") from None
        path = os.path.join(self.places.queue, name)
        # It may be under way, and must not be lost with the one that is delivered.
        if os.path.lexists(path):
            raise SpoolError(f"{claim.path}: {name} is in the queue already")
        return path

    def delete(self, entry: Entry) -> bool:
        """
        Remove a message for good.

        :returns: whether it was: else it is being delivered, or gone.
        :raises SpoolError: the disk fails.
        """
        with telling(f"cannot remove {entry.file}"):
            if entry.state == "damaged":
                os.unlink(entry.file)
            else:
                claim = _claim(entry)
                if claim is None:
                    return False
                os.unlink(entry.file)
                claim.release()
        # A daemon counts anew now and then.
        usage = os.path.join(self.places.root, "usage")
        with suppress(OSError):
            if os.path.exists(usage):
                Usage(usage).give_back(entry.octets)
        return True


def _claim(entry: Entry) -> Claim | None:
    with suppress(RecordError):
        return open_claim(entry.file)
    return None


def _entry(state: str, path: str) -> Entry | None:
    name = os.path.basename(path)
    try:
        found = os.stat(path, follow_symlinks=False)
        plain = Entry(queue_id_of(name), state, path, found.st_size, found.st_mtime)
        claim = open_claim(path, lock=False, write=False)
        return None if claim is None else _filled(plain, claim)
    except FileNotFoundError:
        return None
    except RecordError as error:
        return msgspec.structs.replace(plain, state="damaged", reason=str(error))


def _filled(plain: Entry, claim: Claim) -> Entry:
    """:raises RecordError: an address is none."""
    header = claim.header
    return Entry(
        header.queued_id,
        plain.state,
        plain.file,
        plain.octets,
        plain.due,
        header.received_at,
        claim.progress.attempts,
        claim.progress.reason,
        claim.parts.body_size,
        str(header.mail_from.address()),
        tuple(str(recipient.address()) for recipient in header.rcpt_to),
        header.remote_ip,
        header.helo,
        header.tls,
    )
