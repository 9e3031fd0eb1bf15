"""A store with the servers that it needs, and what can befall it."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import SkipTest

from tests.integration.network import FAULTS as NETWORK_FAULTS
from tests.integration.network import Network
from tests.servers.process import PrivateServer

WORKERS = 20
# Octets; a MariaDB has 100 MB before it has any mail.
_SMALL_DISK = "256m"


class Fault(NamedTuple):
    """
    Something that befalls a daemon or its store.

    :ivar begin: makes it happen.
    :ivar end: makes all as it was.
    :ivar forgets: whether the store may lose what it has acknowledged.
    :ivar is_told: whether the daemon's log rightly has tracebacks then.
    :ivar refusal: begins a 5xx that is right then; empty where there is none.
    """

    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None
    forgets: bool = False
    is_told: bool = False
    refusal: str = ""


class Stored(NamedTuple):
    """
    A copy of a message that a store has.

    :ivar key: that the client should have been told; empty if the store has none of its own.
    :ivar recipient: whose copy it is, or the part of his address that the store keeps; empty where
        a message has one for all.
    :ivar octets: delivery header and message.
    """

    key: str
    recipient: str
    octets: bytes


class StoreUnderTest:
    """
    A store. Subclasses start servers in :meth:`open`, and leave their end to :attr:`cleanup`.

    :param directory: where it may keep files.
    :param network: have a network between the daemon and the store, which fails when it is told to.
    :param small: put the store on a file system of its own, that is soon full.
    :raises SkipTest: a program is missing, or nobody may make a file system here.

    .. attribute:: settings

        The ``backend_config``.

    .. attribute:: faults

        What can befall it, by name.

    .. attribute:: chance

        What a fault does not leave to the machine.
    """

    #: For the table.
    title = ""

    def __init__(self, directory: Path, *, network: bool = False, small: bool = False) -> None:
        self.directory = directory
        self.cleanup = ExitStack()
        self.settings: dict[str, Any] = {"save_workers_size": WORKERS}
        self.faults: dict[str, Fault] = {}
        self.chance = random.Random()
        self._has_network = network
        self._is_small = small
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

    def clear(self) -> None:
        """Forget all messages."""
        raise NotImplementedError

    def close(self) -> None:
        """End all that was started."""
        self.cleanup.close()

    def keep_in(self, directory: Path) -> None:
        """Say where a store without a server has its files, before there are any."""
        if self._is_small:
            make_small_disk(directory, self.cleanup)
            self.faults["disk full"] = full_disk(directory)

    def serve(self, server: PrivateServer, *, forgets: bool = False) -> None:
        """
        Start a server that runs as long as the store is looked at, and can be killed and so on.

        :param forgets: whether it may lose what it has acknowledged when it is killed.
        """
        self.cleanup.callback(server.close)
        if self._is_small:
            make_small_disk(server.directory, self.cleanup)
        server.start()

        def restart() -> None:
            server.terminate()
            server.start()

        self.faults |= {
            "store paused": Fault(server.pause, server.go_on),
            "store killed": Fault(server.kill, server.start, forgets=forgets),
            "store restarted": Fault(restart),
        }
        if self._is_small:
            fault = full_disk(server.directory)

            def have_room() -> None:
                fault.end()
                # Some give up when they cannot write.
                server.start_again()

            self.faults["disk full"] = Fault(fault.begin, have_room, forgets=forgets)

    def connect(self, port: int) -> int:
        """:returns: the port for the daemon to reach the one of a server."""
        if not self._has_network:
            return port
        network = Network(port)
        self.cleanup.callback(network.close)
        for name in NETWORK_FAULTS:
            self.faults[f"network {name}"] = Fault(
                partial(self._disturb, network, name), network.end
            )
        return network.port

    def _disturb(self, network: Network, fault: str) -> None:
        network.begin(fault, self.chance.random())


def make_small_disk(directory: Path, cleanup: ExitStack) -> None:
    """
    Put a directory on a file system of its own, that is soon full.

    :param cleanup: takes the file system away.
    :raises SkipTest: only root may do that, and in some containers not even he.
    """
    before = directory.with_name(directory.name + ".before")
    directory.rename(before)
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK}", "tmpfs", str(directory)]
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        directory.rmdir()
        before.rename(directory)
        raise SkipTest("a file system cannot be mounted here")
    cleanup.callback(subprocess.run, ["umount", "--lazy", str(directory)], check=True)
    # With their owners, and that of the directory.
    subprocess.run(["cp", "-a", f"{before}/.", str(directory)], check=True)
    shutil.rmtree(before)


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

    return Fault(fill, lambda: filler.unlink(missing_ok=True))
