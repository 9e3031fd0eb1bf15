"""A store with the servers that it needs, and what can befall it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest import SkipTest

from tests.servers.process import PrivateServer

WORKERS = 20


class Fault(NamedTuple):
    """
    Something that befalls a store.

    :ivar begin: makes it happen.
    :ivar end: makes all as it was.
    :ivar meanwhile: the first digit of what all clients are told in between; None to wait for none.
    :ivar forgets: whether the store may lose what it has acknowledged.
    """

    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None
    meanwhile: str | None = "4"
    forgets: bool = False


class Stored(NamedTuple):
    """
    A message that a store has.

    :ivar key: that the client should have been told; empty if the store has none of its own.
    :ivar octets: delivery header and message.
    """

    key: str
    octets: bytes


class StoreUnderTest:
    """
    A store. Subclasses start servers in their constructor, and leave their end to :attr:`cleanup`.

    :param directory: where the daemon runs.

    .. attribute:: settings

        The ``backend_config``.

    .. attribute:: faults

        What can befall it, by name.
    """

    #: For the table.
    title = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cleanup = ExitStack()
        self.settings: dict[str, Any] = {"save_workers_size": WORKERS}
        self.faults: dict[str, Fault] = {}
        with ExitStack() as unless_open:
            unless_open.callback(self.cleanup.close)
            self.open()
            unless_open.pop_all()

    def open(self) -> None:
        """Start what it needs, and fill :attr:`settings` and :attr:`faults`."""
        raise NotImplementedError

    def stored(self) -> Iterator[Stored]:
        """:returns: all that is in it. Everything runs again."""
        raise NotImplementedError

    def close(self) -> None:
        """End all that was started."""
        self.cleanup.close()

    def serve(self, server: PrivateServer) -> None:
        """Start a server that runs as long as the store is looked at."""
        self.cleanup.callback(server.close)
        server.start()

    def befall(self, server: PrivateServer, *, forgets: bool = False) -> None:
        """
        Have this server paused, killed and started again.

        :param forgets: whether it may lose what it has acknowledged when it is killed.
        """

        def restart() -> None:
            server.terminate()
            server.start()

        self.faults = {
            "paused": Fault(server.pause, server.go_on),
            "killed": Fault(server.kill, server.start, forgets=forgets),
            "restarted": Fault(restart, meanwhile=None),
        }


def make_small_disk(store: StoreUnderTest) -> None:
    """
    Put the store on a file system of its own, that is soon full.

    :raises SkipTest: only root may do that, and in some containers not even he.
    """
    directory = store.directory / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(directory)]
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        raise SkipTest("a file system cannot be mounted here")
    store.cleanup.callback(subprocess.run, ["umount", "--lazy", str(directory)], check=True)
    store.directory = directory


def full_disk(directory: Path) -> Fault:
    """:returns: no room in the file system of a directory."""
    filler = directory / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            for size in (2**20, 4096, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue

    return Fault(fill, filler.unlink)
