"""Many clients, and when each of them sends."""

from __future__ import annotations

import select
import ssl
import time
from collections import deque

from bench.generator.client import Client, Unexpected
from bench.generator.conversation import QUIT, opening, transaction
from bench.generator.spec import IMPLICIT, Sent, Spec

# Seconds without a word from the server, after which something is wrong with it.
_PATIENCE = 120
# That connect at a time: as many as any server's backlog holds.
_CONNECTING = 40


class Crowd:
    """
    The clients of a :class:`.Spec`.

    :param spec: what they send.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._opening = opening(spec)
        self._transaction = transaction(spec)
        self._epoll = select.epoll()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The certificate was made for the measurement; to check it is work that is not measured.
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._clients: dict[int, Client] = {}
        self._idle: deque[Client] = deque()
        self._latencies: list[float] = []
        self._started = 0
        self._began = 0.0

    def open(self) -> None:
        """Connect all clients that are to be kept, and have them greeted."""
        count = self._spec.clients if self._spec.kept else 0
        while len(self._idle) < count:
            while len(self._clients) < min(count, len(self._idle) + _CONNECTING):
                self._connect().open(self._opening, implicit=self._spec.tls == IMPLICIT)
            self._turn(_PATIENCE)

    def send(self) -> Sent:
        """
        Send all messages.

        :raises Unexpected: one of them was not taken.
        """
        processor = time.process_time()
        self._began = time.perf_counter()
        while len(self._latencies) < self._spec.messages:
            self._start()
            self._turn(self._time_left())
        seconds = time.perf_counter() - self._began
        return Sent(seconds, time.process_time() - processor, self._latencies)

    def close(self) -> None:
        """Let all clients go."""
        for client in list(self._clients.values()):
            self._let_go(client)
        self._epoll.close()

    def _start(self) -> None:
        """Begin those messages that are due and have a client."""
        spec = self._spec
        while self._started < spec.messages and self._has_client():
            now = time.perf_counter()
            if spec.rate:
                due = self._began + self._started / spec.rate
                if due > now:
                    return
            else:
                due = now
            self._started += 1
            if spec.kept:
                client = self._idle.popleft()
                client.began = due
                client.say(self._transaction)
            else:
                client = self._connect()
                client.began = due
                steps = (*self._opening, *self._transaction, *QUIT)
                client.open(steps, implicit=spec.tls == IMPLICIT)

    def _has_client(self) -> bool:
        if self._spec.kept:
            return bool(self._idle)
        return len(self._clients) < self._spec.clients

    def _time_left(self) -> float:
        """:returns: seconds until the next message is due."""
        spec = self._spec
        if not (spec.rate and self._started < spec.messages and self._has_client()):
            return _PATIENCE
        return max(0.0, self._began + self._started / spec.rate - time.perf_counter())

    def _turn(self, seconds: float) -> None:
        """Wait for something to happen, for so long at most."""
        if seconds < _PATIENCE:
            # Epoll counts in milliseconds, which is too coarse to pace messages.
            select.select([self._epoll], (), (), seconds)
        events = self._epoll.poll(0 if seconds < _PATIENCE else seconds)
        if not events and seconds >= _PATIENCE:
            raise Unexpected(f"it said nothing for {_PATIENCE} seconds")
        for descriptor, _ in events:
            self._clients[descriptor].on_event()

    def _connect(self) -> Client:
        spec = self._spec
        address = (spec.host, spec.port)
        client = Client(self._epoll, address, self._context, self._ended, self._taken)
        self._clients[client.fileno()] = client
        return client

    def _taken(self, client: Client) -> None:
        self._latencies.append(time.perf_counter() - client.began)

    def _ended(self, client: Client) -> None:
        if self._spec.kept:
            self._idle.append(client)
            if not self._spec.rate and self._began:
                self._start()
        else:
            self._let_go(client)

    def _let_go(self, client: Client) -> None:
        del self._clients[client.fileno()]
        client.close()
