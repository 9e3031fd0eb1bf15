"""An event as a line: what is written to log files and streams."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from string import Formatter
from typing import Any, Final

import msgspec
from twisted.logger import LogEvent, formatEvent
from twisted.python.reflect import safe_str

#: An event to its text, which ends with a line end.
Render = Callable[[LogEvent], str]

# A float that is no number, or infinite, becomes null.
_PLAIN: Final = frozenset({str, bool, float, type(None)})
# What other programs can hold as well.
_INTEGERS: Final = range(-(2**63), 2**64)
_FIXED_NAMES: Final = frozenset({"time", "level", "logger", "message", "traceback"})
# What needs an escape in ASCII, within strings of JSON.
_NOT_PRINTABLE = re.compile(r"[^ -~]")
# As many forms of lines as are kept in mind; there are some dozens.
_MOST_FORMS: Final = 256
# As many modules and levels, within a second.
_MOST_HEADS: Final = 16
# Most text; what else is printable takes longer to tell.
_is_plain: Final = re.compile(r"[ -~]*").fullmatch


def escape(text: str) -> str:
    """
    Make a text that can break no line, and that no terminal takes for anything but text.

    Control characters, line separators, marks for the direction of writing and lone surrogates
    become what Python writes for them, such as ``\\n`` and ``\\u202e``.
    """
    if _is_plain(text) or text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def message_of(event: LogEvent) -> str:
    """:returns: the text of an event, which may hold anything."""
    try:
        template, values_of = _template(event["log_format"])
        text: str = template % values_of(event)
    except Exception:
        # Twisted knows more, such as "{name()}", takes its time, and never fails.
        return formatEvent(event)
    return text


@lru_cache(_MOST_FORMS)
def _template(form: str) -> tuple[str, Callable[[LogEvent], Any]]:
    """
    Take a form apart once, and not for each line.

    :param form: of a line, for ``str.format``.
    :returns: the same for ``%``, and what takes its values out of an event.
    :raises ValueError: there is more in it than names and ``!r``.
    """
    template, names = "", []
    for text, name, spec, conversion in Formatter().parse(form):
        template += text.replace("%", "%%")
        if name is not None:
            if spec or not name.isidentifier() or conversion not in (None, "r"):
                raise ValueError(form)
            template += f"%{conversion or 's'}"
            names.append(name)
    if len(names) > 1:
        return template, itemgetter(*names)
    # Of one name it makes no tuple, and of none nothing at all.
    return template, lambda event: tuple(event[name] for name in names)


def traceback_of(event: LogEvent) -> str:
    """:returns: the traceback of an event that has a failure; it may hold anything."""
    try:
        text: str = event["log_failure"].getTraceback()
    except Exception as error:
        return f"(no traceback: {type(error).__name__})"
    return text


def indented(traceback: str) -> str:
    """:returns: its lines, escaped, behind a tab each, without the last line end."""
    return "\n".join(f"\t{escape(line)}" for line in traceback.splitlines())


class TextLines:
    """
    Lines to read: ``2026-11-24T03:24:49+0100 [guerrilla_tw#info] message``.

    A traceback follows its line, indented.
    """

    def __init__(self) -> None:
        # Its own: another one may be made where the zone is another.
        self._head = lru_cache(_MOST_HEADS)(_head)

    def __call__(self, event: LogEvent) -> str:
        level = event.get("log_level")
        head = self._head(
            int(event.get("log_time") or time.time()),
            str(event.get("log_namespace", "-")),
            "-" if level is None else level.name,
        )
        line = f"{head}{escape(message_of(event))}\n"
        if "log_failure" in event:
            line += f"{indented(traceback_of(event))}\n"
        return line


class JSONLines:
    """
    Lines for programs: an object each, in ASCII.

    It has ``time`` (UTC), ``level``, ``logger``, ``message``, where there is one ``traceback``, and
    each value of the event under its name.
    """

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, event: LogEvent) -> str:
        second, microsecond = divmod(round(_time_of(event) * 1_000_000), 1_000_000)
        fields: dict[str, Any] = {
            "time": f"{_utc(second)}.{microsecond:06}Z",
            "level": _level_of(event),
            "logger": _logger_of(event),
            "message": message_of(event),
        }
        for name, value in event.items():
            if not name.startswith("log_"):
                fields[f"{name}_" if name in _FIXED_NAMES else name] = json_value(value)
        if "log_failure" in event:
            fields["traceback"] = traceback_of(event)
        try:
            text = self._encode(fields).decode("utf-8")
        except UnicodeEncodeError:
            text = self._encode(whole(fields)).decode("utf-8")
        # Other control characters have an escape by now.
        if not text.isascii() or "\x7f" in text:
            text = _NOT_PRINTABLE.sub(_escaped, text)
        return f"{text}\n"


#: By ``log_format``.
RENDERS: Final[Mapping[str, Callable[[], Render]]] = {"text": TextLines, "json": JSONLines}


def _head(second: int, source: str, level: str) -> str:
    """
    Begin a line of text.

    :param second: since 1970.
    """
    when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
    return f"{when} [{escape(source)}#{level}] "


@lru_cache(1)
def _utc(second: int) -> str:
    """
    Write the time of lines in JSON.

    :param second: since 1970.
    """
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _time_of(event: LogEvent) -> float:
    when: float = event.get("log_time") or time.time()
    return when


def _level_of(event: LogEvent) -> str:
    level = event.get("log_level")
    return "-" if level is None else str(level.name)


def _logger_of(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-"))


def json_value(value: object) -> object:
    """:returns: a value of an event, or what shows it in JSON."""
    kind = type(value)
    if kind in _PLAIN or (kind is int and value in _INTEGERS):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (list, tuple)) and all(type(item) is str for item in value):
        return list(value)
    return safe_str(value)


def whole(value: Any) -> Any:
    """:returns: the same without lone surrogates, which are no text in JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, (list, tuple)):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {whole(name): whole(item) for name, item in value.items()}
    return value


def _escaped(match: re.Match[str]) -> str:
    """:returns: a character in ASCII; JSON has two surrogates for those beyond U+FFFF."""
    octets = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{octets[at : at + 4]}" for at in range(0, len(octets), 4))
