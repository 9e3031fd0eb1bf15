"""
Connections to Redis: kept open, tried before they are used, and made anew when they are lost.

Import it where a reactor is installed already: txredisapi installs one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, TimeoutError, inlineCallbacks
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import (  # type: ignore[import-untyped]
    ConnectionError,
    RedisError,
    RedisFactory,
    RedisProtocol,
)

from guerrilla_tw.processors.redis.settings import RedisTarget, RedisUnavailable

InlineCallbacks = Generator[Deferred[Any], Any, None]

# Seconds after the last connection was lost in which messages wait for a new one, so that a quick
# restart of Redis refuses none; later ones are refused at once, and hold no worker up.
PATIENCE = 2.0
# A key that is written to see whether keys can be, for a millisecond.
_TRIAL = ("PSETEX", "guerrilla_tw", 1, "")
# Redis repeats a command that it does not know, and what follows may be a password or the message.
_REPEATED = re.compile(r",? with args beginning with.*", re.DOTALL)

# Octets that may be on their way on one connection before another is taken. So small messages that
# come at the same time share a system call each way, and no message waits behind a large one.
_ROOM = 2**16

# Its three arguments, each after its length in octets.
_SETEX = b"*4\r\n$5\r\nSETEX\r\n" + 3 * b"$%d\r\n%b\r\n"
_OK = b"+OK\r\n"
_NOT_REDIS = "what answers is not Redis"


class RedisConnection(RedisProtocol):  # type: ignore[misc]
    """
    One connection. It is in the pool from the moment that a trial write has worked.

    :ivar load: octets of the messages that it has.
    """

    factory: RedisPool
    load = 0
    # Whether what comes next is the beginning of an answer: none of ours has more than a line.
    _is_between_answers = True

    @property
    def has_room(self) -> bool:
        """Whether it may have another message."""
        return self.load < _ROOM

    def connectionMade(self) -> None:
        self._why_ended = ""
        self.factory.open_connections.add(self)
        introduced = self._introduce().addTimeout(self.factory.timeout, self.factory.reactor)
        introduced.addCallbacks(self._accepted, self._refused)

    @inlineCallbacks
    def _introduce(self) -> InlineCallbacks:
        # Not left to txredisapi, which gives up for good when a password is wrong.
        for command in self.factory.introduction:
            check_reply((yield self.execute_command(*command)))

    def _accepted(self, _: None) -> None:
        self.factory.end_turn(failed=False)
        super().connectionMade()

    def _refused(self, failure: Failure) -> None:
        self.factory.end_turn(failed=True)
        self.end(cause_of(failure.value))

    def setex(self, key: str, seconds: int, data: bytes) -> Deferred[Any]:
        """
        As the parent, in a third of its time.

        :returns: what Redis says, which may be an exception; it is not raised.
        :raises ConnectionError: the connection is lost already.
        """
        if not self.connected:
            raise ConnectionError("Not connected")
        name, expiry = key.encode(), b"%d" % seconds
        self.transport.write(_SETEX % (len(name), name, len(expiry), expiry, len(data), data))
        answer: Deferred[Any] = self.replyQueue.get()
        return answer

    def dataReceived(self, data: bytes) -> None:
        # Hardly anything else ever comes, and the parent takes four times as long for it.
        if self._is_between_answers and data == _OK * (len(data) // len(_OK)):
            for _ in range(len(data) // len(_OK)):
                self.replyQueue.put("OK")
            return
        self._is_between_answers = data.endswith(b"\r\n")
        try:
            super().dataReceived(data)
        except ValueError:
            self.end(_NOT_REDIS)

    def rawDataReceived(self, data: bytes) -> None:
        # No command of ours has an answer of that kind, which may be long.
        self.end(_NOT_REDIS)

    def end(self, cause: str) -> None:
        """Break it off; the pool makes another."""
        if self.connected:
            self._why_ended = cause
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        self.factory.open_connections.discard(self)
        self.factory.note(self._why_ended or cause_of(reason.value))
        super().connectionLost(reason)


class RedisPool(RedisFactory):  # type: ignore[misc]
    """
    A number of connections. While there is none, it is tried for one every second, for ever.

    :param target: where Redis is.
    :param size: how many connections.
    :param timeout: seconds to make one, and again for the first answers on it.
    :param reactor: for our timeouts; those of txredisapi are on the global one.
    :param log: is told when Redis is lost and when it is back.

    .. attribute:: introduction

        The commands that each connection begins with.

    .. attribute:: opened

        Fires when there is a connection, or fails with why the first try gave none; None after.
    """

    protocol = RedisConnection
    initialDelay = 0.1
    maxDelay = 1.0

    def __init__(
        self, target: RedisTarget, size: int, timeout: float, reactor: Any, log: Logger
    ) -> None:
        super().__init__(None, None, size, isLazy=True, charset=None)
        self.timeout = timeout
        self.reactor = reactor
        self.introduction = _introduction(target)
        self.open_connections: set[RedisConnection] = set()
        self.opened: Deferred[None] | None = Deferred()
        self._target = str(target)
        self._log = log
        self._trouble = "not connected yet"
        self._empty_since = reactor.seconds()
        self._turn = DeferredLock()
        self._failures = 0

    @inlineCallbacks
    def take_turn(self) -> InlineCallbacks:
        """Wait until a connection may be tried: one at a time, and slower where others failed."""
        yield self._turn.acquire()
        if self._failures:
            try:
                yield deferLater(self.reactor, self.retryDelay(self._failures))
            except BaseException:  # Cancelled.
                self._turn.release()
                raise

    def end_turn(self, failed: bool) -> None:
        """Let the next try begin."""
        self._failures = self._failures + 1 if failed else 0
        self._turn.release()

    def note(self, trouble: str) -> None:
        """Remember why a connection ended or was not made."""
        self._trouble = trouble
        opened, self.opened = self.opened, None
        if opened is not None:
            opened.errback(RedisUnavailable(trouble))

    def addConnection(self, connection: RedisConnection) -> None:
        was_empty = not self.size
        super().addConnection(connection)
        if not (was_empty and self.size):
            return
        opened, self.opened = self.opened, None
        if opened is not None:
            opened.callback(None)
        else:
            self._log.info("{target}: connected again", target=self._target)

    def delConnection(self, connection: RedisConnection) -> None:
        if connection not in self.pool:
            # It was retired before it ended.
            return
        if connection in self.connectionQueue.pending:
            self.connectionQueue.remove(connection)
        super().delConnection(connection)
        if not self.size and not self.disconnectCalled:
            self._empty_since = self.reactor.seconds()
            self._log.warn(
                "{target}: connection lost: {cause}", target=self._target, cause=self._trouble
            )

    def take(self, size: int) -> RedisConnection | None:
        """
        Take a connection, for one message.

        :param size: octets that the message has.
        :returns: one that is there, which may have others' messages too; None if :meth:`wait` is
            left.
        """
        # Those that have room are in it.
        queue: list[RedisConnection] = self.connectionQueue.pending
        if not queue:
            return None
        connection = queue[0]
        connection.load += size
        if not connection.has_room:
            del queue[0]
        return connection

    @inlineCallbacks
    def wait(self, size: int) -> Generator[Deferred[Any], Any, RedisConnection]:
        """
        Take a connection as soon as there is one. If there is none for long, that is said at once.

        :raises RedisUnavailable: there is none.
        """
        waiting: Deferred[RedisConnection] = self.getConnection()
        if not self.size:
            waited = self.reactor.seconds() - self._empty_since
            waiting.addTimeout(max(0.0, PATIENCE - waited), self.reactor)
        try:
            connection: RedisConnection = yield waiting
        except (TimeoutError, RedisError):
            raise RedisUnavailable(f"no connection: {self._trouble}") from None
        connection.load += size
        if connection.has_room:
            self.connectionQueue.put(connection)
        return connection

    def give_back(self, connection: RedisConnection, size: int) -> None:
        """End what :meth:`take` or :meth:`wait` began."""
        had_room = connection.has_room
        connection.load -= size
        if not had_room and connection.has_room and connection.connected:
            self.connectionQueue.put(connection)

    def retire(self, connection: RedisConnection, cause: str) -> None:
        """
        End what :meth:`take` or :meth:`wait` began, with a failure.

        The connections that have room are no better than this one: they lead to a Redis that has
        ended, hangs, is no master any more, or wants another password. New ones have a trial first.
        """
        self.note(cause)
        for doubtful in {connection, *self.connectionQueue.pending}:
            doubtful.end(cause)
            self.delConnection(doubtful)


def check_reply(reply: object) -> None:
    """
    :param reply: to a command that Redis says OK to.
    :raises Exception: the reply, if it is one.
    :raises RedisUnavailable: it is something else.
    """
    if isinstance(reply, Exception):
        raise reply
    # Octets with hiredis, which txredisapi uses if it is there.
    if (reply.decode("latin-1") if isinstance(reply, bytes) else reply) != "OK":
        raise RedisUnavailable(_NOT_REDIS)


def cause_of(error: BaseException | None) -> str:
    """:returns: one line that says what is wrong."""
    if isinstance(error, ConnectError) and error.osError:
        return os.strerror(error.osError).lower()
    if isinstance(error, TimeoutError):
        return "no answer"
    text = _REPEATED.sub("", str(error)).removeprefix("ERR ")
    return " ".join(text.split()) or type(error).__name__


def _introduction(target: RedisTarget) -> list[tuple[object, ...]]:
    commands: list[tuple[object, ...]] = []
    if target.password:
        login = (target.user, target.password) if target.user else (target.password,)
        commands.append(("AUTH", *login))
    if target.db:
        commands.append(("SELECT", target.db))
    return [*commands, _TRIAL]
