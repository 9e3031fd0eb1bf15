"""Files that are read again when they hold something else than before, wherever they are."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from guerrilla_tw.reading import open_file, read_file

_PIECE: Final = 2**18


@dataclass(frozen=True)
class Stamp:
    """
    What a file was. Equal is what holds the same.

    :param status: what tells at once that nothing was done to it.
    :param content: a digest; None if it was not there.
    """

    status: tuple[int, ...] = field(compare=False)
    content: Hashable


Stamps = Mapping[str, Stamp]


def stamps(paths: Iterable[str], before: Stamps) -> Stamps:
    """
    Take down what files hold.

    :param paths: of files; links are followed.
    :param before: what was taken down last. A file that was not touched since is not opened; and
        who may not read one any more can still see that it was not written to.
    :returns: for each path, something to compare.
    """
    return {path: _stamp(path, before.get(path)) for path in paths}


def _stamp(path: str, before: Stamp | None) -> Stamp:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return Stamp((), None)
    unchanging = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    status = (*unchanging, found.st_ctime_ns)
    if before is not None and before.status == status:
        return before
    try:
        return Stamp(status, _digest(path))
    except OSError:
        if before is not None and before.status[:-1] == unchanging:
            return Stamp(status, before.content)
        return Stamp(status, unchanging)


def _digest(path: str) -> bytes:
    digest = sha256()
    with open_file(path) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()


class Files:
    """Files on the disk."""

    def read(self, path: str) -> bytes:
        """
        Read a whole file.

        :raises OSError: it cannot be read.
        """
        return read_file(path)

    def stamps(self, paths: Iterable[str], before: Stamps) -> Stamps:
        """See :func:`stamps`."""
        return stamps(paths, before)


class HandedFiles(Files):
    """
    Files that were read by a process that may do so.

    :param contents: by path.
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.contents = contents

    def read(self, path: str) -> bytes:
        """See :class:`Files`."""
        return self.contents[path]

    def stamps(self, paths: Iterable[str], before: Stamps) -> Stamps:
        """See :class:`Files`."""
        return {path: Stamp((), sha256(self.contents[path]).digest()) for path in paths}


ON_DISK: Final = Files()
