"""What a client says, and which replies it waits for. Pure."""

from __future__ import annotations

from typing import NamedTuple

from bench.generator.spec import STARTTLS, Spec

_HEADER = b"From: <a@example.com>\r\nTo: <b@example.com>\r\nSubject: a message\r\n\r\n"
_LINE = b"All work and no play makes a benchmark a dull program, says who reads it.\r\n"
_EHLO = b"EHLO client.example.com\r\n"


class Step(NamedTuple):
    """
    Something to say.

    :ivar octets: what is sent.
    :ivar codes: of the replies to it.
    :ivar is_message: whether these mean that the server has a message.
    :ivar starts_tls: whether a handshake comes next.
    """

    octets: bytes
    codes: tuple[bytes, ...]
    is_message: bool = False
    starts_tls: bool = False


QUIT = (Step(b"QUIT\r\n", (b"221",)),)


def opening(spec: Spec) -> tuple[Step, ...]:
    """:returns: what comes before the first message."""
    steps = [Step(b"", (b"220",)), Step(_EHLO, (b"250",))]
    if spec.tls == STARTTLS:
        steps += [Step(b"STARTTLS\r\n", (b"220",), starts_tls=True), Step(_EHLO, (b"250",))]
    return tuple(steps)


def transaction(spec: Spec) -> tuple[Step, ...]:
    """:returns: what makes a message."""
    commands = [Step(b"MAIL FROM:<a@example.com>\r\n", (b"250",))]
    for number in range(spec.recipients):
        commands.append(Step(b"RCPT TO:<b%d@example.com>\r\n" % number, (b"250",)))
    commands.append(Step(b"DATA\r\n", (b"354",)))
    if spec.pipelined:
        codes = tuple(code for step in commands for code in step.codes)
        commands = [Step(b"".join(step.octets for step in commands), codes)]
    return (*commands, Step(_message(spec.size) + b".\r\n", (b"250",), is_message=True))


def _message(size: int) -> bytes:
    """:returns: a message of so many octets; no fewer than its header has."""
    room = max(size - len(_HEADER), 2)
    lines, rest = divmod(room, len(_LINE))
    if rest == 1:  # No room for a line end.
        lines, rest = lines - 1, rest + len(_LINE)
    return _HEADER + _LINE * lines + (b"x" * (rest - 2) + b"\r\n" if rest else b"")
