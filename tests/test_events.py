"""What changes when a configuration does, and who is told."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent, Logger
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import Config, Duration, ServerConfig, TLSConfig
from guerrilla_tw.events import Change, Event, EventBus, compare, describe, reopenings
from tests.integration.daemon_process import free_port
from tests.reload_support import ReloadTestCase, config, new_interface, server

FIRST = ServerConfig(is_enabled=True, listen_interface="127.0.0.1:1", host_name="one.example")
SECOND = ServerConfig(is_enabled=False, listen_interface="127.0.0.1:2", host_name="two.example")
TLS = TLSConfig(start_tls_on=True, private_key_file="key", public_key_file="certificate")
BASE = Config(
    allowed_hosts=("one.example",), backend_config={"save_process": "A"}, servers=(FIRST, SECOND)
)
NEW = "config_change:new_config"


def changed(struct: Any, **changes: Any) -> Any:
    """:returns: a copy with other settings."""
    return msgspec.structs.replace(struct, **changes)


def with_first(**changes: Any) -> Config:
    """:returns: a configuration whose first server is another."""
    return Config(
        allowed_hosts=BASE.allowed_hosts,
        backend_config=BASE.backend_config,
        servers=(changed(FIRST, **changes), SECOND),
    )


def shown(change: Change) -> str:
    """:returns: the event, and whose it is."""
    if isinstance(change.config, ServerConfig):
        return f"{change.event.value} {change.config.listen_interface}"
    return change.event.value


def told(
    old: Config, new: Config, renewed: Collection[Event | ServerConfig] = ()
) -> tuple[str, ...]:
    """:returns: the changes, in words."""
    return tuple(map(shown, compare(old, new, renewed)))


class CompareTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        self.assertEqual(told(BASE, BASE), ())
        self.assertEqual(told(BASE, with_first()), ())

    def test_of_the_whole(self) -> None:
        for setting, value, event in (
            ("allowed_hosts", ("two.example",), "allowed_hosts"),
            ("pid_file", "pid", "pid_file"),
            ("log_file", "log", "log_file"),
            ("log_level", "debug", "log_level"),
            ("backend_config", {"save_process": "B"}, "backend_config"),
        ):
            new = changed(BASE, **{setting: value})
            self.assertEqual(told(BASE, new), (NEW, f"config_change:{event}"))
            self.assertIs(compare(BASE, new, ())[1].config, new)

    def test_what_has_no_event_of_its_own(self) -> None:
        """It is told as a new configuration all the same."""
        for setting, value in (
            ("log_format", "json"),
            ("shutdown_timeout", 1.0),
            ("spill_size", 1),
            ("spill_dir", "/tmp"),
            ("max_inflight_bytes", 1),
        ):
            self.assertEqual(told(BASE, changed(BASE, **{setting: value})), (NEW,))

    def test_of_a_server(self) -> None:
        updated = "server_change:update_config 127.0.0.1:1"
        for setting, value, event in (
            ("log_file", "log", "new_log_file"),
            ("timeout", 7, "timeout"),
            ("max_clients", 7, "max_clients"),
            ("tls", TLS, "tls_config"),
        ):
            new = with_first(**{setting: value})
            expected = (NEW, updated, f"server_change:{event} 127.0.0.1:1")
            self.assertEqual(told(BASE, new), expected)
            self.assertIs(compare(BASE, new, ())[2].config, new.servers[0])
        self.assertEqual(told(BASE, with_first(max_size=7)), (NEW, updated))

    def test_several_of_a_server(self) -> None:
        self.assertEqual(
            told(BASE, with_first(timeout=7, max_clients=7, tls=TLS, log_file="log")),
            (
                NEW,
                *(
                    f"server_change:{event} 127.0.0.1:1"
                    for event in (
                        "update_config",
                        "new_log_file",
                        "timeout",
                        "max_clients",
                        "tls_config",
                    )
                ),
            ),
        )

    def test_started_or_stopped(self) -> None:
        """The rest of it is not told, as in go-guerrilla."""
        new = changed(
            BASE,
            servers=(
                changed(FIRST, is_enabled=False, timeout=7),
                changed(SECOND, is_enabled=True, max_clients=7),
            ),
        )
        self.assertEqual(
            told(BASE, new),
            (
                NEW,
                "server_change:update_config 127.0.0.1:1",
                "server_change:stop_server 127.0.0.1:1",
                "server_change:update_config 127.0.0.1:2",
                "server_change:start_server 127.0.0.1:2",
            ),
        )

    def test_added_and_removed(self) -> None:
        """A server is known by where it listens, so that one that moves is both."""
        moved = changed(FIRST, listen_interface="127.0.0.1:3")
        new = changed(BASE, servers=(SECOND, moved))
        self.assertEqual(
            told(BASE, new),
            (
                NEW,
                "server_change:new_server 127.0.0.1:3",
                "server_change:remove_server 127.0.0.1:1",
            ),
        )
        self.assertIs(compare(BASE, new, ())[1].config, moved)
        self.assertIs(compare(BASE, new, ())[2].config, FIRST)

    def test_another_order(self) -> None:
        self.assertEqual(told(BASE, changed(BASE, servers=(SECOND, FIRST))), (NEW,))

    def test_renewed(self) -> None:
        """Files have changed, and no setting."""
        self.assertEqual(
            told(BASE, BASE, [Event.BACKEND_CONFIG]), (NEW, "config_change:backend_config")
        )
        self.assertEqual(
            told(BASE, BASE, [FIRST]),
            (
                NEW,
                "server_change:update_config 127.0.0.1:1",
                "server_change:tls_config 127.0.0.1:1",
            ),
        )

    def test_reopenings(self) -> None:
        first = "server_change:reopen_log_file 127.0.0.1:1"
        whole = "config_change:reopen_log_file"
        other = changed(FIRST, listen_interface="127.0.0.1:3")
        for new, expected in (
            (BASE, (whole, first)),
            (changed(BASE, log_file="log"), (first,)),
            (with_first(log_file="log"), (whole,)),
            (changed(BASE, servers=(SECOND, other)), (whole,)),
            # As in go-guerrilla, the rest is not told of one that is started.
            (changed(BASE, servers=(FIRST, changed(SECOND, is_enabled=True))), (whole, first)),
        ):
            self.assertEqual(tuple(map(shown, reopenings(BASE, new))), expected)
        new = with_first(timeout=7)
        self.assertEqual([change.config for change in reopenings(BASE, new)], [new, new.servers[0]])

    def test_seventeen(self) -> None:
        self.assertEqual(len(Event), 17)


_servers = st.builds(
    ServerConfig,
    is_enabled=st.booleans(),
    listen_interface=st.sampled_from([f"127.0.0.1:{port}" for port in range(1, 5)]),
    host_name=st.just("mx.example"),
    timeout=st.sampled_from([1, 2]),
    max_clients=st.sampled_from([1, 2]),
    max_size=st.sampled_from([1, 2]),
    log_file=st.sampled_from(["", "log"]),
    tls=st.sampled_from([TLSConfig(), TLS]),
)
_configs = st.builds(
    Config,
    allowed_hosts=st.sampled_from([("one.example",), ("two.example",)]),
    log_level=st.sampled_from(["info", "debug"]),
    log_file=st.sampled_from(["log", "other"]),
    spill_size=st.sampled_from([1, 2]),
    backend_config=st.sampled_from([{"save_process": "A"}, {"save_process": "B"}]),
    servers=st.lists(_servers, max_size=4, unique_by=lambda server: server.interface).map(
        lambda servers: (
            ServerConfig(is_enabled=True, listen_interface="127.0.0.1:9", host_name="mx.example"),
            *servers,
        )
    ),
)
_FURTHER = {
    Event.SERVER_LOG_FILE: "log_file",
    Event.SERVER_TIMEOUT: "timeout",
    Event.SERVER_MAX_CLIENTS: "max_clients",
    Event.SERVER_TLS: "tls",
}


class AnyCompareTests(SynchronousTestCase):
    @given(_configs)
    def test_equal(self, config: Config) -> None:
        """It need not be the same object."""
        servers = tuple(map(copy.deepcopy, config.servers))
        again = changed(config, servers=servers, backend_config={**config.backend_config})
        self.assertEqual(told(config, again), ())

    @given(_configs, _configs)
    def test_any_two(self, old: Config, new: Config) -> None:
        changes = compare(old, new, ())
        self.assertEqual(len(set(map(shown, changes))), len(changes))
        self.assertEqual(
            [change.event for change in changes[:1]], [Event.NEW_CONFIG] * (old != new)
        )
        before = {server.interface: server for server in old.servers}
        after = {server.interface: server for server in new.servers}
        of_servers: dict[object, set[Event]] = {}
        for event, subject in changes:
            if isinstance(subject, ServerConfig):
                of_servers.setdefault(subject.interface, set()).add(event)
                known = before if event is Event.REMOVE_SERVER else after
                self.assertIs(subject, known[subject.interface])
            else:
                self.assertIs(subject, new)
        for interface in before | after:
            self.assertEqual(
                of_servers.get(interface, set()),
                self.expected(before.get(interface), after.get(interface)),
            )

    def expected(self, old: ServerConfig | None, new: ServerConfig | None) -> set[Event]:
        """:returns: what has to be told of a server."""
        if old is None:
            return {Event.NEW_SERVER}
        if new is None:
            return {Event.REMOVE_SERVER}
        if old == new:
            return set()
        if old.is_enabled != new.is_enabled:
            switched = Event.START_SERVER if new.is_enabled else Event.STOP_SERVER
            return {Event.UPDATE_SERVER, switched}
        further = {
            event for event, name in _FURTHER.items() if getattr(old, name) != getattr(new, name)
        }
        return {Event.UPDATE_SERVER, *further}


class EventBusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.logged: list[LogEvent] = []
        # A function is an observer, though mypy-zope does not know it.
        observer: Any = self.logged.append
        self.bus = EventBus(Logger("test", observer=observer))
        self.told: list[object] = []

    def publish(self) -> None:
        self.bus.publish(Change(Event.LOG_LEVEL, BASE))

    def test_by_name_and_by_event(self) -> None:
        self.bus.subscribe("config_change:log_level", self.told.append)
        self.bus.subscribe(Event.LOG_LEVEL, self.told.append)
        self.bus.subscribe(Event.LOG_FILE, self.told.append)
        self.publish()
        self.assertEqual(self.told, [BASE, BASE])

    def test_in_order(self) -> None:
        for name in ("first", "second"):
            self.bus.subscribe(Event.LOG_LEVEL, lambda _, name=name: self.told.append(name))
        self.publish()
        self.assertEqual(self.told, ["first", "second"])

    def test_unsubscribe(self) -> None:
        """Once for each time."""
        for _ in range(2):
            self.bus.subscribe(Event.LOG_LEVEL, self.told.append)
        self.bus.unsubscribe("config_change:log_level", self.told.append)
        self.publish()
        self.assertEqual(self.told, [BASE])
        self.bus.unsubscribe(Event.LOG_LEVEL, self.told.append)
        self.publish()
        self.assertEqual(self.told, [BASE])
        for event in (Event.LOG_LEVEL, Event.LOG_FILE):
            with self.assertRaises(ValueError) as caught:
                self.bus.unsubscribe(event, self.told.append)
            self.assertEqual(str(caught.exception), f"not subscribed to {event.value}")

    def test_unknown(self) -> None:
        for act in (self.bus.subscribe, self.bus.unsubscribe):
            with self.assertRaises(ValueError) as caught:
                act("config_change:log_levl", self.told.append)
            self.assertEqual(
                str(caught.exception),
                "no such event: config_change:log_levl (did you mean config_change:log_level?)",
            )

    def test_failures_harm_nobody(self) -> None:
        def fail_at_once(_: object) -> None:
            raise ValueError("at once")

        async def fail_in_a_coroutine(_: object) -> None:
            raise ValueError("in a coroutine")

        later: Deferred[None] = Deferred()
        failing = (
            fail_at_once,
            fail_in_a_coroutine,
            lambda _: fail(ValueError("in a Deferred")),
            lambda _: later,
        )
        for subscriber in failing:
            self.bus.subscribe(Event.LOG_LEVEL, subscriber)
        self.bus.subscribe(Event.LOG_LEVEL, self.told.append)
        self.publish()
        self.assertEqual(self.told, [BASE])
        later.errback(ValueError("later"))
        self.assertEqual(
            [str(event["log_failure"].value) for event in self.logged],
            ["at once", "in a coroutine", "in a Deferred", "later"],
        )
        self.assertEqual({event["event"] for event in self.logged}, {"config_change:log_level"})

    def test_subscriber_that_ends_it_for_itself(self) -> None:
        def once(config: object) -> None:
            self.bus.unsubscribe(Event.LOG_LEVEL, once)
            self.told.append(config)

        self.bus.subscribe(Event.LOG_LEVEL, once)
        self.bus.subscribe(Event.LOG_LEVEL, self.told.append)
        self.publish()
        self.publish()
        self.assertEqual(len(self.told), 3)


class DaemonTests(ReloadTestCase):
    """What subscribers of a daemon are told."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[tuple[str, object]] = []

    def subscribe(self) -> None:
        """To everything."""
        for event in Event:
            self.daemon.subscribe(
                event.value, lambda config, name=event.value: self.told.append((name, config))
            )

    async def test_each_but_that_of_certificates(self) -> None:
        switched, comes = server(new_interface()), server(new_interface())
        stopped = {**switched, "is_enabled": False}
        await self.start(server(), switched)
        self.subscribe()
        other = server(timeout=7, max_clients=7, log_file="off")
        reopened = "config_change:reopen_log_file"
        reopened_server = "server_change:reopen_log_file"
        updated = "server_change:update_config"
        steps: list[tuple[list[dict[str, Any]], dict[str, Any], list[str]]] = [
            ([server(), switched], {}, [reopened, reopened_server, reopened_server]),
            (
                [server(), switched],
                {"allowed_hosts": ["x.example"], "pid_file": self.mktemp()},
                [
                    NEW,
                    "config_change:allowed_hosts",
                    "config_change:pid_file",
                    reopened,
                    reopened_server,
                    reopened_server,
                ],
            ),
            (
                [server(), switched],
                {"log_file": "off", "log_level": "debug", "backend": {"mark": "2"}},
                [
                    NEW,
                    "config_change:allowed_hosts",
                    "config_change:pid_file",
                    "config_change:log_file",
                    "config_change:log_level",
                    "config_change:backend_config",
                    reopened_server,
                    reopened_server,
                ],
            ),
            (
                [other, stopped],
                {},
                [
                    NEW,
                    "config_change:log_file",
                    "config_change:log_level",
                    "config_change:backend_config",
                    updated,
                    "server_change:new_log_file",
                    "server_change:timeout",
                    "server_change:max_clients",
                    updated,
                    "server_change:stop_server",
                ],
            ),
            (
                [other, switched, comes],
                {},
                [
                    NEW,
                    updated,
                    "server_change:start_server",
                    "server_change:new_server",
                    reopened,
                    reopened_server,
                ],
            ),
            (
                [other, switched],
                {},
                [
                    NEW,
                    "server_change:remove_server",
                    reopened,
                    reopened_server,
                    reopened_server,
                ],
            ),
        ]
        for servers, settings, expected in steps:
            self.told.clear()
            await self.reload(*servers, **settings)
            self.assertEqual([name for name, _ in self.told], expected)
            for name, subject in self.told:
                if name.startswith("config"):
                    self.assertIs(subject, self.daemon.config)
                elif name != "server_change:remove_server":
                    self.assertIn(subject, self.daemon.config.servers)

    async def test_reopened_logs(self) -> None:
        await self.start(server(), server(new_interface(), is_enabled=False))
        self.subscribe()
        self.daemon.reopen_logs()
        self.assertEqual(
            self.told,
            [
                ("config_change:reopen_log_file", self.daemon.config),
                ("server_change:reopen_log_file", self.daemon.config.servers[0]),
            ],
        )

    async def test_refused(self) -> None:
        await self.start()
        self.subscribe()
        await self.refuse(allowed_hosts=["x.example"], pid_file="no/such/directory/pid")
        self.assertEqual(self.told, [])

    async def test_all_is_in_force_when_it_is_told(self) -> None:
        port = free_port()
        await self.start()
        self.daemon.subscribe(
            "server_change:new_server", lambda _: self.told.append(("", self.daemon.addresses[1]))
        )
        await self.reload(server(), server(f"127.0.0.1:{port}"))
        address: Any = self.told[0][1]
        self.assertEqual(address.port, port)

    async def test_subscriber_that_reloads(self) -> None:
        """It comes after the one that is under way."""
        await self.start(allowed_hosts=["1.example"])
        done: list[Deferred[None]] = []

        def reload(_: object) -> Deferred[None]:
            self.daemon.unsubscribe("config_change:allowed_hosts", reload)
            done.append(self.daemon.reload(config(allowed_hosts=["3.example"])))
            self.assertEqual(self.daemon.config.allowed_hosts, ("2.example",))
            return done[0]

        self.daemon.subscribe("config_change:allowed_hosts", reload)
        await self.reload(allowed_hosts=["2.example"])
        await done[0]
        self.assertEqual(self.daemon.config.allowed_hosts, ("3.example",))

    async def test_subscriber_that_stops_the_daemon(self) -> None:
        await self.start()
        stopped: list[Deferred[None]] = []
        self.daemon.subscribe(NEW, lambda _: stopped.append(self.daemon.stopService()))
        await self.reload(allowed_hosts=["2.example"])
        await stopped[0]
        self.assertEqual(self.daemon.addresses, [])

    async def test_subscriber_that_fails(self) -> None:
        await self.start()

        def raise_error(_: object) -> None:
            raise ValueError("mine")

        self.daemon.subscribe(NEW, raise_error)
        await self.reload(allowed_hosts=["2.example"])
        self.assertIn("a subscriber of config_change:new_config failed", self.lines())
        self.assertEqual((await self.send("goes on"))[:9], "550 5.7.1")


class DescribeTests(SynchronousTestCase):
    """What the log says of a reload."""

    def test_nothing(self) -> None:
        self.assertEqual(describe(BASE, BASE, []), "nothing has changed")

    def test_settings_without_an_event_of_their_own(self) -> None:
        new = changed(BASE, log_format="json", shutdown_timeout=Duration(7))
        self.assertEqual(describe(BASE, new, []), "log_format, shutdown_timeout")

    def test_files(self) -> None:
        self.assertEqual(
            describe(BASE, BASE, [FIRST, Event.BACKEND_CONFIG]),
            "backend_config, server 127.0.0.1:1 (tls)",
        )

    def test_servers(self) -> None:
        third = changed(FIRST, listen_interface="127.0.0.1:3")
        first = changed(FIRST, timeout=7, max_size=1000)
        new = changed(BASE, servers=(first, third))
        self.assertEqual(
            describe(BASE, new, []),
            "server 127.0.0.1:1 (max_size, timeout), new server 127.0.0.1:3, "
            "server 127.0.0.1:2 removed",
        )
