"""Whether files are still those that were read."""

from __future__ import annotations

import os
from collections.abc import Iterable

Stamps = tuple[tuple[int, ...] | None, ...]


def stamps(paths: Iterable[str]) -> Stamps:
    """
    Take down what tells a file from another, and from itself when it has changed.

    The file is not opened: who may not read it any more can still see that it has not changed.

    :param paths: of files; links are followed.
    :returns: for each, something to compare; None if it is not there.
    """
    return tuple(map(_stamp, paths))


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
