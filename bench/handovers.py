"""
twistd that counts hand-overs: how often anything goes to a worker's thread.

``python -m bench.handovers FILE ...``: the count is eight octets in the file, for whoever looks.
"""

from __future__ import annotations

import mmap
import struct
import sys
from pathlib import Path
from typing import Any

_COUNT = struct.Struct("=Q")


def read(path: Path) -> int:
    """:returns: what has been counted until now."""
    count: int = _COUNT.unpack(path.read_bytes())[0]
    return count


def make(path: Path) -> None:
    """Make the file of a counter that begins at nothing."""
    path.write_bytes(_COUNT.pack(0))


def _count_in(path: str) -> None:
    # Here, so that whoever reads the count does not import the daemon.
    from guerrilla_tw.backends.workers import WorkerPool

    with open(path, "r+b") as file:
        shared = mmap.mmap(file.fileno(), _COUNT.size)
    original = WorkerPool.defer
    count = 0

    def defer(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        _COUNT.pack_into(shared, 0, count)
        return original(*arguments)

    WorkerPool.defer = defer  # type: ignore[assignment,method-assign]


def main() -> None:
    """Be twistd, and count."""
    from twisted.scripts.twistd import run

    _count_in(sys.argv.pop(1))
    run()


if __name__ == "__main__":
    main()
