"""What a contender is, and running one for a while."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.certificate import write_certificate
from bench.generator.spec import IMPLICIT

# Seconds until a server must answer, and until it must have ended.
_PATIENCE = 30
# Characters of its last words that are shown.
_SAID = 500


class ServerError(Exception):
    """A server does not run. The text says why."""


class Server(NamedTuple):
    """
    A server that runs.

    :ivar host: where it listens.
    :ivar port: where it listens.
    :ivar pid: of the process that started all its others.
    """

    host: str
    port: int
    pid: int


@dataclass(frozen=True)
class Place:
    """
    Where and how a server is to run.

    :param directory: for its files. ``key.pem`` and ``certificate.pem`` are there.
    :param port: on 127.0.0.1.
    :param tls: ``starttls``, ``implicit`` or empty.
    :param clients: that it must be able to have.
    """

    directory: Path
    port: int
    tls: str
    clients: int

    @property
    def key(self) -> Path:
        """File of the key, in PEM."""
        return self.directory / "key.pem"

    @property
    def certificate(self) -> Path:
        """File of the certificate, in PEM."""
        return self.directory / "certificate.pem"


class Contender:
    """
    A server that can be measured.

    :param name: for the command line.
    :param title: for the table.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title

    def missing(self) -> str:
        """:returns: why it cannot be had here; empty if it can."""
        return ""

    def lacks(self, tls: str) -> str:
        """
        :param tls: a kind of it; empty is without.
        :returns: why it cannot serve that; empty if it can.
        """
        return ""

    def command(self, place: Place) -> Sequence[str | Path]:
        """
        Write what files it needs.

        :returns: what starts it. It stays in the foreground, and ends at a SIGTERM.
        """
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """:returns: variables that it needs beside ours."""
        return {}

    @contextmanager
    def running(self, *, tls: str = "", clients: int = 200) -> Iterator[Server]:
        """
        Run it for a while.

        :param tls: ``starttls``, ``implicit`` or empty.
        :param clients: that it must be able to have.
        :raises ServerError: it does not start.
        """
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            place = Place(Path(name), _free_port(), tls, clients)
            if tls:
                write_certificate(place.key, place.certificate)
            with open(place.directory / "output", "w+b") as output:
                process = subprocess.Popen(  # noqa: S603  (the command is ours)
                    self.command(place),
                    cwd=place.directory,
                    env={**os.environ, **self.environment()},
                    stdin=subprocess.DEVNULL,
                    # A file: it never makes the server wait, however much there is to tell.
                    stdout=output,
                    stderr=output,
                )
                try:
                    if not _answers(process, place):
                        output.seek(0)
                        said = output.read().decode(errors="replace").strip()
                        raise ServerError(f"it did not start: {said[-_SAID:] or 'not a word'}")
                    yield Server("127.0.0.1", place.port, process.pid)
                finally:
                    _end(process)


def python_path(root: Path) -> Mapping[str, str]:
    """:returns: the environment in which Python imports from a checkout."""
    return {"PYTHONPATH": str(root)}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _answers(process: subprocess.Popen[bytes], place: Place) -> bool:
    """:returns: whether it greets, in time."""
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), _connect(place) as client:
            if client.recv(3) == b"220":
                return True
        time.sleep(0.05)
    return False


def _connect(place: Place) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", place.port), _PATIENCE)
    if place.tls != IMPLICIT:
        return client
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(place.certificate)
    return context.wrap_socket(client, server_hostname="127.0.0.1")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
