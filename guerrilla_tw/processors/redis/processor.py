"""Redis: keeps messages in Redis for a while."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from guerrilla_tw.backends.chain import process_with_deferred
from guerrilla_tw.backends.deadlines import Deadlines
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.backends.results import STORE_UNAVAILABLE, TOO_LARGE_FOR_STORE, Result
from guerrilla_tw.config import ConfigError
from guerrilla_tw.interfaces import (
    IBackendService,
    IInitializer,
    IResult,
    IShutdowner,
    Task,
)
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.compressor import COMPRESSED, CompressedMessage
from guerrilla_tw.processors.redis.settings import RedisConfig, RedisUnavailable, TooLargeForRedis

if TYPE_CHECKING:
    from guerrilla_tw.processors.redis.client import RedisClient

#: Where in ``envelope.values`` the key is, once the message is in Redis under it.
IN_REDIS = "redis"
# Octets of a message that are put together, and compressed, on the reactor's thread: half a
# millisecond. A hand-over to a thread costs about as much.
_SMALL = 2**16


@implementer(IInitializer, IShutdowner)
class RedisStore:
    """
    Redis, and how a message gets there.

    :param config: settings.
    :param svc: of the processor.
    :param required: whether the chain ends where Redis does not take a message.
    """

    def __init__(self, config: RedisConfig, svc: IBackendService, required: bool) -> None:
        self._config = config
        self._svc = svc
        self._required = required
        self._target = config.target()
        # Of the time that stores have: some is left for another one, if it comes after this.
        self._share = 1.0 if required else 0.5
        self._client: RedisClient | None = None
        self._in_time: Deadlines[Deferred[None]] = Deadlines(svc.reactor, Deferred.cancel)

    @inlineCallbacks
    def initialize(self, config: Mapping[str, object]) -> Generator[Deferred[Any], Any, None]:
        """
        Connect, and try whether Redis can be written.

        :raises RedisUnavailable: it cannot.
        """
        # Here and not above: txredisapi installs a reactor when it is imported.
        from guerrilla_tw.processors.redis.client import RedisClient

        client = RedisClient(
            self._target,
            self._config.redis_pool_size or self._svc.workers,
            self._svc.timeout,
            self._svc.reactor,
            self._svc.log,
        )
        yield client.open()
        self._client = client

    def shutdown(self) -> Deferred[None] | None:
        """Close all connections."""
        self._in_time.close()
        return self._client.close() if self._client is not None else None

    def save(self, envelope: Envelope) -> Deferred[IResult | None]:
        """
        Store a message, once for all its recipients.

        :returns: None to go on with the chain.
        """
        key = envelope.hashes[0]
        seconds = self._svc.time_for(envelope) * self._share
        if not seconds:
            return succeed(self._refuse(envelope, "no time is left", STORE_UNAVAILABLE))
        writing = self._write(key, envelope)
        self._in_time.begin(writing, seconds)

        def end(outcome: Failure | None) -> IResult | None:
            in_time = self._in_time.end(writing)
            if isinstance(outcome, Failure):
                late = "" if in_time else f"not done within {seconds:.1f} seconds"
                return self._judge(outcome, late, envelope)
            envelope.values[IN_REDIS] = key
            envelope.stored_as = key
            return None

        return writing.addBoth(end)

    def _write(self, key: str, envelope: Envelope) -> Deferred[None]:
        assert self._client is not None
        expire = self._config.redis_expire_seconds
        if envelope.size <= _SMALL:
            return self._client.setex(key, expire, _stored_data(envelope))
        writing = partial(self._client.setex, key, expire)
        return self._svc.defer_to_worker(_stored_data, envelope).addCallback(writing)

    def _judge(self, failure: Failure, late: str, envelope: Envelope) -> Result | None:
        """
        :param late: that the message took too long, if it did.
        :returns: what is said of a message that is not in Redis.
        """
        error = failure.value
        if isinstance(error, TooLargeForRedis):
            return self._refuse(envelope, f"too large: {error}", TOO_LARGE_FOR_STORE)
        if isinstance(error, RedisUnavailable):
            return self._refuse(envelope, str(error), STORE_UNAVAILABLE)
        if late and isinstance(error, CancelledError):
            return self._refuse(envelope, late, STORE_UNAVAILABLE)
        failure.raiseException()

    def _refuse(self, envelope: Envelope, cause: str, result: Result) -> Result | None:
        say = self._svc.log.error if self._required else self._svc.log.warn
        say(
            "{queued_id}: not stored in {target}: {cause}",
            queued_id=envelope.queued_id,
            target=str(self._target),
            cause=cause,
        )
        return result if self._required else None


def redis(svc: IBackendService) -> Decorator:
    """
    Keep messages in Redis for a while (go-guerrilla: ``Redis``).

    Stores the delivery header and the message, as the Compressor made them if there is one before
    it, under the first hash of the Hasher, which becomes the id in the reply. Sets
    ``envelope.values["redis"]`` to that key.
    """
    svc.declare_store()
    return _make(svc, required=True)


def redis_if_available(svc: IBackendService) -> Decorator:
    """
    Keep messages as :func:`redis` does, in a chain with another store after it.

    Where Redis does not take a message, that is logged, and the chain goes on without
    ``envelope.values["redis"]``. At the start Redis must be there.
    """
    return _make(svc, required=False)


def _make(svc: IBackendService, required: bool) -> Decorator:
    store = RedisStore(svc.extract_config(svc.config, RedisConfig), svc, required)
    if not svc.is_set_before("hashes"):
        raise ConfigError("needs the hashes: put Hasher before it")
    svc.add_initializer(store)
    svc.add_shutdowner(store)

    def save(envelope: Envelope, task: Task) -> Deferred[IResult | None] | None:
        return store.save(envelope) if task is Task.SAVE_MAIL else None

    return process_with_deferred(save)


def _stored_data(envelope: Envelope) -> bytes:
    offered = envelope.values.get(COMPRESSED)
    if isinstance(offered, CompressedMessage):
        return offered.data(envelope)
    return envelope.delivered_data
