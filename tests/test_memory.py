"""Malloc and the garbage collector, each time in a process of its own."""

from __future__ import annotations

import platform
import re
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

# Each thread has some memory before the first gives it back.
_THREADS = """
from threading import Barrier, Thread
barrier = Barrier(8)
def allocate():
    barrier.wait()
    taken = [bytes(2000) for _ in range(100)]
    barrier.wait()
threads = [Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
import ctypes
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def run(program: str) -> str:
    """:returns: what it writes, after it has claimed its memory."""
    claim = "from guerrilla_tw.memory import claim_memory\nclaim_memory()\n"
    command = [sys.executable, "-c", claim + program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class MemoryTests(SynchronousTestCase):
    def test_threads_share_their_memory(self) -> None:
        if platform.libc_ver()[0] != "glibc":
            self.skipTest("another C library")
        self.assertLessEqual(len(re.findall("<heap nr=", run(_THREADS))), 2)

    def test_what_is_loaded_is_not_looked_at_again(self) -> None:
        told = run("import gc; print(len(gc.get_objects()) < 1000 < gc.get_freeze_count())")
        self.assertEqual(told, "True\n")

    def test_what_comes_later_is_looked_at(self) -> None:
        """However often it is called: a reload does so."""
        told = run(
            "import gc, weakref\n"
            "class Thing: pass\n"
            "thing = Thing(); thing.itself = thing; reference = weakref.ref(thing)\n"
            "del thing; claim_memory(); gc.collect(); print(reference())"
        )
        self.assertEqual(told, "None\n")
