"""Where an event ends: in a file, with another observer, or nowhere."""

from __future__ import annotations

from typing import Final, Protocol

from twisted.logger import ILogObserver, LogEvent, LogPublisher

from guerrilla_tw.logs.files import LogFile
from guerrilla_tw.logs.lines import Render, escape, indented, message_of, traceback_of


class Sink(Protocol):
    """Where an event ends."""

    def take(self, event: LogEvent) -> bool:
        """:returns: False if this sink is no more; the event is for the one in its place."""


class FileSink:
    """
    Lines in a file.

    :param render: an event to its text.
    :param file: where it goes. Its end is somebody else's.
    """

    def __init__(self, render: Render, file: LogFile) -> None:
        self._render = render
        self.file = file

    def take(self, event: LogEvent) -> bool:
        """See :class:`Sink`."""
        return self.file.write(self._render(event))


class Relay:
    """
    Events for somebody else's observer, in its own form; only what could break a line is escaped.

    A traceback with something of that kind becomes part of the text, and is no failure any more.

    :param observer: if it fails, nobody who logs has to do with it.
    """

    def __init__(self, observer: ILogObserver) -> None:
        self._observer = LogPublisher(observer)

    def take(self, event: LogEvent) -> bool:
        """See :class:`Sink`."""
        text = message_of(event)
        traceback = traceback_of(event) if "log_failure" in event else ""
        is_clean = traceback.replace("\n", "").isprintable()
        if not (is_clean and text.isprintable()):
            event = {**event, "log_format": "{log_text}", "log_text": escape(text)}
        if not is_clean:
            event["log_text"] += f"\n{indented(traceback)}"
            del event["log_failure"]
        self._observer(event)
        return True


class Nowhere:
    """No line at all."""

    def take(self, event: LogEvent) -> bool:
        """See :class:`Sink`."""
        return True


NOWHERE: Final = Nowhere()
