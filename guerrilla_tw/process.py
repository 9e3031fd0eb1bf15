"""What a daemon has to do with the system around it: its pid file, its limits, its manager."""

from __future__ import annotations

import os
import re
import socket
import stat
from contextlib import suppress
from typing import Final

from guerrilla_tw.config import Config, ConfigError
from guerrilla_tw.users import SAME_USER, User, only_root_changes

# Besides the clients': the standard streams, the event loop, ports, log files, and the connections
# and files of a store's workers, twice while a reload has the old store beside the new one.
OWN_FILES: Final = 64


class PidFile:
    """
    The file that tells others this process's number (go-guerrilla: ``pid_file``).

    It may be in a directory of another user's. So nothing there is followed or overwritten but a
    file that is empty or holds a number.

    :param path: empty for none; nothing is done then.
    :param user: whom the process is about to become, who has to remove it.
    """

    def __init__(self, path: str, user: User = SAME_USER) -> None:
        self._given = path and os.path.abspath(path)
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
            if os.geteuid() != 0 or not only_root_changes(os.path.dirname(self._given)):
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
        return ConfigError(f"{self._given} cannot be written: {error.strerror}", "pid_file")

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


def raise_file_limit(config: Config) -> tuple[int, int] | None:
    """
    Raise the number of files that this process may open, as far as it needs them and may.

    :param config: each client needs one for its connection, and one more while a large message
        of his is here.
    :returns: the limit before and after; None if it stays.
    """
    try:
        import resource
    except ImportError:  # A system without such limits.
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _max_clients(config) + OWN_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a limit below the hard one.
        return None
    return soft, wanted


def check_file_limit(config: Config) -> None:
    """
    Compare the number of files that this process may open with the clients that it may have.

    :param config: whose enabled servers' ``max_clients`` count.
    :raises ConfigError: not all of them could connect (as in go-guerrilla).
    """
    try:
        import resource
    except ImportError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = _max_clients(config)
    if limit != resource.RLIM_INFINITY and clients + OWN_FILES > limit:
        raise ConfigError(
            f"max_clients of all are {clients} together, and {OWN_FILES} files are for the daemon "
            f"itself, but this process may open {limit} only (ulimit -n, LimitNOFILE=)",
            "servers",
        )


def _max_clients(config: Config) -> int:
    return sum(server.max_clients for server in config.servers if server.is_enabled)


def notify(state: str) -> None:
    """
    Tell the service manager about this process, if one asks for it. Never fails or waits.

    :param state: lines of ``NAME=value``, see sd_notify(3).
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    # @ is how systemd writes the NUL that an abstract name begins with.
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.sendto(state.encode(), address)
