"""One worker after the other, on a clock of the test's own."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.processes.control import Refusal
from guerrilla_tw.processes.keeper import Keeper


class FakeProcess:
    """A process that ends when the test says so."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stops: list[float] = []
        self.is_killed = False
        self._ended: list[Deferred[str]] = []
        self.cause = ""

    async def commit(self) -> None:
        """It serves."""

    def end(self) -> Deferred[str]:
        """As of the real one."""
        self._ended.append(Deferred())
        return self._ended[-1]

    def stop(self, timeout: float) -> None:
        """As of the real one."""
        self.stops.append(timeout)

    def kill(self) -> None:
        """As of the real one."""
        self.is_killed = True
        self.finish("killed by SIGKILL")

    def finish(self, cause: str) -> None:
        """It has ended."""
        for ended in self._ended:
            ended.callback(cause)


class KeeperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        self.processes: list[FakeProcess] = []
        self.refusal: Exception | None = None
        self.spawn_error: OSError | None = None
        self.forgotten: list[int] = []
        observer: Any = self.note
        log = Logger("test", observer=observer)
        spawn: Any = self.spawn
        self.keeper = Keeper(1, spawn, self.prepare, self.forgotten.append, self.clock, log)

    def note(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))

    def spawn(self, number: int) -> FakeProcess:
        if self.spawn_error is not None:
            raise self.spawn_error
        self.processes.append(FakeProcess(100 + len(self.processes)))
        return self.processes[-1]

    async def prepare(self, process: Any) -> None:
        if self.refusal is not None:
            raise self.refusal

    def serve(self) -> FakeProcess:
        """Have it serve. :returns: the process."""
        self.keeper.start()
        self.successResultOf(Deferred.fromCoroutine(self.keeper.serve()))
        return self.processes[-1]

    def delays(self) -> list[str]:
        """:returns: those that were told."""
        return [line.rpartition(" in ")[2] for line in self.lines if "started again" in line]

    def test_longer_and_longer(self) -> None:
        process = self.serve()
        for delay in (1, 2, 4, 8, 16, 30, 30):
            process.finish("status 1")
            self.assertEqual(self.delays()[-1], f"{delay} s")
            count = len(self.processes)
            self.clock.advance(delay - 0.5)
            self.assertEqual(len(self.processes), count)
            self.clock.advance(0.5)
            self.assertEqual(len(self.processes), count + 1)
            process = self.processes[-1]

    def test_one_that_served_for_long(self) -> None:
        self.serve().finish("status 1")
        self.clock.advance(1)
        self.processes[-1].finish("status 1")
        self.clock.advance(2)
        self.clock.advance(60)
        self.processes[-1].finish("status 1")
        self.assertEqual(self.delays(), ["1 s", "2 s", "1 s"])

    def test_what_is_told(self) -> None:
        self.serve().finish("killed by SIGSEGV")
        self.assertEqual(
            self.lines,
            [
                "worker 1 serves, process 100",
                "worker 1, process 100, has ended: killed by SIGSEGV",
                "worker 1 is started again in 1 s",
            ],
        )
        self.assertEqual(self.forgotten, [1])

    def test_one_that_cannot_start(self) -> None:
        """It has time to close what it has opened."""
        self.serve().finish("status 1")
        self.refusal = Refusal("Sql: no such database")
        self.clock.advance(1)
        self.assertIn("worker 1 cannot start: Sql: no such database", self.lines)
        process = self.processes[-1]
        self.assertEqual((process.stops, self.delays()), ([0], ["1 s"]))
        process.finish("status 0")
        self.assertEqual(self.delays(), ["1 s", "2 s"])
        self.refusal = None
        self.clock.advance(2)
        self.assertTrue(self.keeper.is_serving)

    def test_one_that_neither_starts_nor_ends(self) -> None:
        self.serve().finish("status 1")
        self.refusal = Refusal("no")
        self.clock.advance(1)
        self.clock.advance(10)
        self.assertTrue(self.processes[-1].is_killed)
        self.assertEqual(self.delays(), ["1 s", "2 s"])

    def test_no_more_processes(self) -> None:
        self.serve().finish("status 1")
        self.spawn_error = OSError(11, "Resource temporarily unavailable")
        self.clock.advance(1)
        self.assertRegex(self.lines[-2], "no process for worker 1: .*temporarily unavailable")
        self.spawn_error = None
        self.clock.advance(2)
        self.assertTrue(self.keeper.is_serving)

    def test_end(self) -> None:
        process = self.serve()
        ended = self.keeper.end(5, 20)
        self.assertEqual(process.stops, [5])
        self.assertNoResult(ended)
        process.finish("status 0")
        self.successResultOf(ended)
        self.clock.advance(100)
        self.assertEqual((len(self.processes), self.clock.getDelayedCalls()), (1, []))
        self.assertEqual(self.lines, ["worker 1 serves, process 100"])

    def test_end_that_does_not_come(self) -> None:
        process = self.serve()
        ended = self.keeper.end(5, 20)
        self.clock.advance(20)
        self.assertTrue(process.is_killed)
        self.successResultOf(ended)
        self.assertIn("worker 1, process 100, did not end in time and is killed", self.lines)

    def test_end_while_another_is_awaited(self) -> None:
        self.serve().finish("status 1")
        self.successResultOf(self.keeper.end(5, 20))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_killed(self) -> None:
        process = self.serve()
        self.keeper.kill()
        self.assertTrue(process.is_killed)
        self.keeper.kill()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_change_while_another_is_awaited(self) -> None:
        self.serve().finish("status 1")
        self.keeper.hold()
        self.clock.advance(100)
        self.assertEqual(len(self.processes), 1)
        self.keeper.release()
        self.clock.advance(2)
        self.assertEqual(len(self.processes), 2)

    def test_change_while_another_begins(self) -> None:
        self.serve().finish("status 1")
        self.refusal = Refusal("no")
        self.clock.advance(1)
        self.keeper.hold()
        self.assertTrue(self.processes[-1].is_killed)
        self.assertEqual(self.delays(), ["1 s"])
        self.keeper.release()
        self.assertEqual(self.delays(), ["1 s", "2 s"])

    def test_change_leaves_one_that_serves(self) -> None:
        process = self.serve()
        self.keeper.hold()
        self.keeper.release()
        self.assertFalse(process.is_killed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ended_before_it_serves(self) -> None:
        """In the time that the others took to be ready."""
        self.keeper.start()
        self.processes[0].finish("status 1")
        self.successResultOf(Deferred.fromCoroutine(self.keeper.serve()))
        self.clock.advance(1)
        self.assertTrue(self.keeper.is_serving)
