"""What changes when a configuration does, and who wants to know (go-guerrilla: ``ev``)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from guerrilla_tw.config import Config, ServerConfig, did_you_mean


class Event(str, Enum):
    """
    The change events, under go-guerrilla's names.

    Those of the whole configuration come with the new :class:`.Config`, those of a server with its
    new :class:`.ServerConfig`; for one that is removed, with its old one.
    """

    NEW_CONFIG = "config_change:new_config"
    ALLOWED_HOSTS = "config_change:allowed_hosts"
    PID_FILE = "config_change:pid_file"
    LOG_FILE = "config_change:log_file"
    REOPEN_LOG_FILE = "config_change:reopen_log_file"
    LOG_LEVEL = "config_change:log_level"
    BACKEND_CONFIG = "config_change:backend_config"
    NEW_SERVER = "server_change:new_server"
    REMOVE_SERVER = "server_change:remove_server"
    UPDATE_SERVER = "server_change:update_config"
    START_SERVER = "server_change:start_server"
    STOP_SERVER = "server_change:stop_server"
    SERVER_LOG_FILE = "server_change:new_log_file"
    REOPEN_SERVER_LOG_FILE = "server_change:reopen_log_file"
    SERVER_TIMEOUT = "server_change:timeout"
    SERVER_MAX_CLIENTS = "server_change:max_clients"
    SERVER_TLS = "server_change:tls_config"


#: Servers whose certificates are others though their settings are the same, and
#: :attr:`Event.BACKEND_CONFIG` where the backend reads other files.
Renewed = Sequence[Event | ServerConfig]


class Change(NamedTuple):
    """
    Something that changed.

    :param event: what.
    :param config: how it is now.
    """

    event: Event
    config: Config | ServerConfig


_OF_THE_WHOLE = {
    Event.ALLOWED_HOSTS: "allowed_hosts",
    Event.PID_FILE: "pid_file",
    Event.LOG_FILE: "log_file",
    Event.LOG_LEVEL: "log_level",
    Event.BACKEND_CONFIG: "backend_config",
}
_OF_A_SERVER = {
    Event.SERVER_LOG_FILE: "log_file",
    Event.SERVER_TIMEOUT: "timeout",
    Event.SERVER_MAX_CLIENTS: "max_clients",
    Event.SERVER_TLS: "tls",
}


def compare(old: Config, new: Config, renewed: Collection[Event | ServerConfig]) -> list[Change]:
    """
    Compare two configurations.

    :param old: the one before.
    :param new: the one now.
    :param renewed: what has changed though its settings are the same: servers of ``new`` whose
        certificates are others, and :attr:`Event.BACKEND_CONFIG` where the backend reads other
        files.
    :returns: what changed, in the order of go-guerrilla's events; empty if nothing did.
    """
    of_the_whole = [
        Change(event, new)
        for event, name in _OF_THE_WHOLE.items()
        if event in renewed or getattr(old, name) != getattr(new, name)
    ]
    of_servers = list(_changes_of_servers(old, new, renewed))
    if old == new and not (of_the_whole or of_servers):
        return []
    return [Change(Event.NEW_CONFIG, new), *of_the_whole, *of_servers]


def _changes_of_servers(
    old: Config, new: Config, renewed: Collection[Event | ServerConfig]
) -> Iterator[Change]:
    before = {server.interface: server for server in old.servers}
    for server in new.servers:
        earlier = before.pop(server.interface, None)
        if earlier is None:
            yield Change(Event.NEW_SERVER, server)
        else:
            yield from _changes_of_server(earlier, server, server in renewed)
    for server in before.values():
        yield Change(Event.REMOVE_SERVER, server)


def _changes_of_server(
    old: ServerConfig, new: ServerConfig, has_new_certificate: bool
) -> Iterator[Change]:
    if old == new and not has_new_certificate:
        return
    yield Change(Event.UPDATE_SERVER, new)
    if old.is_enabled != new.is_enabled:
        # As in go-guerrilla, the rest is not told of one that is started or stopped.
        yield Change(Event.START_SERVER if new.is_enabled else Event.STOP_SERVER, new)
        return
    for event, name in _OF_A_SERVER.items():
        is_renewed = event is Event.SERVER_TLS and has_new_certificate
        if is_renewed or getattr(old, name) != getattr(new, name):
            yield Change(event, new)


def describe(old: Config, new: Config, renewed: Collection[Event | ServerConfig]) -> str:
    """
    Say what changed, for people, who know settings and not events.

    :param old: as for :func:`compare`, and so are the others.
    :returns: one line.
    """
    names = [
        name
        for name in Config.__struct_fields__
        if name != "servers" and getattr(old, name) != getattr(new, name)
    ]
    if Event.BACKEND_CONFIG in renewed and "backend_config" not in names:
        names.append("backend_config")
    before = {server.interface: server for server in old.servers}
    for server in new.servers:
        earlier = before.pop(server.interface, None)
        if earlier is None:
            names.append(f"new server {server.place}")
        elif changed := _changed_settings(earlier, server, server in renewed):
            names.append(f"server {server.place} ({', '.join(changed)})")
    names += [f"server {server.place} removed" for server in before.values()]
    return ", ".join(names) or "nothing has changed"


def _changed_settings(old: ServerConfig, new: ServerConfig, has_new_certificate: bool) -> list[str]:
    return [
        name
        for name in ServerConfig.__struct_fields__
        if getattr(old, name) != getattr(new, name) or (name == "tls" and has_new_certificate)
    ]


def reopenings(old: Config, new: Config) -> list[Change]:
    """
    Tell whose log files, still the same, are opened anew.

    :param old: the configuration before.
    :param new: the one now.
    """
    before = {server.interface: server for server in old.servers}
    happened = [Change(Event.REOPEN_LOG_FILE, new)] if old.log_file == new.log_file else []
    for server in new.servers:
        earlier = before.get(server.interface)
        # As in go-guerrilla, the rest is not told of one that is started or stopped.
        goes_on = server.is_enabled and earlier is not None and earlier.is_enabled
        if goes_on and earlier is not None and earlier.log_file == server.log_file:
            happened.append(Change(Event.REOPEN_SERVER_LOG_FILE, server))
    return happened


class EventBus:
    """
    Tells subscribers of changes.

    :param log: where failures of subscribers go.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._subscribers: dict[Event, list[Callable[..., object]]] = {}

    def subscribe(self, event: str, subscriber: Callable[..., object]) -> None:
        """
        Have a function called after each change of a kind.

        :param event: an :class:`Event`, or its name.
        :param subscriber: is given the :class:`.Config` or :class:`.ServerConfig` now in force.
            What it raises, or what a Deferred of its fails with, is logged.
        :raises ValueError: there is no such event.
        """
        self._subscribers.setdefault(_event(event), []).append(subscriber)

    def unsubscribe(self, event: str, subscriber: Callable[..., object]) -> None:
        """
        Undo one :meth:`subscribe`.

        :raises ValueError: there is no such event, or no such subscriber.
        """
        known = _event(event)
        subscribers = self._subscribers.get(known, [])
        if subscriber not in subscribers:
            raise ValueError(f"not subscribed to {known.value}")
        subscribers.remove(subscriber)

    def publish(self, change: Change) -> None:
        """Tell all who want to know, in the order in which they subscribed."""
        for subscriber in list(self._subscribers.get(change.event, ())):
            maybeDeferred(subscriber, change.config).addErrback(
                lambda failure: self._log.failure(
                    "a subscriber of {event} failed", failure, event=change.event.value
                )
            )


def _event(name: str) -> Event:
    try:
        return Event(name)
    except ValueError:
        guess = did_you_mean(str(name), [event.value for event in Event])
        raise ValueError(f"no such event: {name}{guess}") from None
