"""A processor that takes as long as a slow store, and keeps to its time as a store has to."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

import msgspec

from guerrilla_tw import STORE_UNAVAILABLE, IBackendService, IProcessor, Result, Task, process_with
from guerrilla_tw.mail.envelope import Envelope

#: As of :mod:`tests.chaos.processor`.
PLUGIN = """\
from guerrilla_tw import ProcessorPlugin

slow = ProcessorPlugin("SlowStore", "tests.chaos.slow_store.slow_store")
"""


class SlowStoreConfig(msgspec.Struct, frozen=True):
    """
    Settings.

    :param slow_store_rate: messages a second that it can take.
    """

    slow_store_rate: float


def slow_store(svc: IBackendService) -> Callable[[IProcessor], IProcessor]:
    """Make the processor, which takes one message after the other, in the order of coming."""
    queue = _Queue(1 / svc.extract_config(svc.config, SlowStoreConfig).slow_store_rate)

    def store(envelope: Envelope, task: Task) -> Result | None:
        done = queue.join(time.monotonic() + svc.time_for(envelope))
        if done is None:
            return STORE_UNAVAILABLE
        time.sleep(max(0.0, done - time.monotonic()))
        return None

    return process_with(svc, store)


class _Queue:
    """
    Before a store.

    :param seconds: that it takes for a message.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._free = 0.0
        self._lock = Lock()

    def join(self, until: float) -> float | None:
        """:returns: when a message that has come now is done; None if that is too late."""
        with self._lock:
            done = max(self._free, time.monotonic()) + self._seconds
            if done > until:
                return None
            self._free = done
            return done
