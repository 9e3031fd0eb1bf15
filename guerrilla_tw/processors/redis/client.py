"""
Redis as a store has it: opened, written to, closed.

Import it where a reactor is installed already: txredisapi installs one.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import ConnectionError, RedisError  # type: ignore[import-untyped]

from guerrilla_tw.processors.redis.endpoint import RedisEndpoint
from guerrilla_tw.processors.redis.pool import RedisConnection, RedisPool, cause_of, check_reply
from guerrilla_tw.processors.redis.settings import RedisTarget, RedisUnavailable, TooLargeForRedis

InlineCallbacks = Generator[Deferred[Any], Any, None]

# Seconds to make a connection, and again for the first answers on it.
_CONNECT_TIMEOUT = 5.0
# Connections that a message is tried on.
_TRIES = 3
# Redis says this of more octets than its proto-max-bulk-len, by default 512 MiB.
_TOO_LARGE = "invalid bulk length"


class RedisClient:
    """
    Connections to Redis.

    :param target: where it is.
    :param size: how many are kept.
    :param deadline: seconds for the start.
    :param reactor: for the connections and their timeouts.
    :param log: is told when Redis is lost and when it is back.
    """

    def __init__(
        self, target: RedisTarget, size: int, deadline: float, reactor: Any, log: Logger
    ) -> None:
        self._target = target
        self._deadline = deadline
        self._reactor = reactor
        self._pool = RedisPool(target, size, min(deadline, _CONNECT_TIMEOUT), reactor, log)

    @inlineCallbacks
    def open(self) -> InlineCallbacks:
        """
        Connect.

        :raises RedisUnavailable: the first try failed; there is no other one.
        """
        opened = self._pool.opened
        assert opened is not None
        self._pool.startConnecting(RedisEndpoint(self._target, self._pool))
        try:
            yield opened.addTimeout(self._deadline, self._reactor)
        except BaseException as error:
            # Not while the connection is still in the middle of failing.
            yield deferLater(self._reactor, 0)
            yield self.close()
            if isinstance(error, (RedisUnavailable, TimeoutError)):
                raise RedisUnavailable(f"{self._target}: {cause_of(error)}") from None
            raise

    def close(self) -> Deferred[None]:
        """Break off all connections, without a wait for a Redis that hangs."""
        for connection in [*self._pool.open_connections]:
            connection.end("shutdown")
        closed: Deferred[None] = self._pool.disconnect()
        return closed

    def setex(self, key: str, seconds: int, data: bytes, tries: int = _TRIES) -> Deferred[None]:
        """
        Write a key. To give up is to cancel.

        :param seconds: until Redis forgets it.
        :param tries: on a connection each.
        :returns: a Deferred. It fails with RedisUnavailable if it was not written, as far as is
            known, and with TooLargeForRedis if it never will be.
        """
        connection = self._pool.take(len(data))
        if connection is not None:
            return self._write(connection, key, seconds, data, tries)
        waiting = self._pool.wait(len(data))
        return waiting.addCallback(self._write, key, seconds, data, tries)

    def _write(
        self, connection: RedisConnection, key: str, seconds: int, data: bytes, tries: int
    ) -> Deferred[None]:
        try:
            answer = connection.setex(key, seconds, data)
        except ConnectionError:
            answer = fail()
        return answer.addBoth(self._answered, connection, key, seconds, data, tries - 1)

    def _answered(
        self,
        reply: object,
        connection: RedisConnection,
        key: str,
        seconds: int,
        data: bytes,
        tries: int,
    ) -> Deferred[None] | None:
        if reply == "OK":
            # Nearly always.
            self._pool.give_back(connection, len(data))
            return None
        try:
            check_reply(reply.value if isinstance(reply, Failure) else reply)
        except ConnectionError as error:
            self._pool.retire(connection, cause_of(error))
            # Perhaps before Redis saw the message; and to write a key twice does no harm. The next
            # connection may have had its trial just before Redis ended, too.
            if not tries:
                raise RedisUnavailable(cause_of(error)) from None
            return self.setex(key, seconds, data, tries)
        except BaseException as error:
            self._judge(connection, error)
            raise
        self._pool.give_back(connection, len(data))
        return None

    def _judge(self, connection: RedisConnection, error: BaseException) -> None:
        """
        Go on after a message that was not written.

        :raises RedisUnavailable: this is why.
        :raises TooLargeForRedis: or this.
        """
        cause = cause_of(error)
        if isinstance(error, RedisError) and _TOO_LARGE in cause:
            # This Redis is well, but what it makes of the octets that follow is unknown.
            connection.end("too large")
            raise TooLargeForRedis(cause) from None
        is_cancelled = isinstance(error, CancelledError)
        self._pool.retire(connection, "no answer" if is_cancelled else cause)
        if isinstance(error, (RedisError, RedisUnavailable)):
            raise RedisUnavailable(cause) from None
