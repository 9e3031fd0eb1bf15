"""Why a message cannot be spooled."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class SpoolError(Exception):
    """The disk does not do what it should. The text is one line and says what."""


class SpoolFull(SpoolError):
    """There is no room for the message now."""


@contextmanager
def telling(what: str) -> Iterator[None]:
    """
    Make errors of the system ours.

    :param what: is done, for people.
    :raises SpoolError: it could not be done.
    """
    try:
        yield
    except OSError as error:
        kind = SpoolFull if error.errno in _FULL else SpoolError
        raise kind(f"{what}: {error.strerror or type(error).__name__}") from error
