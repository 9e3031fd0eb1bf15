"""Signals of a daemon's process, sent to this one, which has handlers of its own meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.signals import Signals


class Queue:
    """Of a reactor: what was brought to its thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:
        self.calls.append((function, arguments))

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for function, arguments in calls:
            function(*arguments)


class SignalsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.queue = Queue()
        self.done: list[object] = []
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        actions = {signal.SIGHUP: lambda: self.done.append("action")}
        self.signals = Signals(self.queue, actions, self.done.append)

    def set_handler(self, number: int, name: str) -> None:
        signal.signal(number, lambda got, frame: self.done.append((name, got)))


class ActionTests(SignalsTestCase):
    def test_action_is_done_by_the_reactor(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.signals.catch()
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(self.done, [])
        self.queue.run()
        self.assertEqual(self.done, ["action"])

    def test_handler_that_was_there_goes_on(self) -> None:
        self.set_handler(signal.SIGHUP, "before")
        self.signals.catch()
        self.signals.catch()
        signal.raise_signal(signal.SIGHUP)
        self.queue.run()
        self.assertEqual(self.done, [("before", signal.SIGHUP), "action"])

    def test_restored(self) -> None:
        for before in (signal.SIG_IGN, signal.SIG_DFL, lambda *_: None):
            signal.signal(signal.SIGHUP, before)
            self.signals.catch()
            self.assertNotEqual(signal.getsignal(signal.SIGHUP), before)
            self.signals.restore()
            self.assertEqual(signal.getsignal(signal.SIGHUP), before)

    def test_nothing_in_another_thread(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for function in (self.signals.catch, self.signals.watch_endings, self.signals.restore):
            thread = Thread(target=function)
            thread.start()
            thread.join()
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual((self.done, self.queue.calls), ([], []))


class EndingTests(SignalsTestCase):
    def setUp(self) -> None:
        super().setUp()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.set_handler(number, "reactor")

    def test_first_is_the_reactors_and_the_second_ends(self) -> None:
        self.signals.watch_endings()
        signal.raise_signal(signal.SIGINT)
        self.assertEqual((self.done, self.queue.calls), ([("reactor", signal.SIGINT)], []))
        signal.raise_signal(signal.SIGTERM)
        self.queue.run()
        self.assertEqual(self.done[1:], [signal.SIGTERM])

    def test_third_is_the_kernels(self) -> None:
        self.signals.watch_endings()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)

    def test_ignored_one_stays_ignored(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.signals.watch_endings()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(self.done, [("reactor", signal.SIGTERM)])

    def test_restored_unless_it_ends(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        self.signals.watch_endings()
        self.signals.restore()
        self.assertEqual(signal.getsignal(signal.SIGTERM), before)
        self.signals.watch_endings()
        signal.raise_signal(signal.SIGTERM)
        self.signals.restore()
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)
