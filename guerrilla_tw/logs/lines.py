"""An event as a line: what is written to log files and streams."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.logger import LogEvent, formatEvent
from twisted.python.reflect import safe_str

#: An event to its text, which ends with a line end.
Render = Callable[[LogEvent], str]

# What other programs can hold as well.
_INTEGERS: Final = range(-(2**63), 2**64)
_FIXED_NAMES: Final = frozenset({"time", "level", "logger", "message", "traceback"})


def escape(text: str) -> str:
    """
    Make a text that can break no line, and that no terminal takes for anything but text.

    Control characters, line separators, marks for the direction of writing and lone surrogates
    become what Python writes for them, such as ``\\n`` and ``\\u202e``.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def message_of(event: LogEvent) -> str:
    """:returns: the text of an event, which may hold anything."""
    try:
        text: str = event["log_format"].format_map(event)
    except Exception:
        # Twisted knows more, such as "{name()}", takes its time, and never fails.
        return formatEvent(event)
    return text


class TextLines:
    """
    Lines to read: ``2026-11-24T03:24:49+0100 [guerrilla_tw#info] message``.

    A traceback follows its line, indented.
    """

    def __init__(self) -> None:
        self._second = _Second(time.localtime, "%Y-%m-%dT%H:%M:%S%z")

    def __call__(self, event: LogEvent) -> str:
        when = self._second.text(int(_time_of(event)))
        source = escape(_logger_of(event))
        line = f"{when} [{source}#{_level_of(event)}] {escape(message_of(event))}\n"
        if "log_failure" in event:
            line += "".join(f"\t{escape(more)}\n" for more in _traceback_of(event).splitlines())
        return line


class JSONLines:
    """
    Lines for programs: an object each, in ASCII.

    It has ``time`` (UTC), ``level``, ``logger``, ``message``, where there is one ``traceback``, and
    each value of the event under its name.
    """

    def __init__(self) -> None:
        self._second = _Second(time.gmtime, "%Y-%m-%dT%H:%M:%S")
        self._encode = json.JSONEncoder(allow_nan=False, check_circular=False).encode

    def __call__(self, event: LogEvent) -> str:
        second, microsecond = divmod(round(_time_of(event) * 1_000_000), 1_000_000)
        fields: dict[str, Any] = {
            "time": f"{self._second.text(second)}.{microsecond:06}Z",
            "level": _level_of(event),
            "logger": _whole(_logger_of(event)),
            "message": _whole(message_of(event)),
        }
        for name, value in event.items():
            if not name.startswith("log_"):
                known = f"{name}_" if name in _FIXED_NAMES else name
                fields[_whole(known)] = _json_value(value)
        if "log_failure" in event:
            fields["traceback"] = _whole(_traceback_of(event))
        return f"{self._encode(fields)}\n"


#: By ``log_format``.
RENDERS: Final[Mapping[str, Callable[[], Render]]] = {"text": TextLines, "json": JSONLines}


class _Second:
    """
    The text of the time, which many lines of a second share.

    :param convert: ``time.localtime`` or ``time.gmtime``.
    :param form: for ``time.strftime``.
    """

    def __init__(self, convert: Callable[[float], time.struct_time], form: str) -> None:
        self._convert = convert
        self._form = form
        self._last = (-1, "")

    def text(self, second: int) -> str:
        """
        :param second: since 1970.
        """
        known, text = self._last
        if known != second:
            text = time.strftime(self._form, self._convert(second))
            # In one piece, since workers log too.
            self._last = (second, text)
        return text


def _time_of(event: LogEvent) -> float:
    when: float = event.get("log_time") or time.time()
    return when


def _level_of(event: LogEvent) -> str:
    level = event.get("log_level")
    return "-" if level is None else str(level.name)


def _logger_of(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-"))


def _traceback_of(event: LogEvent) -> str:
    try:
        text: str = event["log_failure"].getTraceback()
    except Exception as error:
        return f"(no traceback: {type(error).__name__})"
    return text


def _json_value(value: object) -> object:
    kind = type(value)
    if kind is str:
        return _whole(str(value))
    if value is None or kind is bool or (kind is int and value in _INTEGERS):
        return value
    if isinstance(value, float):
        # JSON has no others.
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (list, tuple)) and all(type(item) is str for item in value):
        return [_whole(item) for item in value]
    return _whole(safe_str(value))


def _whole(text: str) -> str:
    """:returns: a text without lone surrogates, which others refuse in JSON."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
