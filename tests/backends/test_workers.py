"""The thread pool, with real threads. Nothing sleeps: each side waits for the other's word."""

from __future__ import annotations

import threading
import weakref
from threading import Barrier, Event, Thread
from typing import Any
from unittest.mock import patch

from twisted.application.service import IService
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from guerrilla_tw.backends.workers import WorkerPool
from tests.backends.fakes import PATIENCE, FakeReactor


class Message:
    """Something that can be looked for when it is gone."""


class WorkerPoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()

    def start(self, size: int = 1) -> WorkerPool:
        pool = WorkerPool(self.reactor, size, "save_process")
        pool.startService()
        self.addCleanup(self.stop, pool)
        return pool

    def stop(self, pool: WorkerPool) -> None:
        if pool.running:
            pool.stopService()

    def hang(self, pool: WorkerPool) -> tuple[Deferred[bool], Event]:
        """:returns: the work of a thread that is stuck by now, and what releases it."""
        stuck, release = Event(), Event()

        def wait() -> bool:
            stuck.set()
            return release.wait(PATIENCE)

        work = pool.defer(wait)
        self.assertTrue(stuck.wait(PATIENCE))
        return work, release

    def assert_stops_at_once(self, pool: WorkerPool) -> None:
        # On a thread of its own, so that a pool that joins fails this test and hangs no other.
        stopping = Thread(target=pool.stopService, daemon=True)
        stopping.start()
        stopping.join(PATIENCE / 4)
        self.assertFalse(stopping.is_alive(), "stopService waits for a stuck thread")

    def test_interface(self) -> None:
        verifyObject(IService, WorkerPool(self.reactor, 1, "save_process"))

    def test_function_runs_in_a_thread_and_its_result_comes_back_here(self) -> None:
        work = self.start().defer(lambda *args: (threading.current_thread(), args), 1, "two")
        self.assertNoResult(work)
        self.reactor.run_one()
        thread, args = self.successResultOf(work)
        self.assertEqual(args, (1, "two"))
        self.assertIsNot(thread, threading.current_thread())
        self.assertIn("save_process", thread.name)
        self.assertTrue(thread.daemon, "a stuck thread would keep the process alive")

    def test_whatever_is_raised_comes_back(self) -> None:
        pool = self.start()
        for error in (ZeroDivisionError, SystemExit):

            def fail(error: type[BaseException] = error) -> None:
                raise error("from the thread")

            work = pool.defer(fail)
            self.reactor.run_one()
            failure = self.failureResultOf(work, error)
            self.assertIn("in fail", failure.getTraceback())

    def test_thread_goes_on_after_an_error(self) -> None:
        pool = self.start()
        failed = pool.defer(int, "no number")
        work = pool.defer(int, "7")
        self.reactor.run_until(failed, work)
        self.failureResultOf(failed, ValueError)
        self.assertEqual(self.successResultOf(work), 7)

    def test_deferred_of_a_thread_is_refused(self) -> None:
        work: Deferred[object] = self.start().defer(Deferred)
        self.reactor.run_one()
        failure = self.failureResultOf(work, TypeError)
        self.assertEqual(failure.getErrorMessage(), "a function for a worker returned a Deferred")

    def test_as_many_threads_as_it_has_size(self) -> None:
        pool = self.start(size=2)
        # Passes only when two threads are in it at once.
        barrier = Barrier(2)

        def meet() -> Thread:
            barrier.wait(PATIENCE)
            return threading.current_thread()

        works = [pool.defer(meet) for _ in range(6)]
        self.reactor.run_until(*works)
        self.assertEqual(len({self.successResultOf(work) for work in works}), 2)

    def test_system_that_gives_no_thread(self) -> None:
        """Whoever asked is told, and it is tried again for the next one."""
        pool = self.start()
        with patch.object(Thread, "start", side_effect=RuntimeError("can't start new thread")):
            self.assertRaises(RuntimeError, pool.defer, int, "7")
        work = pool.defer(int, "8")
        self.reactor.run_one()
        self.assertEqual(self.successResultOf(work), 8)
        self.assert_stops_at_once(pool)

    def test_system_that_gives_no_more_threads(self) -> None:
        """Those that are there do the work."""
        pool = self.start(size=2)
        hung, release = self.hang(pool)
        with patch.object(Thread, "start", side_effect=RuntimeError("can't start new thread")):
            work = pool.defer(int, "7")
        release.set()
        self.reactor.run_until(hung, work)
        self.assertEqual(self.successResultOf(work), 7)
        self.assertTrue(self.successResultOf(hung))
        self.assert_stops_at_once(pool)

    def test_reactor_is_woken_up_once_for_what_comes_meanwhile(self) -> None:
        pool = self.start()
        begun = Event()
        works: list[Deferred[Any]] = [pool.defer(int, "7"), pool.defer(int, "8")]
        works.append(pool.defer(begun.set))
        # The only thread has the third when it has put down the first two.
        self.assertTrue(begun.wait(PATIENCE))
        self.assertEqual(self.reactor.handed_back, 1)
        self.reactor.run_one()
        self.assertEqual([self.successResultOf(work) for work in works[:2]], [7, 8])
        self.reactor.run_until(*works)

    def test_nothing_is_kept_of_what_is_done(self) -> None:
        pool = self.start()
        message = Message()
        reference = weakref.ref(message)
        self.reactor.run_until(pool.defer(id, message))
        del message
        # The thread may be on its way back to where it waits.
        self.reactor.run_until(pool.defer(int))
        self.assertIsNone(reference())

    def test_threads_end_with_the_service(self) -> None:
        pool = self.start()
        work = pool.defer(threading.current_thread)
        self.reactor.run_one()
        pool.stopService()
        self.assertFalse(self.successResultOf(work).is_alive())
        self.assertFalse(pool.running)

    def test_can_be_stopped_without_having_worked(self) -> None:
        self.assert_stops_at_once(self.start())

    def test_stuck_thread_does_not_hold_up_the_stop(self) -> None:
        pool = self.start(size=2)
        work, release = self.hang(pool)
        self.assert_stops_at_once(pool)
        release.set()
        self.reactor.run_one()
        self.assertTrue(self.successResultOf(work))

    def test_stuck_thread_that_nobody_waits_for_does_not_hold_up_the_stop(self) -> None:
        pool = self.start()
        work, release = self.hang(pool)
        work.cancel()
        self.failureResultOf(work, CancelledError)
        self.assert_stops_at_once(pool)
        release.set()
        self.reactor.run_one()

    def test_threads_end_when_the_last_stuck_one_is_done(self) -> None:
        pool = self.start(size=2)
        idle = pool.defer(threading.current_thread)
        self.reactor.run_one()
        threads = [self.successResultOf(idle)]
        releases = []
        for _ in range(2):
            work, release = self.hang(pool)
            # Work that goes on there, as the next steps of a chain do.
            following = work.addCallback(lambda _: pool.defer(threading.current_thread))
            following.addCallback(lambda thread: threads.append(thread))
            releases.append(release)
        self.assert_stops_at_once(pool)
        for release in releases:
            self.assertTrue(any(thread.is_alive() for thread in threads))
            release.set()
            self.reactor.run_one()
            self.reactor.run_one()
        self.assertEqual(len(threads), 3)
        self.assertFalse(any(thread.is_alive() for thread in threads))

    def test_stopped_by_what_waits_for_the_last_work(self) -> None:
        """As a Gateway does, which shuts down when its work is done."""
        pool = self.start()
        threads: list[Thread] = []

        def end(thread: Thread) -> None:
            threads.append(thread)
            pool.stopService()

        pool.defer(threading.current_thread).addCallback(end)
        self.reactor.run_one()
        self.assertFalse(threads[0].is_alive())
