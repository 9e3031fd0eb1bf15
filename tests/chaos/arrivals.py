"""Messages that come when they come, whether those before are answered or not."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import NamedTuple

from tests.integration.messages import message, stuffed
from tests.integration.programs import DEADLINE

_HOST = "127.0.0.1"
_COMMANDS = (
    b"MAIL FROM:<a@example.com>\r\n",
    b"RCPT TO:<b@example.com>\r\n",
    b"DATA\r\n",
)

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Told(NamedTuple):
    """
    What came of a message.

    :ivar token: of it.
    :ivar at: when it came, in seconds from the beginning.
    :ivar seconds: from its end to the reply.
    :ivar reply: empty if there was none.
    """

    token: str
    at: float
    seconds: float
    reply: str


class Arrivals:
    """
    Clients, as many as it takes.

    :param port: of the daemon on 127.0.0.1.
    :param seed: of chance.
    """

    def __init__(self, port: int, seed: int) -> None:
        self.told: list[Told] = []
        #: Messages that came and are not answered.
        self.outstanding = 0
        self._port = port
        self._chance = random.Random(seed)
        self._began = time.monotonic()
        self._serial = 0
        self._idle: list[_Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def now(self) -> float:
        """Seconds from the beginning."""
        return time.monotonic() - self._began

    async def come(self, rate: float, seconds: float) -> None:
        """
        Have messages come at random for a while.

        :param rate: messages a second, on average.
        """
        at = self.now
        end = at + seconds
        while (at := at + self._chance.expovariate(rate)) < end:
            await asyncio.sleep(max(0.0, at - self.now))
            self._serial += 1
            task = asyncio.create_task(self._deliver(f"o{self._serial}"))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(max(0.0, end - self.now))

    async def finish(self) -> None:
        """
        Wait for the answers.

        :raises TimeoutError: there are none.
        """
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=DEADLINE)
            if late:
                raise TimeoutError(f"{len(late)} messages are not answered")
        for _, writer in self._idle:
            writer.close()

    async def _deliver(self, token: str) -> None:
        self.outstanding += 1
        at = sent = self.now
        reply = ""
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                reader, writer, reply = await self._connect()
                if reply.startswith("2"):
                    reply = await self._envelope(reader, writer)
                sent = self.now
                if reply.startswith("354"):
                    reply = ""
                    writer.write(stuffed(message(token)) + b".\r\n")
                    reply = await _reply(reader)
                self._keep((reader, writer), reply)
        finally:
            self.outstanding -= 1
            self.told.append(Told(token, at, self.now - sent, reply))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        """:returns: a connection, and the last reply to it."""
        if self._idle:
            return *self._idle.pop(), "250"
        reader, writer = await asyncio.open_connection(_HOST, self._port)
        reply = await _reply(reader)
        if reply.startswith("220"):
            writer.write(b"EHLO client.example.com\r\n")
            reply = await _reply(reader)
        return reader, writer, reply

    async def _envelope(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """:returns: the reply to DATA."""
        writer.write(b"".join(_COMMANDS))
        replies = [await _reply(reader) for _ in _COMMANDS]
        return replies[-1]

    def _keep(self, connection: _Connection, reply: str) -> None:
        if reply.startswith("421"):
            connection[1].close()
        else:
            self._idle.append(connection)


async def _reply(reader: asyncio.StreamReader) -> str:
    while True:
        line = (await reader.readuntil(b"\n")).decode("ascii").rstrip()
        if line[3:4] != "-":
            return line
