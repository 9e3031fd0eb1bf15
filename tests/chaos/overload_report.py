"""Whether an overload was stood, and what it looked like."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.chaos.arrivals import Told
from tests.chaos.picture import Panel, Span, draw

if TYPE_CHECKING:
    from tests.chaos.overload import Overloaded

# Seconds after which all has to be as before.
_RECOVERY = 10.0
# Normal is what is no slower than so many times the slow ones of before, or so many seconds more.
_TIMES, _MORE = 2.0, 0.25
# Of the messages of a second.
_MANY = 0.1
# Of a timeout: what a busy machine may add to it, in seconds.
_MARGIN = 1.0
# MiB that may come on top for what is not mail.
_MEMORY = 64.0
# Seconds that a point of a curve stands for.
_STEP = 5.0


def report(found: Overloaded) -> tuple[list[str], bool]:
    """:returns: lines for people, and whether anything is wrong."""
    before = [told for told in found.told if told.at < found.begin]
    during = [told for told in found.told if found.begin <= told.at < found.end]
    normal = _slow(before)
    recovery = _recovery(found, normal)
    waiting = max(look[1] for look in found.looks)
    memory = [look[2] for look in found.looks]
    late = [told for told in found.told if told.seconds > found.timeout + _MARGIN]
    odd = [told for told in found.told if told.reply[:1] not in ("2", "4")]
    offered = len(during) / (found.end - found.begin)
    # Everything that comes in the time that it may wait.
    bound = offered * (found.timeout + _MARGIN)
    checks = {
        f"lost: {len(found.lost)}": not found.lost,
        f"doubled: {len(found.doubled)}": not found.doubled,
        f"damaged: {len(found.damaged)}": not found.damaged,
        f"neither 2xx nor 4xx: {len(odd)}": not odd,
        f"answered after more than {found.timeout:g} seconds: {len(late)}": not late,
        f"waiting at once: {waiting}, at most {bound:.0f}": waiting <= bound,
        f"memory: {memory[0]:.0f} to {max(memory):.0f} MiB": max(memory) < memory[0] + _MEMORY,
        f"normal again after {recovery:.1f} seconds": recovery <= _RECOVERY,
        f"wrong besides: {len(found.wrong)} {found.wrong[:3]}": not found.wrong,
    }
    lines = [
        f"overload of {found.end - found.begin:.0f} seconds, {offered:.0f} messages a second: "
        f"{_counts(during)}",
        f"before: {_counts(before)}, 95 of 100 answered within {normal:.3f} seconds",
        f"stored, and not acknowledged: {len(found.left)}",
        *(f"{'good' if is_good else 'BAD '}  {what}" for what, is_good in checks.items()),
    ]
    return lines, not all(checks.values())


def _counts(told: Sequence[Told]) -> str:
    counts = Counter(each.reply[:3] or "no reply" for each in told)
    return ", ".join(f"{count} {code}" for code, count in sorted(counts.items()))


def _slow(told: Sequence[Told]) -> float:
    """:returns: how long all but five in a hundred took at most, in seconds."""
    return statistics.quantiles([each.seconds for each in told], n=20)[-1]


def _recovery(found: Overloaded, normal: float) -> float:
    """:returns: seconds from the end of the load to the last in which many had to wait, or a no."""
    limit = max(_TIMES * normal, normal + _MORE)
    answers: dict[int, list[bool]] = {}
    for told in found.told:
        if told.at >= found.end:
            is_slow = told.seconds > limit or told.reply[:1] != "2"
            answers.setdefault(int(told.at - found.end), []).append(is_slow)
    return max(
        (second + 1.0 for second, slow in answers.items() if sum(slow) > _MANY * len(slow)),
        default=0.0,
    )


def picture(found: Overloaded) -> str:
    """:returns: what happened over time, as SVG."""
    steps: dict[int, list[Told]] = {}
    for told in found.told:
        steps.setdefault(int(told.at / _STEP), []).append(told)

    def rate(kind: str) -> list[tuple[float, float]]:
        return [
            (step * _STEP, sum(told.reply[:1] == kind for told in some) / _STEP)
            for step, some in sorted(steps.items())
        ]

    latency = [
        (step * _STEP, statistics.median(told.seconds for told in some))
        for step, some in sorted(steps.items())
    ]
    slowest = [
        (step * _STEP, max(each.seconds for each in some)) for step, some in sorted(steps.items())
    ]
    panels = [
        Panel("messages a second, by the answer", [("250", rate("2")), ("4xx", rate("4"))]),
        Panel(
            "seconds to the answer",
            [("median", latency), ("slowest", slowest)],
            is_logarithmic=True,
        ),
        Panel("messages that wait", [("", [(at, waiting) for at, waiting, _ in found.looks])]),
        Panel("memory (resident), MiB", [("", [(at, memory) for at, _, memory in found.looks])]),
    ]
    return draw("Overload", panels, [Span(found.begin, found.end, "overload")])
