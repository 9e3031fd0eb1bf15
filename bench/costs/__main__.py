"""
Measures all parts, of whichever guerrilla_tw is imported.

``python -m bench.costs REPETITIONS CROWD``: rows as JSON. What another checkout does not have, or
has with other parameters, is left out if there is a third argument, ``--lenient``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from bench.costs import lines, messages, network, records, sessions, threads
from bench.costs.timing import Effort, Row

_PARTS = (
    sessions.measure,
    messages.measure,
    messages.measure_large,
    threads.measure,
    lines.measure,
    records.measure,
    network.measure_replies,
    network.measure_events,
    network.measure_polled,
)


def measure(effort: Effort, *, lenient: bool) -> Iterator[Row]:
    """:returns: what each part costs."""
    from twisted.internet import reactor

    for part in _PARTS:
        try:
            yield from part(reactor, effort)
        except (ImportError, AttributeError, TypeError):
            if not lenient:
                raise


def main() -> None:
    """Measure what the command line says."""
    repetitions, crowd, *rest = sys.argv[1:]
    effort = Effort(int(repetitions), int(crowd))
    print(json.dumps(list(measure(effort, lenient="--lenient" in rest))))


if __name__ == "__main__":
    main()
