"""The directories of a spool: made for nobody but us, and refused if others could write there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from guerrilla_tw.trust import who_else_writes

_MODE: Final = 0o700


class PlaceError(Exception):
    """A directory that cannot be used. The text is one line and says which and why."""


@dataclass(frozen=True)
class Places:
    """
    Where a spool has its files.

    :param root: absolute path of the spool.
    """

    root: str

    @property
    def tmp(self) -> str:
        """Files that are being written, and count for nothing."""
        return os.path.join(self.root, "tmp")

    @property
    def queue(self) -> str:
        """Messages that are to be delivered."""
        return os.path.join(self.root, "queue")

    @property
    def dead(self) -> str:
        """Messages that will not be delivered."""
        return os.path.join(self.root, "dead")

    @property
    def damaged(self) -> str:
        """Files that are not as they were written."""
        return os.path.join(self.root, "damaged")

    @property
    def all(self) -> tuple[str, ...]:
        """All of these."""
        return (self.tmp, self.queue, self.dead, self.damaged)

    def make(self) -> None:
        """
        Make what is not there.

        :raises PlaceError: it cannot be made, or what is there cannot be used.
        """
        self.check(os.geteuid())
        for path in (self.root, *self.all):
            with _telling(f"cannot make {path}"), suppress(FileExistsError):
                os.mkdir(path, _MODE)
                sync_directory(os.path.dirname(path))
        self.check(os.geteuid())
        for path in (self.root, *self.all):
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                raise PlaceError(f"{path} cannot be written to")

    def check(self, owner: int) -> None:
        """
        See whether a spool can be here, without making anything.

        :param owner: user id of whoever will use it.
        :raises PlaceError: it cannot.
        """
        if not os.path.lexists(self.root):
            check_parent(os.path.dirname(self.root), owner)
        for path in (self.root, *self.all):
            if os.path.lexists(path):
                check_directory(path, owner)


def check_directory(path: str, owner: int) -> None:
    """
    See whether nobody else can put files into a directory, or another one in its place.

    :param owner: user id that it has to belong to.
    :raises PlaceError: somebody can, or it is none.
    """
    with _telling(path):
        found = os.stat(path)
        stranger = who_else_writes(path, {owner})
    if not stat.S_ISDIR(found.st_mode):
        raise PlaceError(f"{path} is not a directory")
    if found.st_uid != owner:
        raise PlaceError(f"{path} belongs to user {found.st_uid}, and not to user {owner}")
    if stranger is not None:
        raise PlaceError(str(stranger))


def check_parent(path: str, owner: int) -> None:
    """
    See whether a directory of one's own can be made in another.

    :param owner: user id of who will make it.
    :raises PlaceError: others could have theirs in its place.
    """
    with _telling(path):
        os.stat(path)
        stranger = who_else_writes(path, {owner})
        # Where nobody removes what is another's, what we make stays ours.
        if stranger is not None and not os.stat(stranger.place).st_mode & stat.S_ISVTX:
            raise PlaceError(str(stranger))


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Make errors of the system ours."""
    try:
        yield
    except OSError as error:
        raise PlaceError(f"{what}: {error.strerror or error}") from error


def sync_directory(path: str) -> None:
    """
    Have the names in a directory on the disk.

    :raises OSError: the disk fails.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
