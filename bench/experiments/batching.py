"""
What it brings to write messages in batches.

With one client and with few it shows what a batch costs that nobody else is in; with as many as
workers, and with more, what batches are for. How much that is depends on the disk, so the time of
an fsync there is measured too.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from functools import partial

from bench.chains import Chain, backends, batched
from bench.experiments.chains import at_once, measure
from bench.experiments.setting import Setting
from bench.loads import LOADS
from bench.reports.report import FIRST, Report
from bench.rounds import Case, take_turns

_COLUMNS = ("rate", "cost", "handovers", "server", "load", "others")
_CLIENTS = (1, 8, 32, 64)
_SIZES = (1, 50)
# Of the same file, each after an octet was written.
_FSYNCS = 200


def run(setting: Setting) -> Report:
    """Measure, for each number of clients."""
    rows = [
        (f"{setting.store}, {clients} clients", size, _chain(setting.store, clients, size))
        for clients in _CLIENTS
        for size in _SIZES
    ]
    with backends(chain for *_, chain in rows) as configured:
        cases = [
            Case(
                title,
                f"sql_batch_size {size}",
                partial(measure, setting, configured[chain.name], at_once(LOADS["kept"], chain)),
            )
            for title, size, chain in rows
        ]
        outcome = take_turns(cases, setting.rounds)
    return Report(
        "batching",
        _COLUMNS,
        outcome,
        reference=FIRST,
        compared="rate",
        remarks=[f"an fsync takes {_fsync_time():,.0f} us"],
    )


def _chain(store: str, clients: int, size: int) -> Chain:
    return batched(f"{store}-{clients}-{size}", store, store, clients, size)


def _fsync_time() -> float:
    """:returns: median of what an fsync takes where the databases are, in microseconds."""
    taken = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(_FSYNCS):
            file.write(b"x")
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6
