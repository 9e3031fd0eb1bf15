"""
A message as it comes in: its limits, its line ends, and where it goes.

Pure. What cuts it out of the stream is in :mod:`guerrilla_tw.smtp.framing`.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

_CRLF = b"\r\n"


class Sink(Protocol):
    """Where a message goes."""

    def write(self, piece: bytes, /) -> object:
        """
        Take the next octets.

        :raises OSError: there is no room for them.
        """


class IncomingMessage:
    """
    What is the same for every message, by DATA or by BDAT.

    A message that breaks a rule is read to its end all the same; nothing more of it is kept. All
    that is wrong with it is told, whatever pieces it came in.

    :param sink: gets the message in large pieces, as long as it is not refused.
    :param max_size: octets of the message at most, as it is stored.
    :param max_line: octets of one of its lines at most, as it is stored, line end included
        (RFC 5321 section 4.5.3.1.6).
    :param normalize: whether a bare CR or a bare LF becomes CR LF, and is no fault.

    .. attribute:: too_large

        Whether the message is larger than ``max_size``.

    .. attribute:: line_too_long

        Whether a line is longer than ``max_line``.

    .. attribute:: bare_newline

        Whether there is a CR or an LF outside of CR LF.

    .. attribute:: sink_error

        What the sink raised, or None. It was given nothing more.
    """

    __slots__ = (
        "_line",
        "_max_line",
        "_max_size",
        "_normalize",
        "_sink",
        "_size",
        "_unsettled",
        "bare_newline",
        "line_too_long",
        "sink_error",
        "too_large",
    )
    # What a message begins as if it followed; not a part of it.
    _before: ClassVar[bytes] = b""

    def __init__(self, sink: Sink, max_size: int, max_line: int, normalize: bool) -> None:
        self.too_large = self.line_too_long = self.bare_newline = False
        self.sink_error: OSError | None = None
        self._sink = sink
        self._max_size = max_size
        self._max_line = max_line
        self._normalize = normalize
        self._size = -len(self._before)
        # Octets of the line that has not ended yet.
        self._line = 0
        # Octets whose meaning depends on those that follow.
        self._unsettled = self._before

    @property
    def size(self) -> int:
        """Octets of the message so far, as it is stored."""
        return max(self._size, 0)

    def _add_text(self, text: bytes, last: bool) -> None:
        """
        Add to the message what is made of lines.

        :param text: without stuffed dots. Its last octet is not the CR of a CR LF.
        :param last: whether the message ends with it.
        """
        # Each LF taken out, and put in again behind each CR. To count takes much longer: Python
        # replaces one octet at the speed of memchr, and looks for two at that of a loop.
        if text.replace(b"\n", b"").replace(b"\r", _CRLF) != text:
            if self._normalize:
                text = text.replace(_CRLF, b"\n").replace(b"\r", b"\n").replace(b"\n", _CRLF)
            else:
                self.bare_newline = True
        if not last or len(text) > self._max_line - self._line:
            self._measure_lines(text)
        self._add(text)

    def _measure_lines(self, text: bytes) -> None:
        """Look for a line that is too long, in steps as long as a line may be."""
        limit = self._max_line
        start = -self._line
        while len(text) - start > limit:
            end = text.rfind(_CRLF, start if start > 0 else 0, start + limit)
            if end < 0:
                self.line_too_long = True
                return
            start = end + 2
        end = text.rfind(_CRLF, max(start, 0))
        self._line = len(text) - (start if end < 0 else end + 2)

    def _add(self, octets: bytes) -> None:
        """Add to the message what is as it is to be stored."""
        self._size += len(octets)
        if self._size > self._max_size:
            self.too_large = True
        if self.too_large or self.line_too_long or self.bare_newline or self.sink_error:
            return
        try:
            self._sink.write(octets)
        except OSError as error:
            # Its traceback would hold on to the body, and the body to this.
            self.sink_error = error.with_traceback(None)
