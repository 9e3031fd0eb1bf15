"""Lengths of time, as Go's ``time.ParseDuration`` reads them."""

from __future__ import annotations

import re
from typing import Final

_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5, the micro sign
    "μs": 1e-6,  # U+03BC, the Greek letter
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
# A digit can be matched in one way only, so that no text makes this slow.
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([a-zµμ]+)")
# Go counts nanoseconds in 64 bits.
_LONGEST: Final = (2**63 - 1) * 1e-9


class Duration(float):
    """A length of time in seconds, written as a Go duration string in the configuration."""

    __slots__ = ()


def parse_duration(text: str) -> Duration:
    """
    Read a duration as Go writes it: ``1m30s``, ``250ms``, ``1.5h``, or a bare ``0``.

    :param text: numbers, each with a unit: ``ns``, ``us``, ``µs``, ``ms``, ``s``, ``m``, ``h``.
    :returns: the sum, in seconds.
    :raises ValueError: it is not a duration, is negative, or is longer than Go can hold.
    """
    if text.startswith("-"):
        raise ValueError("a duration must not be negative")
    rest = text.removeprefix("+")
    if rest == "0":
        return Duration(0)
    seconds = 0.0
    position = 0
    while match := _PART.match(rest, position):
        number, unit = match.groups()
        if unit not in _SECONDS:
            break
        seconds += float(number) * _SECONDS[unit]
        position = match.end()
    if not rest or position != len(rest):
        raise ValueError('not a duration, such as "30s", "250ms" or "1m30s"')
    if seconds > _LONGEST:
        raise ValueError("the duration is too long")
    return Duration(seconds)
