"""A daemon in a process of its own, whose configuration and log files change while it runs."""

from __future__ import annotations

import mailbox
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from tests.integration.daemon_process import FOREGROUND, Process, wait_until

_DONE = re.compile(r"(reloaded: |reload refused, nothing has changed: )([^\"\n]*)")
_COMPLAINT = re.compile(r"#(error|critical)\]|\"(error|critical)\"|Traceback|Unhandled")
_LISTENING = "0A"


class Sample(NamedTuple):
    """
    What the processes of a daemon have, all together.

    :ivar memory: in KiB.
    :ivar files: that are open.
    :ivar threads: that run.
    """

    memory: int
    files: int
    threads: int


def look_at(pid: int) -> Sample:
    """:returns: what a process has now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return Sample(_number("VmRSS", status), len(open_files(pid)), _number("Threads", status))


def open_files(pid: int) -> list[str]:
    """:returns: what the descriptors of a process are."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(path))
    return found


class ReloadedDaemon:
    """
    The daemon. Its main log is standard error, or a file whose name begins with ``main``.

    :param directory: where it runs.
    :param config: the path of its configuration.
    """

    def __init__(self, directory: Path, config: Path) -> None:
        self.lines: list[str] = []
        self._directory = directory
        self._process = Process([*FOREGROUND, "guerrilla", "--config", str(config)], directory)
        self.kill = self._process.kill
        # How much was read of it, and of the files by their inode, which keep it when moved.
        self._stderr = 0
        self._files: dict[int, int] = {}
        self._rotations = 0

    # Its log

    def read_log(self) -> None:
        """Take in what was written since."""
        count = len(self._process.stderr)
        self.lines += self._process.stderr[self._stderr : count]
        self._stderr = count
        for path in self._directory.glob("main*"):
            with suppress(FileNotFoundError), path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                file.seek(self._files.get(inode, 0))
                # A line may be half there.
                whole, end, _ = file.read().rpartition(b"\n")
                self._files[inode] = self._files.get(inode, 0) + len(whole + end)
                self.lines += whole.decode().splitlines()

    def wait_for(self, pattern: str, start: int) -> re.Match[str]:
        """
        Wait for a line.

        :param start: of the lines that count.
        """
        found: list[re.Match[str]] = []

        def come() -> bool:
            self.read_log()
            found.extend(filter(None, (re.search(pattern, line) for line in self.lines[start:])))
            assert found or self._process.running, self._process.output
            return bool(found)

        wait_until(come)
        return found[0]

    def complaints(self) -> list[str]:
        """:returns: lines that tell of something wrong, and not of a reload that is refused."""
        return [
            line.rstrip()
            for line in self.lines
            if _COMPLAINT.search(line) and not _DONE.search(line)
        ]

    # Signals

    def reload(self) -> tuple[bool, str]:
        """
        Have it read its configuration again.

        :returns: whether it is in force, and what the log says of it.
        """
        self.read_log()
        start = len(self.lines)
        os.kill(self._process.pid, signal.SIGHUP)
        match = self.wait_for(_DONE.pattern, start)
        return match[1].startswith("reloaded"), match[2]

    def rotate(self, log_file: str) -> None:
        """
        Move its main log, as logrotate does it.

        :param log_file: where it logs.
        """
        self._rotations += 1
        for path in self._directory.glob("main*.log"):
            path.rename(f"{path}.{self._rotations}")
        os.kill(self._process.pid, signal.SIGUSR1)
        if log_file.startswith("main"):
            wait_until((self._directory / log_file).exists)

    def terminate(self) -> int:
        """:returns: its status, below zero for the signal that ended it."""
        self._process.terminate()
        status = self._process.finish()
        self.read_log()
        return status

    # What it has

    def sample(self) -> Sample:
        """:returns: what it has now."""
        samples = [look_at(pid) for pid in self._processes()]
        return Sample(*map(sum, zip(*samples, strict=True)))

    def _processes(self) -> Iterator[int]:
        """:returns: its own, and those that it has started."""
        pid = self._process.pid
        yield pid
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    def _open(self) -> list[str]:
        """:returns: what its descriptors are."""
        return [name for pid in self._processes() for name in open_files(pid)]

    def _sockets(self) -> Iterator[tuple[str, str]]:
        """:returns: the place and the state of each socket of TCP."""
        opened = set(self._open())
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in opened:
                yield fields[1], fields[3]

    def held(self) -> set[str]:
        """:returns: where it listens, which logs it has open, and pid files."""
        return {
            *(place for place, state in self._sockets() if state == _LISTENING),
            *(name for name in self._open() if name.endswith(".log")),
            *(str(path) for path in self._directory.glob("*.pid")),
        }

    def has_clients(self) -> bool:
        """:returns: whether anybody is connected."""
        return any(state != _LISTENING for _, state in self._sockets())


def _number(name: str, status: str) -> int:
    """:returns: what a line of ``/proc/PID/status`` says."""
    found = re.search(rf"^{name}:\s+([0-9]+)", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


def stored(directory: Path) -> Iterator[bytes]:
    """:returns: the messages in all stores of a daemon, without their delivery headers."""
    for name in ("first", "second"):
        path = directory / f"{name}.sqlite3"
        if path.exists():
            with closing(sqlite3.connect(path)) as database:
                for (mail,) in database.execute("SELECT mail FROM new_mail"):
                    yield _body(mail)
    for path in (directory / "mail").iterdir():
        box = mailbox.Maildir(path, create=False)
        for key in box.iterkeys():
            # Line ends are LF there.
            yield _body(box.get_bytes(key).replace(b"\n", b"\r\n"))


def _body(mail: bytes) -> bytes:
    return mail[mail.index(b"\r\nSubject: ") + 2 :]
