"""One open log file, or a stream."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from io import FileIO
from threading import RLock
from typing import TextIO


class LogFile:
    """
    Whole lines at the end of a file. May be used by every thread, and by signal handlers.

    Nobody who logs has to do with it when a line cannot be written.

    :param place: an absolute path, or a stream, whose buffer is not used.
    :param report: told once that lines are being lost, and once, when it works again, how many.
    :raises OSError: it cannot be opened.
    """

    def __init__(self, place: str | TextIO, report: Callable[[LogFile, str], None]) -> None:
        self._path = place if isinstance(place, str) else ""
        if isinstance(place, str):
            self.name = place
            self._encoding = "utf-8"
            self._file = _open(place)
        else:
            self.name = str(getattr(place, "name", "stream"))
            self._encoding = place.encoding or "utf-8"
            self._file = FileIO(place.fileno(), "w", closefd=False)
        self._report = report
        # Signal handlers interrupt the thread that has it.
        self._lock = RLock()
        self._lost = 0
        self._cause = ""
        self._line_is_cut = False

    def write(self, line: str) -> bool:
        """
        Append a line, in one piece: another process may append to the same file.

        :param line: with its line end.
        :returns: whether this is still the file to write to; it is not after :meth:`close`.
        """
        data = line.encode(self._encoding, "backslashreplace")
        with self._lock:
            if self._file.closed:
                return False
            works = self._append(data)
            # Most lines go well, as those before them did.
            news = "" if works and not self._lost else self._news(works)
        if news:
            # Outside, since whoever is told may write here.
            self._report(self, news)
        return True

    def _append(self, data: bytes) -> bool:
        if self._line_is_cut:
            data = b"\n" + data
        try:
            while data:
                written = self._file.write(data)
                if written is None:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                data = data[written:]
                self._line_is_cut = bool(data)
        except OSError as error:
            self._cause = error.strerror or type(error).__name__
            return False
        return True

    def _news(self, works: bool) -> str:
        lost_before = self._lost
        if not works:
            self._lost += 1
            return "" if lost_before else f"lines are being lost: {self._cause}"
        self._lost = 0
        return f"lines lost: {lost_before} ({self._cause})"

    @property
    def fails(self) -> bool:
        """Whether the last line was lost."""
        return self._lost > 0

    def reopen(self) -> None:
        """
        Let the file go for the one that has its name by now. A stream stays what it is.

        :raises OSError: that cannot be opened; the old one is kept.
        """
        if not self._path:
            return
        new = _open(self._path)
        with self._lock:
            old, self._file = self._file, new
            # The other file may end with a whole line, or be empty.
            self._line_is_cut = False
        old.close()

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._file.close()


def _open(path: str) -> FileIO:
    return FileIO(path, "a", opener=_at_once)


def _at_once(path: str, flags: int) -> int:
    """Open a named pipe, too, without ever waiting for its reader: ENXIO if there is none."""
    # It names who writes to whom. Whoever wants it read by others makes it before.
    return os.open(path, flags | os.O_NONBLOCK, 0o600)
