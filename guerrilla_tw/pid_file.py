"""The file that tells others a daemon's number."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress

from guerrilla_tw.config import ConfigError
from guerrilla_tw.trust import who_else_writes
from guerrilla_tw.users import SAME_USER, User


class PidFile:
    """
    The file that tells others this process's number (go-guerrilla: ``pid_file``).

    It may be in a directory of another user's. So nothing there is followed or overwritten but a
    file that is empty or holds a number.

    :param path: empty for none; nothing is done then.
    :param user: whom the process is about to become, who has to remove it.
    """

    def __init__(self, path: str, user: User = SAME_USER) -> None:
        #: As in the configuration.
        self.given = path
        self._absolute = path and os.path.abspath(path)
        #: Its only name, though a directory of it may be a link; empty for none. A daemon may
        #: change its directory.
        self.path = path and os.path.join(
            os.path.realpath(os.path.dirname(path)), os.path.basename(path)
        )
        self._user = user
        # While it is taken, and not yet written.
        self._file: int | None = None
        self._is_made = False

    def take(self) -> None:
        """
        Open it, while this process may. What is in it stays: it may be another daemon's.

        :raises ConfigError: it cannot be written.
        """
        if not self.path:
            return
        try:
            with self._user.rights():
                self._file = self._open_or_make()
        except PermissionError as error:
            self._file = self._take_as_root(error)
        except OSError as error:
            raise self._error(error) from None

    def _take_as_root(self, refusal: PermissionError) -> int:
        """
        Do it where only root may, as in ``/run``.

        :param refusal: of the user's attempt.
        """
        try:
            if os.geteuid() != 0 or who_else_writes(os.path.dirname(self._absolute), ()):
                raise refusal
            file = self._open_or_make()
            if os.fstat(file).st_uid != 0:
                os.close(file)
                raise refusal
        except OSError as error:
            raise self._error(error) from None
        # Who cannot remove it at the end can make it empty.
        with suppress(OSError):
            os.fchown(file, self._user.uid, self._user.gid)
        return file

    def write(self) -> None:
        """
        Write it, also over that of a process that is gone. It must have been taken.

        :raises ConfigError: it cannot be written.
        """
        if self._file is None:
            return
        try:
            os.ftruncate(self._file, 0)
            os.write(self._file, b"%d\n" % os.getpid())
        except OSError as error:
            raise self._error(error) from None
        self._close()

    def remove(self) -> None:
        """
        Remove it, if it is this process's.

        A user who may not remove it, as in ``/run``, makes it empty.
        """
        # Ours is empty before it is written.
        content = b"" if self._file is not None and self._is_made else b"%d" % os.getpid()
        self._close()
        with suppress(OSError):
            os.close(self._open_with(content))
            try:
                os.unlink(self.path)
            except OSError:
                os.truncate(self.path, 0)

    def _error(self, error: OSError) -> ConfigError:
        return ConfigError(f"{self._absolute} cannot be written: {error.strerror}", "pid_file")

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _open_or_make(self) -> int:
        """:raises OSError: also where there is something that is no pid file."""
        try:
            file = self._open(os.O_RDWR | os.O_CREAT | os.O_EXCL)
            self._is_made = True
        except FileExistsError:
            file = self._open(os.O_RDWR)
            if not re.fullmatch(rb"[0-9\s]{0,32}", os.pread(file, 33, 0)):
                os.close(file)
                raise OSError(0, "holds something else than a process id") from None
        return file

    def _open(self, flags: int) -> int:
        """:raises OSError: also where there is something else than a file."""
        # A FIFO would block.
        file = os.open(self.path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(file)
            raise OSError(0, "is there, and is not a file of its own")
        return file

    def _open_with(self, content: bytes) -> int:
        """:raises OSError: it is not there, or holds something else."""
        file = self._open(os.O_RDONLY)
        # twistd's own has no line end.
        if os.read(file, 33).strip() != content:
            os.close(file)
            raise OSError(0, "is another's")
        return file


class PidFiles:
    """
    The pid file of a daemon, and the one that is to take its place.

    :param user: whom the process is about to become.
    """

    def __init__(self, user: User = SAME_USER) -> None:
        self._user = user
        self._current = PidFile("")
        self._coming: PidFile | None = None

    def take(self, path: str) -> None:
        """
        Take the one to come, while this process may.

        :param path: empty for none.
        :raises ConfigError: it cannot be written.
        """
        coming = PidFile(path, self._user)
        # By the setting, since a daemon may have changed its directory. And it may be the same
        # file under another name, which is not to be removed then.
        if path != self._current.given and coming.path != self._current.path:
            coming.take()
            self._coming = coming

    def write(self) -> None:
        """
        Write the one to come. It may be another daemon's: to be done when nothing else can fail.

        :raises ConfigError: it cannot be written.
        """
        if self._coming is not None:
            self._coming.write()

    def commit(self) -> None:
        """Have the one to come in the place of the other."""
        if self._coming is not None:
            self._current.remove()
            self._current, self._coming = self._coming, None

    def abandon(self) -> None:
        """Give up the one to come."""
        if self._coming is not None:
            self._coming.remove()
            self._coming = None

    def remove(self) -> None:
        """Have none any more."""
        self.abandon()
        self._current.remove()
        self._current = PidFile("")
