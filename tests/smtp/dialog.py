r"""
Conversations as files: what the client says, what the server must answer, what is stored.

A file of ``tests/dialogs`` is read from top to bottom like a transcript; ``README.rst`` beside
them tells all of it. In short::

    # why
    setting: max_size = 1000        a setting of the server, as in the configuration
    storage: spill_size = 16        and of where it keeps messages (BodyStorage)
    peer: 198.51.100.7              where the client speaks from
    backend: save = 451 4.3.0 away  what the backend answers; also "check", "pending", "raise"
    each: END=\n.\n WAS=x           the whole file, once for each of these, with {END} and {WAS}

    S: 220                          the server's reply, by its first words
    C: NOOP                         a line of the client; CR LF is added
    C| {a*3000}\r\n                 octets of the client, with escapes; nothing is added
    S: closed                       the server has closed the connection
    --- 31 s ---                    a barrier: what is before it has come when it happens

    message:                        what the backend was given, a block for each message
        data: hello\r\n
    stored: 1                       how many messages, where it does not matter which
    logged: HTTP                    stands somewhere in the log

This module reads them; :mod:`tests.smtp.dialog_runner` plays them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

_REPEAT = re.compile(r"\{([^{}]+)\*([0-9]+)\}")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))")
_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_SAYING = re.compile(r"([CS])(?:\*([0-9]+))?([:|]) ?(.*)")
_BARRIER = re.compile(r"--- (.+) ---")
_FIELD = re.compile(r"    (\w+): ?(.*)")
_ENTRY = re.compile(r"(\w+): ?(.*)")

CLOSED = "closed"


class DialogError(Exception):
    """A file that is not a dialog. The text says which line, and why."""


@dataclass
class Turn:
    """What the client says in one go, and what is answered until it speaks again."""

    said: bytes = b""
    replies: list[str] = field(default_factory=list)


@dataclass
class Segment:
    """
    What is said between two barriers. However its octets are cut, it means the same.

    :ivar barrier: what happens first; empty for the beginning of the file.
    """

    barrier: str
    turns: list[Turn] = field(default_factory=list)

    def joined(self) -> Turn:
        """:returns: everything as one turn."""
        return Turn(
            b"".join(turn.said for turn in self.turns),
            [reply for turn in self.turns for reply in turn.replies],
        )


@dataclass
class Dialog:
    """
    A conversation.

    :ivar settings: of the server.
    :ivar storage: arguments of its BodyStorage.
    :ivar peer: the address that the client speaks from.
    :ivar answers: of the backend, to ``save`` and ``check``.
    :ivar segments: what is said.
    :ivar messages: what the backend must have been given: field name, value.
    :ivar stored: how many messages that must have been.
    :ivar logged: what must stand in the log.
    """

    settings: dict[str, object] = field(default_factory=dict)
    storage: dict[str, Any] = field(default_factory=dict)
    peer: str = "192.0.2.1"
    answers: dict[str, str] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=lambda: [Segment("")])
    messages: list[dict[str, str]] = field(default_factory=list)
    stored: int = 0
    logged: list[str] = field(default_factory=list)


def read_dialogs(text: str) -> Iterator[tuple[str, Dialog]]:
    """
    Read a file.

    :returns: the dialog for each of its ``each:`` lines, with that line; one dialog if it has none.
    :raises DialogError: a line has no meaning.
    """
    lines = text.splitlines()
    cases = [line for line in lines if line.startswith("each: ")]
    rest = "\n".join("" if line in cases else line for line in lines)
    for case in cases or [""]:
        filled = rest
        for value in case.split()[1:]:
            name, equals, replacement = value.partition("=")
            if not equals or f"{{{name}}}" not in filled:
                raise DialogError(f"{case!r}: no NAME=value, or {{{name}}} is nowhere")
            filled = filled.replace(f"{{{name}}}", replacement)
        yield case, _read(filled)


def _read(text: str) -> Dialog:
    dialog = Dialog()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            _read_line(dialog, line)
        except (ValueError, LookupError) as error:
            raise DialogError(f"line {number}: {line!r}: {error}") from None
    return dialog


def _read_line(dialog: Dialog, line: str) -> None:
    if saying := _SAYING.fullmatch(line):
        who, times, how, text = saying.groups()
        if who == "C":
            _say(dialog, octets(text, raw=how == "|", end=how == ":") * int(times or 1))
        elif how == ":":
            _turns(dialog)[-1].replies.extend([_expand(text)] * int(times or 1))
        else:
            raise ValueError("the server's lines begin with 'S:'")
    elif barrier := _BARRIER.fullmatch(line):
        dialog.segments.append(Segment(barrier[1]))
    elif entry := _FIELD.fullmatch(line):
        dialog.messages[-1][entry[1]] = entry[2]
    elif entry := _ENTRY.fullmatch(line):
        _read_entry(dialog, entry[1], entry[2])
    else:
        raise ValueError("no line of a dialog")


def _read_entry(dialog: Dialog, name: str, value: str) -> None:
    if name in ("setting", "storage"):
        key, _, setting = value.partition(" = ")
        kind = dialog.settings if name == "setting" else dialog.storage
        kind[key] = _json_or_text(setting)
    elif name == "backend":
        task, _, answer = value.partition(" = ")
        dialog.answers[task] = answer
    elif name == "peer":
        dialog.peer = value
    elif name == "message":
        dialog.messages.append({})
        dialog.stored = len(dialog.messages)
    elif name == "stored":
        dialog.stored = int(value)
    elif name == "logged":
        dialog.logged.append(value)
    else:
        raise ValueError("no such entry")


def _turns(dialog: Dialog) -> list[Turn]:
    turns = dialog.segments[-1].turns
    if not turns:
        turns.append(Turn())
    return turns


def _say(dialog: Dialog, said: bytes) -> None:
    turns = _turns(dialog)
    if turns[-1].replies:
        turns.append(Turn())
    turns[-1].said += said


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _expand(text: str) -> str:
    return _REPEAT.sub(lambda match: match[1] * int(match[2]), text)


def octets(text: str, *, raw: bool = True, end: bool = False) -> bytes:
    """
    Make octets of what is written in a dialog.

    :param raw: whether ``\\`` begins an escape.
    :param end: whether CR LF is added.
    :raises KeyError: an escape that does not exist.
    """
    data = _expand(text).encode("utf-8")
    if raw:
        data = _ESCAPE.sub(
            lambda match: bytes.fromhex(match[1].decode()) if match[1] else _ESCAPES[match[2]],
            data,
        )
    return data + b"\r\n" if end else data


def joined_lines(lines: Iterable[str]) -> Iterator[str]:
    """:returns: replies; the lines of one are joined by LF (RFC 5321 section 4.2.1)."""
    reply: list[str] = []
    for line in lines:
        reply.append(line)
        if line[3:4] != "-":
            yield "\n".join(reply)
            reply = []
    assert not reply, f"a reply has no last line: {reply}"
