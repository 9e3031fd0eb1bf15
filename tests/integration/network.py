"""A network between a daemon and its store, which fails as networks do."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import Any, TypeVar

from tests.integration.programs import DEADLINE

T = TypeVar("T")
_HOST = "127.0.0.1"
# Seconds that a piece is on its way, at least and at most.
_DELAYS = (0.02, 0.25)
# One piece in so many is cut in two and then the connection; one of so many is the last to arrive.
_HALVED = 8
_DROPPED = 3
# A close with this resets.
_RESET = struct.pack("ii", 1, 0)

#: What :meth:`Network.begin` can make of it.
FAULTS = ("is cut", "drops", "delays", "halves")


class _Link:
    """A connection of the daemon's, and ours to the store in its place."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers
        # A connection that has lost a piece gets nothing more through.
        self.is_dead = False

    def reset(self) -> None:
        """End it as a network does: both sides lose what is on its way."""
        for writer in self.writers:
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                )
            writer.transport.abort()


class Network:
    """
    Forwards connections, in a thread of its own.

    :param port: of the store, on 127.0.0.1.

    .. attribute:: port

        Where the daemon is to connect.
    """

    def __init__(self, port: int) -> None:
        self._store = port
        self._fault = ""
        self._chance = random.Random()
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        started = Event()
        self._thread = Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(DEADLINE)

    def begin(self, fault: str, seed: float) -> None:
        """
        Fail.

        :param fault: one of :data:`FAULTS`.
        :param seed: of what is lost.
        """
        self._chance.seed(seed)
        self._call(self._set, fault)

    def end(self) -> None:
        """Work again. Connections that have lost something are gone."""
        self._call(self._set, "")

    def close(self) -> None:
        """End all connections."""
        self._call(self._set, "is cut")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        done = Event()

        def call() -> None:
            function(*arguments)
            done.set()

        self._loop.call_soon_threadsafe(call)
        assert done.wait(DEADLINE)

    def _set(self, fault: str) -> None:
        self._fault = fault
        for link in list(self._links):
            if link.is_dead or fault == "is cut":
                link.reset()

    def _run(self, started: Event) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, _HOST, 0))
        self.port: int = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        if self._fault == "is cut":
            link.reset()
            return
        try:
            store_reader, store_writer = await asyncio.open_connection(_HOST, self._store)
        except OSError:
            link.reset()
            return
        link = _Link(writer, store_writer)
        self._links.add(link)
        for each in link.writers:
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with suppress(OSError):
                await asyncio.gather(
                    self._forward(link, reader, store_writer),
                    self._forward(link, store_reader, writer),
                )
        finally:
            self._links.discard(link)
            for each in link.writers:
                each.close()

    async def _forward(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if self._fault == "drops" and self._chance.randrange(_DROPPED) == 0:
                link.is_dead = True
            if link.is_dead:
                continue
            if self._fault == "delays":
                await asyncio.sleep(self._chance.uniform(*_DELAYS))
            elif self._fault == "halves":
                half = len(data) // 2
                writer.write(data[:half])
                await writer.drain()
                if self._chance.randrange(_HALVED) == 0:
                    link.reset()
                    return
                await asyncio.sleep(_DELAYS[0])
                data = data[half:]
            writer.write(data)
            await writer.drain()
        if not link.is_dead:
            with suppress(OSError):
                writer.write_eof()
