"""Queue ids."""

from __future__ import annotations

import os
import sys
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.queue_ids import QueueIds

# More than are drawn at once.
MANY = 1000


class QueueIdsTests(SynchronousTestCase):
    def test_each_is_new(self) -> None:
        new = QueueIds().new
        ids = [new() for _ in range(MANY)]
        self.assertEqual(len(set(ids)), MANY)
        for each in ids:
            self.assertEqual(len(bytes.fromhex(each)), 16)

    def test_child_process_has_others(self) -> None:
        new = QueueIds().new
        new()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, " ".join(new() for _ in range(100)).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            theirs = pipe.read().split()
        os.waitpid(child, 0)
        self.assertEqual(len(theirs), 100)
        self.assertEqual({new() for _ in range(100)} & set(theirs), set())

    def test_threads(self) -> None:
        interval = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, interval)
        sys.setswitchinterval(1e-6)
        new = QueueIds().new
        ids: list[str] = []
        threads = [Thread(target=lambda: ids.extend(new() for _ in range(MANY))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(set(ids)), 8 * MANY)
