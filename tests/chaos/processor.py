"""A processor with troubles of its own, which begin and end when a file says so."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from zope.interface import implementer

from guerrilla_tw import IBackendService, IProcessor, RecipientResults, Result, Task
from guerrilla_tw.mail.envelope import Envelope

#: A file of Twisted's that makes it known, to be in ``twisted/plugins`` where the daemon runs.
PLUGIN = """\
from guerrilla_tw import ProcessorPlugin

troubled = ProcessorPlugin("Troubled", "tests.chaos.processor.troubled")
"""
#: What there may be in the file.
TROUBLES = ("raises", "hangs", "talks nonsense")
# Seconds between two looks whether the trouble is over.
_LOOK = 0.05
_HUNG = Result(451, "4.3.0", "it hung")


class TroubledConfig(msgspec.Struct, frozen=True):
    """
    Settings.

    :param trouble_file: what is in it is the trouble; while there is none, all is well.
    """

    trouble_file: str


def troubled(svc: IBackendService) -> Callable[[IProcessor], IProcessor]:
    """Make the processor."""
    path = Path(svc.extract_config(svc.config, TroubledConfig).trouble_file)
    return lambda following: Troubled(path, svc, following)


@implementer(IProcessor)
class Troubled:
    """
    Has every other message in trouble, and before or after the rest of the chain had it.

    :param path: of the file.
    :param svc: has the time and the threads.
    :param following: the rest of the chain.
    """

    def __init__(self, path: Path, svc: IBackendService, following: IProcessor) -> None:
        self._path = path
        self._svc = svc
        self._following = following

    def process(self, envelope: Envelope, task: Task) -> Any:
        """See :meth:`.IProcessor.process`."""
        kind = self._trouble()
        lot = zlib.crc32(envelope.queued_id.encode())
        if not kind or lot % 2:
            return self._following.process(envelope, task)
        if lot % 3:
            return self._suffer(kind, lot, envelope, task)
        work: Any = self._following.process(envelope, task)
        if not isinstance(work, Deferred):
            work = succeed(work)
        return work.addCallback(lambda result: self._suffer(kind, lot, envelope, task, result))

    def _trouble(self) -> str:
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return ""

    def _suffer(
        self, kind: str, lot: int, envelope: Envelope, task: Task, result: Any = None
    ) -> Any:
        """:param result: of the rest of the chain, if that had the message."""
        if kind == "raises":
            # Each is caught in another way.
            raise (ValueError("trouble"), SystemExit("trouble"), KeyError())[lot // 6 % 3]
        if kind == "hangs":
            hang = self._hang if lot // 6 % 2 else self._block
            return hang(result)
        return self._nonsense()[lot // 6 % len(self._nonsense())]

    def _hang(self, result: Any) -> Any:
        if self._trouble():
            return deferLater(self._svc.reactor, _LOOK, self._hang, result)
        return result or _HUNG

    def _block(self, result: Any) -> Any:
        def wait() -> Any:
            while self._trouble():
                time.sleep(_LOOK)
            return result or _HUNG

        return self._svc.defer_to_worker(wait)

    def _nonsense(self) -> list[Any]:
        # No message has so many recipients.
        yes, no = Result(250, "2.0.0", "OK"), Result(451, "4.3.0", "not OK")
        many = RecipientResults([yes, no] * 5)
        deferred: Deferred[Any] = succeed(b"\xff")
        return [None, "250 OK", 250, object(), deferred, {"code": 250}, many]
