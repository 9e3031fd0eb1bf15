"""What a daemon has to do with the system around it: its pid file, its limits, its manager."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from typing import Final

from guerrilla_tw.config import Config, ConfigError

# Besides the clients': the standard streams, the event loop, ports, log files, and the connections
# and files of a store's workers, twice while a reload has the old store beside the new one.
OWN_FILES: Final = 64


class PidFile:
    """
    The file that tells others this process's number (go-guerrilla: ``pid_file``).

    It may be in a directory that belongs to a user whom root writes it for. So nothing there is
    followed or overwritten but a file.

    :param path: empty for none; nothing is done then.
    """

    def __init__(self, path: str) -> None:
        #: Its only name, though a directory of it may be a link; empty for none. A daemon may
        #: change its directory.
        self.path = path and os.path.join(
            os.path.realpath(os.path.dirname(path)), os.path.basename(path)
        )
        # While it is taken, and not yet written.
        self._file: int | None = None

    def take(self) -> None:
        """
        Open it, while this process may. What is in it stays: it may be another daemon's.

        :raises ConfigError: it cannot be written.
        """
        if not self.path:
            return
        try:
            self._file = self._open(os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise ConfigError(f"cannot be written: {error.strerror}", "pid_file") from None

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
            raise ConfigError(f"cannot be written: {error.strerror}", "pid_file") from None
        finally:
            self._close()

    def give_to(self, uid: int, gid: int) -> None:
        """
        Give it to the user whom this process is about to become, who has to remove it.

        :param uid: of the user, -1 for the present one.
        :param gid: of the group, -1 for the present one.
        """
        if self._file is not None:
            with suppress(OSError):
                os.fchown(self._file, uid, gid)

    def remove(self) -> None:
        """
        Remove it, if it is this process's.

        A user who may not remove it, as in ``/run``, makes it empty.
        """
        self._close()
        with suppress(OSError):
            os.close(self._open_ours())
            try:
                os.unlink(self.path)
            except OSError:
                os.truncate(self.path, 0)

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _open(self, flags: int) -> int:
        """:raises OSError: also where there is something else than a file."""
        # A FIFO would block.
        file = os.open(self.path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(file)
            raise OSError(0, "is there, and is not a file of its own")
        return file

    def _open_ours(self) -> int:
        """:raises OSError: it is not there, or another's; ours is empty before it is written."""
        file = self._open(os.O_RDONLY)
        # twistd's own has no line end.
        if os.read(file, 32).strip() not in (b"%d" % os.getpid(), b""):
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
