"""The memory of a process that is there for the daemon alone."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from typing import Final

# Of mallopt(3).
_M_ARENA_MAX: Final = -8
_ARENAS: Final = 2
# How many more objects there may be until the garbage collector looks at them. A message that waits
# for a store has some fifty; with Python's 700 it would look at those of twenty again and again.
_YOUNG: Final = 5_000


def claim_memory() -> None:
    """
    Keep memory small and pauses short. Before there are threads, and when most modules are there.

    By default glibc has an arena for each thread, up to eight for a core, and what is free in one
    is of no use to others: after each reload other threads have other arenas, until all are large.
    """
    if gc.get_threshold()[0] == _YOUNG:
        # A reload: what is in flight now is not for ever.
        return
    with suppress(AttributeError, OSError):  # Another C library.
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    gc.set_threshold(_YOUNG)
    # Modules and classes stay. To look at them takes longer than all else that the collector does.
    gc.freeze()
