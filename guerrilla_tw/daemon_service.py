"""A daemon as a service: what it is configured by, and who is told what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from enum import Enum
from functools import partial
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from guerrilla_tw.config import Config, ConfigError
from guerrilla_tw.doubts import doubts
from guerrilla_tw.events import Change, EventBus, compare, describe, reopenings
from guerrilla_tw.logs import Logs
from guerrilla_tw.memory import claim_memory
from guerrilla_tw.pid_file import PidFile
from guerrilla_tw.process import check_file_limit, claim_files
from guerrilla_tw.sources import ConfigSource, Source
from guerrilla_tw.turns import Turns
from guerrilla_tw.users import User
from guerrilla_tw.works import Works

InlineCallbacks = Generator[Deferred[Any], Any, None]


class _Phase(Enum):
    """Where a daemon is in its life."""

    STOPPED = "stopped"
    PREPARED = "prepared already"
    STARTING = "starting already"
    SERVING = "serving already"
    STOPPING = "still stopping"


class DaemonService(Service):
    """
    What is the same for every daemon: its start, reloads and end, in turns, and its events.

    :param config: see :class:`.Guerrilla`, as of the others.
    :param reactor: by default the global one.
    :param observer: where log lines go.
    :param logs: in place of ``observer``.
    :param user: whom the program is going to be.
    :param owns_process: whether the program is there for the daemon alone.
    :raises ConfigError: the configuration cannot be read.
    """

    def __init__(
        self,
        config: ConfigSource | None,
        *,
        reactor: Any,
        observer: Callable[[LogEvent], object] | None,
        logs: Logs | None,
        user: User,
        owns_process: bool,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._source = Source(config)
        loaded = self._source.read()
        self._config = loaded.config
        # They are told when there is a log.
        self._advice: Sequence[str] = loaded.warnings
        self._owns_logs = logs is None
        if logs is None:
            logs = Logs.for_observer(cast(Any, observer)) if observer else Logs(user=user)
        self._logs = logs
        self._owns_process = owns_process
        self._works = self._make_works(user)
        self.log = self._works.log
        self._events = EventBus(self.log)
        self._phase = _Phase.STOPPED
        self._turns = Turns(self._works.cancel)

    def _make_works(self, user: User) -> Works:
        raise NotImplementedError

    # For embedders

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    def subscribe(self, event: str, subscriber: Callable[..., object]) -> None:
        """
        Have a function called after each change of a kind (go-guerrilla: ``Subscribe``).

        :param event: an :class:`.Event`, or its name.
        :param subscriber: is given the :class:`.Config`, or for an event of a server its
            :class:`.ServerConfig`. What it raises, or what a Deferred of its fails with, is logged.
        :raises ValueError: there is no such event.
        """
        self._events.subscribe(event, subscriber)

    def unsubscribe(self, event: str, subscriber: Callable[..., object]) -> None:
        """
        Undo one :meth:`subscribe`.

        :raises ValueError: there is no such event, or no such subscriber.
        """
        self._events.unsubscribe(event, subscriber)

    def check(self) -> Sequence[str]:
        """
        Judge the configuration without listening and without opening a store.

        :returns: warnings, one line each.
        :raises ConfigError: the daemon could not start with it.
        """
        return [*self._advice, *doubts(self.config), *self._works.check(self.config)]

    @property
    def addresses(self) -> list[IPv4Address | IPv6Address | UNIXAddress]:
        """The addresses that it listens on, with real port numbers in place of 0."""
        # Twisted has no one name for what all of these are.
        return cast("list[IPv4Address | IPv6Address | UNIXAddress]", self._works.addresses)

    @property
    def clients(self) -> int:
        """How many connections are open."""
        return self._works.client_count

    def reload(self, config: ConfigSource | None = None) -> Deferred[None]:
        """
        Go over to another configuration, whole or not at all. Connections stay.

        :param config: as for the constructor; by default the file that the daemon was made from,
            which is read again.
        :returns: a Deferred that fires when it is in force, and fails with the reason if nothing
            has changed: a ConfigError, what a processor could not open, or a CancelledError when
            the daemon stops meanwhile.
        """
        return self._turns.take(self._reload, self._source if config is None else Source(config))

    def reopen_logs(self) -> None:
        """Open every log file anew by its name, as logrotate wants it."""
        self._works.reopen_logs()
        self._publish(reopenings(self.config, self.config))

    # IService

    def privilegedStartService(self) -> None:
        """
        Open the logs, take the ports and the pid file, while this process may.

        Nobody is answered before :meth:`startService` is through; the kernel keeps who comes.

        :raises ConfigError: the configuration cannot be used, or something cannot be had.
        :raises RuntimeError: it has been started already, or is still stopping.
        """
        if self._phase is not _Phase.STOPPED:
            raise RuntimeError(f"cannot start a daemon that is {self._phase.value}")
        try:
            self._works.take_places(self.config)
        except ConfigError:
            self._tell_failure(Failure())
            raise
        self._works.warn([*self._advice, *doubts(self.config)])
        self._phase = _Phase.PREPARED

    def startService(self) -> Deferred[None]:
        """
        Open the backend, then serve.

        Does what :meth:`privilegedStartService` does, if it was not called before.

        :returns: a Deferred that fires when clients are answered, and fails with the reason if
            they never will be; everything is closed again then.
        """
        if self._phase is not _Phase.PREPARED:
            try:
                self.privilegedStartService()
            except (ConfigError, RuntimeError) as error:
                return fail(error)
        super().startService()
        self._phase = _Phase.STARTING
        started = self._turns.take(self._start)
        if self.parent is not None and self.parent.running:
            # A parent looks at no Deferred. The log has the reason; others have looked by then.
            self._reactor.callLater(0, started.addErrback, lambda _: None)
        return started

    def stopService(self) -> Deferred[None]:
        """
        Stop listening; let clients finish; finish the work; close the backend. In this order.

        :returns: a Deferred that fires when all is done.
        """
        super().stopService()
        served, self._phase = self._phase is _Phase.SERVING, _Phase.STOPPING
        return self._turns.take_now(partial(self._stop, served))

    @inlineCallbacks
    def _stop(self, served: bool) -> InlineCallbacks:
        try:
            # Whoever was told to stop twice has stopped by now.
            if self._phase is _Phase.STOPPING:
                yield self._works.close(self.config.shutdown_timeout)
                if served:
                    self.log.info("stopped")
                self._close_logs()
        finally:
            self._phase = _Phase.STOPPED

    # For whoever has the whole process

    def explain(self, failure: Failure) -> str:
        """:returns: one line for why a start or a reload has failed, with the file's name."""
        return self._source.explain(failure)

    def end_at_once(self) -> None:
        """Let nothing of it outlive this process, which ends now. Nobody is waited for."""
        self._works.kill()
        PidFile(self.config.pid_file).remove()

    # The rest

    def check_limits(self, config: Config) -> None:
        """:raises ConfigError: this process may not have the clients of a configuration."""
        if self._owns_process:
            claim_memory()
            claim_files(config, self.log)
            return
        try:
            check_file_limit(config)
        except ConfigError as error:
            # The limits are those of the whole program.
            self._works.warn([str(error)])

    def _start(self) -> Deferred[None]:
        return self._works.open(self.config).addCallbacks(self._have_started, self._cannot_start)

    def _have_started(self, _: None) -> None:
        self._phase = _Phase.SERVING

    def _cannot_start(self, failure: Failure) -> Failure:
        if self._phase is _Phase.STARTING:
            self._phase = _Phase.STOPPED
            self.running = False
            self._tell_failure(failure)
        return failure

    def _tell_failure(self, failure: Failure) -> None:
        # Whoever started it may not look at what the start came to: an Application does not.
        self.log.critical("cannot start: {reason}", reason=self.explain(failure))
        self._close_logs()

    def _reload(self, source: Source) -> Deferred[None]:
        if self._phase is not _Phase.SERVING:
            return fail(RuntimeError("there is nothing to reload: the daemon does not serve"))
        return self._go_over_to(source).addErrback(self._refuse, source)

    def _refuse(self, failure: Failure, source: Source) -> Failure:
        if failure.check(CancelledError):
            self.log.info("reload given up, nothing has changed")
            return failure
        self.log.error(
            "reload refused, nothing has changed: {reason}", reason=source.explain(failure)
        )
        return failure

    @inlineCallbacks
    def _go_over_to(self, source: Source) -> InlineCallbacks:
        new = self._read(source)
        if new.processes != self.config.processes:
            raise ConfigError("a reload cannot change it; restart", "processes")
        renewed = yield self._works.change(self.config, new)
        old, self._config = self._config, new
        self._source = source
        # As go-guerrilla does.
        self._works.reopen_logs()
        self.log.info("reloaded: {happened}", happened=describe(old, new, renewed))
        self._publish([*compare(old, new, renewed), *reopenings(old, new)])

    def _read(self, source: Source) -> Config:
        """:raises ConfigError: it cannot be read or used."""
        if source is self._source and not source.name:
            raise ConfigError("there is no file to read again")
        loaded = source.read()
        self._works.warn([*loaded.warnings, *doubts(loaded.config)])
        return loaded.config

    def _publish(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._events.publish(change)

    def _close_logs(self) -> None:
        if self._owns_logs:
            self._logs.close()
