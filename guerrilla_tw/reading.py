"""Files that a configuration names, opened so that nothing that is in their place does harm."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, Final

# Octets; far more than a configuration, or all the certificates of an operating system, are.
_LARGEST: Final = 16 * 2**20


def open_file(path: str) -> BinaryIO:
    """
    Open a file to read. Nothing is waited for, as the writer of a named pipe would be.

    :param path: of a regular file; links are followed.
    :raises OSError: it is none, or cannot be opened.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError:  # NUL, or half a character; Python's words vary.
        raise OSError(errno.EINVAL, "it is no path") from None
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise OSError(errno.EINVAL, "Not a regular file")
    return open(file, "rb")


def read_file(path: str, largest: int = _LARGEST) -> bytes:
    """
    Read a whole file.

    :param path: of a regular file; links are followed.
    :param largest: octets that it may have.
    :raises OSError: it has more, is none, or cannot be read.
    """
    with open_file(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content
