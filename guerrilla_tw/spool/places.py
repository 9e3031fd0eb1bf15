"""The directories of a spool: made for nobody but us, and refused if others could write there."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_MODE: Final = 0o700
# Here others can make files, and remove only their own.
_STICKY: Final = stat.S_ISVTX


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
        for path in (self.root, *self.all):
            try:
                with suppress(FileExistsError):
                    os.mkdir(path, _MODE)
                    sync_directory(os.path.dirname(path))
            except OSError as error:
                raise PlaceError(f"cannot make {path}: {error.strerror}") from error
            self._check(path)

    def check(self, owner: int) -> None:
        """
        See whether a spool can be here, without making anything.

        :param owner: user id of whoever will use it.
        :raises PlaceError: it cannot.
        """
        check_ancestors(self.root)
        for path in (self.root, *self.all):
            if os.path.lexists(path):
                check_directory(path, owner)

    def _check(self, path: str) -> None:
        if path == self.root:
            check_ancestors(path)
        check_directory(path, os.geteuid())
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise PlaceError(f"{path} cannot be written to")


def check_directory(path: str, owner: int) -> None:
    """
    See whether nobody else can put files into a directory.

    :param owner: user id that it has to belong to.
    :raises PlaceError: somebody can, or it is none.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise PlaceError(f"{path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise PlaceError(f"{path} is not a directory")
    if found.st_uid != owner:
        raise PlaceError(f"{path} belongs to user {found.st_uid}, and not to user {owner}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PlaceError(f"{path} can be written to by others (mode {found.st_mode & 0o7777:o})")


def check_ancestors(path: str) -> None:
    """
    See whether everybody could put another directory in the place of one.

    :param path: absolute.
    :raises PlaceError: everybody could, or it can be nowhere.
    """
    parent = os.path.dirname(path)
    try:
        mode = os.stat(parent).st_mode
    except OSError as error:
        raise PlaceError(f"{parent}: {error.strerror}") from error
    if mode & stat.S_IWOTH and not mode & _STICKY:
        raise PlaceError(f"{parent} can be written to by everybody (mode {mode & 0o7777:o})")
    if parent != os.path.dirname(parent):
        check_ancestors(parent)


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
