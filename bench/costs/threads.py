"""What it costs to hand a message over to a thread, and to have it back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.costs.memory import make_gateway
from bench.costs.timing import Effort, Row, smallest
from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.interfaces import IBackendService, Task
from guerrilla_tw.mail.envelope import Envelope

# Messages that come together.
_MANY = 20


def _step(envelope: Envelope, task: Task) -> None:
    """Do in a thread what takes no time."""


def _blocking(svc: IBackendService) -> Decorator:
    return process_with(svc, _step)


def measure(reactor: Any, effort: Effort) -> Iterator[Row]:
    """Measure chains of blocking steps, the round through the Gateway included."""
    for name, chain, messages in (
        ("one blocking step", "Blocking", 1),
        ("three blocking steps, neighbours", "Blocking|Blocking|Blocking", 1),
        (f"one blocking step, {_MANY} messages together, each", "Blocking", _MANY),
    ):
        gateway = make_gateway(reactor, chain, {"Blocking": _blocking})
        answers: list[object] = []

        def turn() -> None:
            answers.clear()  # noqa: B023
            for _ in range(messages):  # noqa: B023
                answer: Any = gateway.process(Envelope(), Task.SAVE_MAIL)  # noqa: B023
                answer.addCallback(answers.append)  # noqa: B023
            while len(answers) < messages:  # noqa: B023
                reactor.doIteration(1)
                reactor.runUntilCurrent()

        cost = smallest(turn, effort.tenth()) / messages
        yield Row("A hand-over to a thread and back", name, cost)
        gateway.shutdown()
