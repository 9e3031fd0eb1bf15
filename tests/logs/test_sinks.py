"""What somebody else's observer is given."""

from __future__ import annotations

from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, Logger, eventAsText
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.logs.sinks import Relay


class RelayTests(SynchronousTestCase):
    def given(self, form: str, failure: Failure | None = None, /, **values: Any) -> LogEvent:
        """:returns: the event that arrives."""
        events: list[LogEvent] = []
        relay = Relay(cast(ILogObserver, events.append))
        log = Logger("guerrilla_tw", observer=cast(Any, relay.take))
        if failure is None:
            log.info(form, **values)
        else:
            log.failure(form, failure, **values)
        (event,) = events
        return event

    def test_values_and_failures_are_there(self) -> None:
        failure = Failure(ValueError("bad"))
        event = self.given("{client}: it failed", failure, client="a")
        self.assertIs(event["log_failure"], failure)
        self.assertEqual(event["client"], "a")
        self.assertEqual(event["log_format"], "{client}: it failed")

    def test_text_that_could_break_a_line(self) -> None:
        event = self.given("{client} came", client="a\r\n\x1b[2J")
        self.assertEqual(event["client"], "a\r\n\x1b[2J")
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        self.assertEqual(text, r"a\r\n\x1b[2J came")

    def test_traceback_that_could_break_a_line(self) -> None:
        try:
            raise ValueError("said \x1b]0;x\x07\r2026 forged\nlast {word}")
        except ValueError:
            event = self.given("{client}: it failed", Failure(), client="\n")
        self.assertNotIn("log_failure", event)
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        first, *lines = text.split("\n")
        self.assertEqual(first, r"\n: it failed")
        self.assertTrue(all(line.startswith("\t") and line[1:].isprintable() for line in lines))
        self.assertEqual(
            lines[-3:],
            ["\tbuiltins.ValueError: said \\x1b]0;x\\x07", "\t2026 forged", "\tlast {word}"],
        )
