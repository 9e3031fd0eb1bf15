"""A daemon to measure: how it is started, what it holds, and a plain client for it. Linux only."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
TWISTD = "from twisted.scripts.twistd import run; run()"
# Descriptors that a process needs beside its clients'.
_OTHER_FILES = 100
# Seconds without a word from the server, after which something is wrong with it.
_PATIENCE = 120


@dataclass(frozen=True)
class Daemon:
    """
    A process with one server.

    :param pid: its id.
    :param port: on 127.0.0.1.
    """

    pid: int
    port: int

    def resident(self) -> int:
        """:returns: resident memory, in octets."""
        return self._memory("VmRSS")

    def peak(self) -> int:
        """:returns: the most resident memory since :meth:`forget_peak`, in octets."""
        return self._memory("VmHWM")

    def forget_peak(self) -> None:
        """Start to look for a new peak (man 5 proc, clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def open_files(self) -> int:
        """:returns: how many descriptors it has."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _memory(self, field: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"^{field}:\s*([0-9]+) kB$", status, re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024


@contextmanager
def running(server: Mapping[str, object], **settings: object) -> Iterator[Daemon]:
    """
    Run a daemon with HeadersParser|Hasher|Header for a while.

    :param server: settings of its server.
    :param settings: of the whole configuration.
    """
    config = {
        "log_file": "stderr",
        "allowed_hosts": ["."],
        "backend_config": {"save_process": "HeadersParser|Hasher|Header"},
        "servers": [{"is_enabled": True, "listen_interface": "127.0.0.1:0", **server}],
        **settings,
    }
    with tempfile.TemporaryDirectory() as directory, open(f"{directory}/log", "w+b") as log:
        Path(directory, "config.json").write_text(json.dumps(config))
        options = ["-n", "--pidfile=", "guerrilla", "--config", "config.json"]
        with subprocess.Popen(  # noqa: S603  (the command is ours)
            [sys.executable, "-c", TWISTD, *options],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
            stdout=subprocess.DEVNULL,
            # A file: it never makes the daemon wait, however much there is to tell.
            stderr=log,
        ) as process:
            try:
                yield Daemon(process.pid, _port(process, Path(log.name)))
            finally:
                process.terminate()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    while process.poll() is None:
        if match := re.search(r"listening on .*:([0-9]+)", log.read_text()):
            return int(match[1])
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    raise SystemExit(f"the daemon did not start:\n{log.read_text()}")


def allow_clients(count: int) -> None:
    """
    Raise the limit of open files, for this process and for those that it starts.

    :raises SystemExit: as many are not allowed.
    """
    needed = count + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{needed} open files are needed, {hard} are allowed (ulimit -n)")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class Client:
    """
    A client that has been greeted and has said EHLO.

    :param port: on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._received = b""
        self.expect(b"220")
        self.say(b"EHLO client.example.com\r\n", b"250")

    def say(self, octets: bytes, *codes: bytes) -> None:
        """Send something, and wait for the replies to it."""
        self.socket.sendall(octets)
        for code in codes:
            self.expect(code)

    def expect(self, code: bytes) -> None:
        """
        Wait for a reply.

        :raises SystemExit: it is another one.
        """
        line = b"   -"
        while line[3:4] == b"-":
            line = self._line()
        if not line.startswith(code):
            raise SystemExit(f"the server said {line!r}, and {code!r} was expected")

    def _line(self) -> bytes:
        while b"\n" not in self._received:
            more = self.socket.recv(65536)
            if not more:
                raise SystemExit(f"the server closed after {self._received!r}")
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line

    def begin_message(self, *parameters: bytes) -> None:
        """Say from whom to whom."""
        sender = b" ".join([b"MAIL FROM:<a@example.com>", *parameters])
        self.say(sender + b"\r\nRCPT TO:<b@example.com>\r\n", b"250", b"250")

    def has_ended(self) -> bool:
        """:returns: whether the server has closed, and said nothing more."""
        return not (self._received or self.socket.recv(1))
