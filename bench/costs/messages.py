"""What the end of a message is made of, and what large ones cost."""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import Callable, Iterator
from typing import Any

from bench.costs.memory import (
    CHAIN,
    MESSAGE,
    SILENT,
    filled_envelope,
    make_gateway,
    make_server,
    make_sessions,
)
from bench.costs.sessions import MAIL, RCPT, connect, say
from bench.costs.timing import Effort, Row, rows, smallest, stages
from guerrilla_tw.backends.chain import build_chain
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.results import queued
from guerrilla_tw.backends.service import BackendService
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.interfaces import Task
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.framing import DataReader

_PIECE = 2**16
# Octets of a message and of a line at most: more than there are.
_LIMITS = (2**62, 2**11, False)
_TITLE = "The end of a message, in parts"


def measure(reactor: Any, effort: Effort) -> Iterator[Row]:
    """Measure parts."""
    session = make_sessions(make_server(reactor))()
    for act in (connect, say(b"EHLO client.example.com\r\n"), say(MAIL), say(RCPT)):
        act(session)

    def make() -> Envelope:
        return filled_envelope(session[0])

    yield from rows(_TITLE, {"framing": _framing(effort), "an envelope": _envelope(effort)})
    yield from rows(_TITLE, stages(make, dict(_steps(reactor)), effort))
    yield Row(_TITLE, "result and reply", smallest(_answer, effort))
    nothing = make_gateway(reactor, "Nothing", {"Nothing": lambda svc: lambda following: following})
    process: Callable[[Envelope], object] = lambda envelope: nothing.process(  # noqa: E731
        envelope, Task.SAVE_MAIL
    )
    yield from rows(
        _TITLE, stages(make, {"the Gateway, with nothing in its chain": process}, effort)
    )


def _framing(effort: Effort) -> float:
    storage = BodyStorage()
    data = MESSAGE + b".\r\n"
    acts = {"": lambda reader: reader.feed(data)}
    return stages(lambda: DataReader(storage.new_body(), *_LIMITS), acts, effort)[""]


def _envelope(effort: Effort) -> float:
    storage = BodyStorage()
    return smallest(
        lambda: Envelope("127.0.0.1", "client.example.com", esmtp=True, body=storage.new_body()),
        effort,
    )


def _steps(reactor: Any) -> Iterator[tuple[str, Callable[[Envelope], object]]]:
    """:returns: the steps of the chain, in its order."""
    pool = WorkerPool(reactor, 1, "save_process")
    chain: Any
    chain, _ = build_chain(
        CHAIN,
        "save_process",
        Registry(BUILTIN),
        lambda name: BackendService(name, {}, 30, pool, SILENT, reactor, set()),
    )

    def bound(step: Any) -> Callable[[Envelope], object]:
        return lambda envelope: step(envelope, Task.SAVE_MAIL)

    for name, step in zip(CHAIN.split("|"), chain.steps, strict=True):
        yield name, bound(step)


def _answer() -> bytes:
    return replies.from_result(queued("0123456789abcdef0123456789abcdef"))


class _Nowhere:
    """Takes a message, and keeps nothing of it."""

    def write(self, piece: bytes) -> None:
        """Take a piece."""


def measure_large(reactor: Any, effort: Effort) -> Iterator[Row]:
    """Measure message data in pieces as large as a connection hands over."""
    base64 = encodebytes(bytes(range(256)) * (_PIECE // 256)).replace(b"\n", b"\r\n")
    text = (b"This is a line of text. It is as long as most are, and has dots. \r\n") * 1000
    for name, piece in (
        ("base64", base64),
        ("text, with two dots in each line", text),
        ("text, with a stuffed dot", text.replace(b"\r\nThis", b"\r\n..This", 20)),
    ):
        reader = DataReader(_Nowhere(), *_LIMITS)
        cost = smallest(lambda: reader.feed(piece[:_PIECE]), effort)  # noqa: B023
        yield Row("64 KiB of message data, framed", name, cost)
