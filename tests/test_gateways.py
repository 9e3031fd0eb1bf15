"""One backend in the place of another."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import cast

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.gateway import WORK_TIMEOUT, Gateway, InitializationError, State
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.results import NOT_RUNNING
from guerrilla_tw.config import Config, ConfigError
from guerrilla_tw.gateways import Gateways
from guerrilla_tw.interfaces import IBackend, IResult, Task
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.server import Shared
from tests.backends.fakes import Events, FakeReactor, make_envelope
from tests.reload_support import Store
from tests.smtp.session import FakeBackend

END = "the backend that was replaced has finished its work"


def config(mark: str, **settings: object) -> Config:
    """:returns: a configuration whose chain is :class:`Store`."""
    return Config(backend_config={"save_process": "Store", "mark": mark, **settings})


class GatewaysTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.events = Events()
        self.store = Store()
        self.registry = Registry(BUILTIN)
        self.registry.add("Store", self.store.construct)
        self.made: list[Gateway] = []
        self.use(self.make())
        self.addCleanup(self.stop_threads)

    def use(self, backend: IBackend) -> None:
        """Have a backend where the daemon has one from its beginning."""
        self.shared = Shared(backend, AllowedHosts(()), BodyStorage(), self.reactor)
        self.gateways = Gateways(self.make, self.shared, self.reactor, self.events.logger())

    def make(self) -> Gateway:
        gateway = Gateway(self.registry, self.reactor, self.events.logger())
        self.made.append(gateway)
        return gateway

    def stop_threads(self) -> None:
        for gateway in self.made:
            gateway.shutdown()
        self.reactor.advance(WORK_TIMEOUT)

    def start(self, first: Config) -> None:
        """Start the backend that is there."""
        self.successResultOf(self.gateways.initialize(first))
        self.shared.backend.start()

    def replace(self, new: Config) -> None:
        """Put another one in its place."""
        self.gateways.replace_by(self.successResultOf(self.gateways.open(new)))

    def submit(self) -> Deferred[IResult]:
        """:returns: a Deferred of what becomes of a message."""
        return cast(
            "Deferred[IResult]", self.shared.backend.process(make_envelope(), Task.SAVE_MAIL)
        )


class MustChangeTests(GatewaysTestCase):
    def test_settings(self) -> None:
        self.start(config("1"))
        self.assertFalse(self.gateways.must_change(config("1"), config("1")))
        self.assertTrue(self.gateways.must_change(config("1"), config("2")))

    def test_files(self) -> None:
        file = Path(self.mktemp())
        file.write_text("*@example.com\n")
        same = config("1", validate_process="Wildcard", wildcard_file=str(file))
        opened = self.shared.backend.initialize(same.backend_config)
        # It is read in a thread.
        self.reactor.run_one()
        self.successResultOf(opened)
        self.assertFalse(self.gateways.must_change(same, same))
        file.write_text("*@example.org\n")
        self.assertTrue(self.gateways.must_change(same, same))
        file.unlink()
        self.assertTrue(self.gateways.must_change(same, same))

    def test_own_backend(self) -> None:
        self.use(FakeBackend())
        self.assertFalse(self.gateways.must_change(config("1"), config("1")))
        self.assertTrue(self.gateways.must_change(config("1"), config("2")))


class ReplaceTests(GatewaysTestCase):
    def test_own_backend(self) -> None:
        self.use(FakeBackend())
        error = self.failureResultOf(self.gateways.open(config("2")), ConfigError).value
        self.assertEqual(error.path, "backend_config")
        self.assertEqual(len(self.made), 1)

    def test_not_in_use_before_it_is_put_there(self) -> None:
        self.start(config("1"))
        new = self.successResultOf(self.gateways.open(config("2")))
        self.assertIs(new.state, State.INITIALIZED)
        self.submit()
        self.assertEqual(self.store.happened, ["open 1", "open 2", "take 1", "keep 1"])
        self.gateways.replace_by(new)
        self.assertIs(self.shared.backend, new)
        self.submit()
        self.assertEqual(self.store.happened[4:], ["close 1", "take 2", "keep 2"])

    def test_one_that_cannot_be_opened(self) -> None:
        self.start(config("1"))
        self.store.openings["2"] = fail(OSError("no such volume"))
        self.failureResultOf(self.gateways.open(config("2")), InitializationError)
        self.assertIs(self.shared.backend, self.made[0])
        self.assertIs(self.made[0].state, State.RUNNING)
        self.assertEqual(self.store.happened, ["open 1", "open 2", "close 2"])

    def test_work_ends_where_it_began(self) -> None:
        held = self.store.holdings["1"] = Deferred()
        self.start(config("1"))
        in_work, waiting = self.submit(), self.submit()
        self.replace(config("2"))
        self.assertNotIn(END, self.events.texts())
        held.callback(None)
        for reply in (in_work, waiting):
            self.assertEqual(self.successResultOf(reply).code, 250)
        self.assertEqual(self.store.happened[-2:], ["keep 1", "close 1"])
        self.assertEqual(self.events.texts().count(END), 1)

    def test_work_that_hangs(self) -> None:
        """Its client is answered before it is given up."""
        self.store.holdings["1"] = Deferred()
        self.start(config("1", gw_save_timeout="40s", gw_val_rcpt_timeout="1s"))
        replies = [self.submit(), self.submit()]
        self.replace(config("2"))
        self.reactor.advance(40)
        for reply in replies:
            self.assertEqual(self.successResultOf(reply).code, 451)
        self.reactor.advance(WORK_TIMEOUT - 0.1)
        self.assertNotIn("close 1", self.store.happened)
        self.reactor.advance(0.1)
        self.assertIn("close 1", self.store.happened)
        self.assertIn(END, self.events.texts())

    def test_nothing_is_kept_of_one_that_has_ended(self) -> None:
        self.start(config("1"))
        ends: list[Deferred[None]] = [Deferred()]
        self.patch(self.made[0], "retire", lambda: ends[0])
        self.replace(config("2"))
        kept = weakref.ref(ends[0])
        ends.pop().callback(None)
        gc.collect()
        self.assertIsNone(kept())

    def test_old_one_that_fails(self) -> None:
        """It is logged, and the end does not wait for it."""
        self.start(config("1"))
        self.patch(self.made[0], "retire", lambda: fail(ValueError("broken")))
        self.replace(config("2"))
        self.assertEqual([str(failure.value) for failure in self.events.failures()], ["broken"])
        self.successResultOf(self.gateways.shut_down())


class EndTests(GatewaysTestCase):
    def test_all_are_closed(self) -> None:
        self.start(config("1"))
        self.replace(config("2"))
        self.successResultOf(self.gateways.shut_down())
        self.assertEqual(self.store.happened, ["open 1", "open 2", "close 1", "close 2"])
        self.assertIs(self.shared.backend.process(make_envelope(), Task.SAVE_MAIL), NOT_RUNNING)

    def test_old_ones_have_as_long_as_the_last(self) -> None:
        held = {mark: self.store.holdings.setdefault(mark, Deferred()) for mark in "123"}
        self.start(config("1", gw_save_timeout="1h"))
        self.submit()
        for mark in ("2", "3"):
            self.replace(config(mark, gw_save_timeout="1h"))
            self.submit()
        done = self.gateways.shut_down()
        held["2"].callback(None)
        self.reactor.advance(WORK_TIMEOUT - 0.1)
        self.assertNoResult(done)
        self.reactor.advance(0.1)
        self.successResultOf(done)
        closed = [line for line in self.store.happened if line.startswith("close")]
        self.assertEqual(sorted(closed), ["close 1", "close 2", "close 3"])
        self.assertEqual(self.events.texts().count(END), 2)

    def test_own_backend_that_fails(self) -> None:
        """It is logged, and the end goes on."""
        backend = FakeBackend()
        self.patch(backend, "shutdown", lambda: fail(ValueError("broken")))
        self.use(backend)
        self.successResultOf(self.gateways.initialize(config("1")))
        self.successResultOf(self.gateways.shut_down())
        self.assertEqual([str(failure.value) for failure in self.events.failures()], ["broken"])

    def test_old_one_that_ends_in_time(self) -> None:
        held = self.store.holdings["1"] = Deferred()
        self.start(config("1"))
        self.submit()
        self.replace(config("2"))
        done = self.gateways.shut_down()
        self.assertNoResult(done)
        held.callback(None)
        self.successResultOf(done)
