"""The daemon as a service: what it is configured by, and who is told what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, inlineCallbacks
from twisted.logger import LogEvent

from guerrilla_tw.backends.registry import Constructor, Registry
from guerrilla_tw.config import Config, ConfigError, LoadedConfig, convert_config, load_config
from guerrilla_tw.events import Change, EventBus, compare, reopenings
from guerrilla_tw.house import House
from guerrilla_tw.interfaces import IBackend
from guerrilla_tw.logs import Logs
from guerrilla_tw.process import check_file_limit
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.smtp.server import Client

InlineCallbacks = Generator[Deferred[Any], Any, None]
ConfigSource = Config | Mapping[str, Any] | str | os.PathLike[str]


class Guerrilla(Service):
    """
    The daemon, as a Twisted service.

    :param config: a configuration, the JSON object of one, or the path of a file with one. By
        default, a server on 127.0.0.1:2525 and an embedded store.
    :param backend: in place of the Gateway that ``backend_config`` describes.
    :param reactor: by default the global one.
    :param observer: where log lines go; by default where ``log_file`` says, and for ``stderr`` and
        ``stdout`` to the log of the program that this service is part of.
    :param logs: in place of ``observer``, for a program that has its own idea of ``log_file``.
    :raises ConfigError: the configuration cannot be read.
    """

    def __init__(
        self,
        config: ConfigSource | None = None,
        *,
        backend: IBackend | None = None,
        reactor: Any = None,
        observer: Callable[[LogEvent], object] | None = None,
        logs: Logs | None = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        loaded = _load(config)
        self._source = _lasting(config)
        # As it was named, for errors.
        self._file = os.fspath(config) if isinstance(config, (str, os.PathLike)) else ""
        #: The configuration in force.
        self.config = loaded.config
        # They are told when there is a log.
        self._advice: Sequence[str] = loaded.warnings
        self._owns_logs = logs is None
        self._logs = logs or (Logs.for_observer(cast(Any, observer)) if observer else Logs())
        self._registry = Registry(BUILTIN)
        self._house = House(reactor, self._logs, self._registry, backend, self.check_limits)
        self.log = self._house.log
        self._events = EventBus(self.log)
        # One start or reload at a time.
        self._turn = DeferredLock()
        self._under_way: Deferred[None] | None = None
        self._serving = False

    # For embedders

    def add_processor(self, name: str, constructor: Constructor) -> None:
        """
        Make a processor known under a name (go-guerrilla: ``AddProcessor``). Before the start.

        :param name: to use in ``save_process`` or ``validate_process``, in any case.
        :param constructor: see :class:`.IBackendService`.
        """
        self._registry.add(name, constructor)

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
        return [*self._advice, *self._house.check(self.config)]

    @property
    def addresses(self) -> list[IPv4Address | IPv6Address | UNIXAddress]:
        """The addresses that it listens on, with real port numbers in place of 0."""
        # Twisted has no one name for what all of these are.
        return cast("list[IPv4Address | IPv6Address | UNIXAddress]", self._house.addresses)

    @property
    def clients(self) -> list[Client]:
        """The connections that are open now."""
        return self._house.clients

    def reload(self, config: ConfigSource | None = None) -> Deferred[None]:
        """
        Go over to another configuration, whole or not at all. Connections stay.

        :param config: as for the constructor; by default the file that the daemon was made from,
            which is read again.
        :returns: a Deferred that fires when it is in force, and fails with the reason if nothing
            has changed: a ConfigError, what a processor could not open, or a CancelledError when
            the daemon stops meanwhile.
        """
        return self._take_turn(self._reload, config)

    def reopen_logs(self) -> None:
        """Open every log file anew by its name, as logrotate wants it."""
        self._house.reopen_logs()
        self._publish(reopenings(self.config, self.config))

    # IService

    def privilegedStartService(self) -> None:
        """
        Open the logs, take the ports and the pid file, while this process may.

        Nobody is answered before :meth:`startService` is through; the kernel keeps who comes.

        :raises ConfigError: the configuration cannot be used, or something cannot be had.
        :raises RuntimeError: it has been started already.
        """
        if self.running or self._house.has_places:
            raise RuntimeError("the daemon has been started already")
        try:
            self._house.take_places(self.config)
        except ConfigError as error:
            self._tell_failure(error)
            raise
        self._house.warn(self._advice)

    def startService(self) -> Deferred[None]:
        """
        Open the backend, then serve.

        :returns: a Deferred that fires when clients are answered, and fails with the reason if
            they never will be; everything is closed again then.
        :raises ConfigError: as :meth:`privilegedStartService`, which not every program calls.
        """
        if not self._house.has_places:
            self.privilegedStartService()
        super().startService()
        started: Deferred[None] = Deferred()
        # What the caller goes on to do with his Deferred is none of our business at the end.
        self._take_turn(self._start).chainDeferred(started)
        return started

    @inlineCallbacks
    def stopService(self) -> InlineCallbacks:
        """
        Stop listening; let clients finish; finish the work; close the backend. In this order.

        :returns: a Deferred that fires when all is done.
        """
        super().stopService()
        if self._under_way is not None:
            self._under_way.cancel()
        yield self._turn.acquire()
        try:
            yield self._house.close(self.config.shutdown_timeout)
            if self._serving:
                self._serving = False
                self.log.info("stopped")
            self._close_logs()
        finally:
            self._turn.release()

    # For whoever has the whole process

    def explain(self, error: BaseException) -> str:
        """:returns: one line for why a start or a reload has failed, with the file it is due to."""
        known = error if isinstance(error, ConfigError) else ConfigError(str(error) or repr(error))
        return str(known if known.name else known.in_file(self._file))

    def check_limits(self, config: Config) -> None:
        """
        See whether this process may have the clients of a configuration.

        Here that is only advice: the limits are those of the whole program.

        :raises ConfigError: it may not.
        """
        try:
            check_file_limit(config)
        except ConfigError as error:
            self._house.warn([str(error)])

    def give_files(self, uid: int, gid: int) -> None:
        """
        Give log files and pid file to the user whom this process is about to become.

        :param uid: of the user, -1 for the present one.
        :param gid: of the group, -1 for the present one.
        """
        self._house.give_files(uid, gid)

    # The rest

    def _take_turn(self, function: Callable[..., Deferred[None]], *args: object) -> Deferred[None]:
        """Do something when what is under way is done; :meth:`stopService` cancels it."""

        def begin() -> Deferred[None]:
            self._under_way = function(*args)
            return self._under_way

        return self._turn.run(begin)

    @inlineCallbacks
    def _start(self) -> InlineCallbacks:
        try:
            yield self._house.open(self.config)
        except BaseException as error:
            yield super().stopService()
            if not isinstance(error, CancelledError):
                self._tell_failure(error)
            raise
        self._serving = True

    def _tell_failure(self, error: BaseException) -> None:
        # Whoever started it may not look at what the start came to: an Application does not.
        self.log.critical("cannot start: {reason}", reason=self.explain(error))
        self._close_logs()

    @inlineCallbacks
    def _reload(self, source: ConfigSource | None) -> InlineCallbacks:
        if not (self.running and self._serving):
            raise RuntimeError("there is nothing to reload: the daemon does not serve")
        try:
            new = self._read(source)
            renewed = yield self._house.change(self.config, new)
        except BaseException as error:
            self.log.error(
                "reload refused, nothing has changed: {reason}", reason=self.explain(error)
            )
            raise
        old, self.config = self.config, new
        if source is not None:
            self._source = _lasting(source)
        # As go-guerrilla does.
        self._house.reopen_logs()
        changed = compare(old, new, renewed)
        # The first says only that something has.
        happened = ", ".join(map(str, changed[1:] or changed)) or "nothing has changed"
        self.log.info("reloaded: {happened}", happened=happened)
        self._publish([*changed, *reopenings(old, new)])

    def _read(self, source: ConfigSource | None) -> Config:
        """:raises ConfigError: it cannot be read or used."""
        if source is None:
            source = self._source
            if not isinstance(source, (str, os.PathLike)):
                raise ConfigError("there is no file to read again")
        loaded = _load(source)
        self._house.warn(loaded.warnings)
        return loaded.config

    def _publish(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._events.publish(change)

    def _close_logs(self) -> None:
        if self._owns_logs:
            self._logs.close()


def _load(source: ConfigSource | None) -> LoadedConfig:
    """:raises ConfigError: it cannot be read or used."""
    if source is None:
        return LoadedConfig(Config())
    if isinstance(source, Config):
        return LoadedConfig(source)
    if isinstance(source, Mapping):
        return convert_config(source)
    return load_config(os.fspath(source))


def _lasting(source: ConfigSource | None) -> ConfigSource | None:
    """:returns: what is still the same file when the process has gone to another directory."""
    if isinstance(source, (str, os.PathLike)):
        return os.path.abspath(source)
    return source
