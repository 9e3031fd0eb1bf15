"""What one process hands to another, to be logged there."""

from __future__ import annotations

import sys
from typing import Any

from twisted.logger import LogEvent, Logger, LogLevel, eventAsText, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.logs import Logs
from guerrilla_tw.logs.elsewhere import HandOver, Places, pack, unpack


class HandOverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        handed: Any = HandOver(lambda written: self.events.append(unpack(written)))
        self.log = Logger("some.where", observer=handed)

    def test_line(self) -> None:
        self.log.warn("{count} of {name!r}", count=3, name="x\n", names=["a", "b"], other={1})
        (event,) = self.events
        self.assertEqual(formatEvent(event), "3 of 'x\\n'")
        self.assertEqual(
            (event["log_level"], event["log_namespace"]), (LogLevel.warn, "some.where")
        )
        self.assertEqual((event["count"], event["names"], event["other"]), (3, ["a", "b"], "{1}"))
        self.assertIsInstance(event["log_time"], float)

    def test_traceback(self) -> None:
        try:
            raise ValueError("broken")
        except ValueError:
            self.log.failure("it failed", Failure())
        (event,) = self.events
        text = eventAsText(event)
        self.assertIn("it failed\n", text)
        self.assertIn("ValueError: broken", text)

    def test_bounded(self) -> None:
        """A message between the processes has a largest size."""
        for values in ({"one": "x" * 100_000}, {f"n{n}": "\u20ac" * 100 for n in range(1000)}):
            written = pack({"log_format": "{log_text}", "log_text": "\u20ac" * 50_000, **values})
            self.assertLess(len(written), 65_000)
            event = unpack(written)
            self.assertEqual(formatEvent(event), "\u20ac" * 5_000)
            self.assertEqual(event["log_level"], LogLevel.info)

    def test_lone_surrogate(self) -> None:
        self.log.info("{text}", text="\udc80")
        self.assertEqual(formatEvent(self.events[0]), "\\udc80")


class PlacesTests(SynchronousTestCase):
    def test_streams(self) -> None:
        stderr = sys.__stderr__
        assert stderr is not None
        logs = Logs(streams={"stderr": stderr, "stdout": "/var/log/x"})
        places = logs.places
        self.assertEqual(places.streams, {"stderr": "", "stdout": "/var/log/x"})
        self.assertEqual(logs.streams, {"stderr": stderr})
        self.assertEqual(places.open_streams(), {"stderr": sys.stderr, "stdout": "/var/log/x"})

    def test_observer(self) -> None:
        """All goes to it, whatever ``log_file`` says."""
        events: list[LogEvent] = []
        observer: Any = events.append
        logs = Logs.for_observer(observer)
        self.assertTrue(logs.places.are_none)
        logs.take_over({"log_format": "hello", "log_level": LogLevel.info})
        self.assertEqual([formatEvent(event) for event in events], ["hello"])

    def test_another_directory(self) -> None:
        directory = self.mktemp()
        self.assertEqual(Logs(directory=directory).places, Places(directory, {}))
