"""What a spool has, by the names and the times of its files."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress

import msgspec

from guerrilla_tw.spool.files import open_file
from guerrilla_tw.spool.names import is_name
from guerrilla_tw.spool.places import Places


class Listed(msgspec.Struct, frozen=True, order=True, gc=False):
    """
    A message, as a directory has it.

    :param name: of its file; the order is that of age.
    :param octets: of its file.
    :param due: when it is to be tried, in seconds of the epoch.
    """

    name: str
    octets: int
    due: float


class Scan(msgspec.Struct, frozen=True):
    """
    What a spool has.

    :param due: names of messages that are to be tried, the oldest first.
    :param more: whether there are more of them.
    :param next_due: when the next one is, in seconds of the epoch; None if there is none.
    :param count: of messages in the queue.
    :param oldest: name of the oldest message in the queue; empty if there is none.
    :param octets: of all files.
    :param dead: how many messages will not be delivered.
    :param damaged: how many files are not as they were written.
    :param last: as ``due``, of those that come last.
    :param gone: names of those that come last, and are not in the queue.
    """

    due: tuple[str, ...]
    more: bool
    next_due: float | None
    count: int
    oldest: str
    octets: int
    dead: int
    damaged: int
    last: tuple[str, ...]
    gone: AbstractSet[str]


def list_directory(path: str) -> Iterator[Listed]:
    """
    List files, in no order.

    :param path: of one of the directories.
    :raises OSError: the disk fails.
    """
    with os.scandir(path) as entries:
        for entry in entries:
            # It may be gone by now.
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                yield Listed(entry.name, found.st_size, found.st_mtime)


def scan(
    places: Places,
    now: float,
    latest: float,
    limit: int,
    last: AbstractSet[str] = frozenset(),
) -> Scan:
    """
    Look through a spool.

    :param now: seconds of the epoch.
    :param latest: what is due only after that is due at once: the clock must have been wrong.
    :param limit: how many names are given at most; and how many of those that come last.
    :param last: names of messages that come after all others: these must not keep them from being
        found.
    :raises OSError: the disk fails.
    """
    queue = _Queue(now, latest, limit, last)
    for listed in list_directory(places.queue):
        queue.add(listed)
    other = {path: list(list_directory(path)) for path in (places.tmp, places.dead, places.damaged)}
    octets = sum(listed.octets for files in other.values() for listed in files)
    due, due_last = queue.due.names(), queue.due_last.names()
    return Scan(
        due,
        queue.due.count + queue.due_last.count > len(due) + len(due_last),
        queue.next_due,
        queue.count,
        queue.oldest,
        queue.octets + octets,
        sum(is_name(listed.name) for listed in other[places.dead]),
        len(other[places.damaged]),
        due_last,
        queue.gone,
    )


class _Queue:
    """Sums up the queue, of which it remembers some names only."""

    def __init__(self, now: float, latest: float, limit: int, last: AbstractSet[str]) -> None:
        self._now = now
        self._latest = latest
        self._last = last
        self.due = _Oldest(limit)
        self.due_last = _Oldest(limit)
        self.gone = set(last)
        self.next_due: float | None = None
        self.count = 0
        self.octets = 0
        self.oldest = ""

    def add(self, listed: Listed) -> None:
        self.octets += listed.octets
        if not is_name(listed.name):
            return
        self.count += 1
        self.gone.discard(listed.name)
        if not self.oldest or listed.name < self.oldest:
            self.oldest = listed.name
        if self._now < listed.due <= self._latest:
            self.next_due = min(listed.due, self.next_due or listed.due)
            return
        due = self.due_last if listed.name in self._last else self.due
        due.add(listed.name)


class _Oldest:
    """
    Counts names, and remembers the oldest.

    :param limit: how many of them.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: list[str] = []
        self.count = 0

    def add(self, name: str) -> None:
        self.count += 1
        self._names.append(name)
        if len(self._names) > 4 * self._limit:
            self._names = heapq.nsmallest(self._limit, self._names)

    def names(self) -> tuple[str, ...]:
        return tuple(heapq.nsmallest(self._limit, self._names))


def waiting_in(path: str) -> int:
    """
    Count the messages that are to be delivered.

    :param path: of a spool.
    :returns: how many; 0 if that cannot be known.
    """
    with suppress(OSError):
        return sum(map(is_name, os.listdir(Places(path).queue)))
    return 0


def remove_leftovers(places: Places) -> None:
    """
    Remove what processes that are no more have begun to write.

    :raises OSError: the disk fails.
    """
    for listed in list(list_directory(places.tmp)):
        path = os.path.join(places.tmp, listed.name)
        # It may be gone, or nothing of ours: then it stays, and is in nobody's way.
        with suppress(OSError):
            file = open_file(path, os.O_RDWR)
            # Whoever writes has it locked, or finds out that it is gone.
            if file.lock() and file.is_at(path):
                os.unlink(path)
