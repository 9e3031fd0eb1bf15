"""
Timing parts of some microseconds.

The smallest of many repetitions is what counts. Whatever else goes on in the machine makes a
repetition longer and none shorter, so the smallest one is nearest to what the part takes by itself,
and it is the same in a quiet and in a busy hour; a mean is not, and a median is not quite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import process_time
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Row(NamedTuple):
    """
    What a part costs.

    :ivar group: the table.
    :ivar name: of the part.
    :ivar cost: in microseconds of processor time, of all threads.
    """

    group: str
    name: str
    cost: float


class Effort(NamedTuple):
    """
    How much is done for a figure.

    :ivar repetitions: of which the smallest counts.
    :ivar crowd: how often a part is done in each; the clock is read before and after.
    """

    repetitions: int = 200
    crowd: int = 50

    def tenth(self) -> Effort:
        """:returns: for what takes long."""
        return Effort(max(self.repetitions // 10, 1), max(self.crowd // 10, 1))


def stages(
    make: Callable[[], T], acts: Mapping[str, Callable[[T], object]], effort: Effort
) -> dict[str, float]:
    """
    Time what can be done only once with a thing, or only after something else.

    :param make: makes a thing; that is not timed.
    :param acts: what is done with all things of a crowd, act by act.
    :returns: what each act costs, in microseconds.
    """
    least = dict.fromkeys(acts, float("inf"))
    for _ in range(effort.repetitions):
        crowd = [make() for _ in range(effort.crowd)]
        for name, act in acts.items():
            began = process_time()
            for each in crowd:
                act(each)
            least[name] = min(least[name], process_time() - began)
    return {name: seconds / effort.crowd * 1e6 for name, seconds in least.items()}


def smallest(function: Callable[[], object], effort: Effort) -> float:
    """:returns: what a call costs, in microseconds."""
    return stages(lambda: None, {"": lambda _: function()}, effort)[""]


def rows(group: str, costs: Mapping[str, float]) -> Iterator[Row]:
    """:returns: rows of one table."""
    for name, cost in costs.items():
        yield Row(group, name, cost)
