"""Clients of all sorts keep sending while the daemon is told to be another one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.reload_load import ReloadLoad, all_kinds

# Of each sort of client there is one.
_CLIENTS = 8
# Files and threads of workers that are open or not, as it happens, in each process.
_SLACK = 30


class ReloadLoadTests(SynchronousTestCase):
    processes = 1

    def test_every_kind_once(self) -> None:
        # A short path, since that of a UNIX socket is limited to 107 octets.
        directory = tempfile.TemporaryDirectory(prefix="guerrilla-")
        self.addCleanup(directory.cleanup)
        load = ReloadLoad(Path(directory.name), 1, _CLIENTS, self.processes)
        kinds = all_kinds(load.config)
        load.chance.shuffle(kinds)
        figures = load.run(kinds)
        for name, found in figures.faults().items():
            self.assertEqual(found, [], name)
        self.assertEqual({*figures.applied, *figures.refused}, set(kinds))
        self.assertGreater(figures.answered, len(kinds))
        first, last = figures.samples[0], figures.samples[-1]
        slack = _SLACK * self.processes
        self.assertLess(last.files, first.files + slack)
        self.assertLess(last.threads, first.threads + slack)


class SeveralProcessesTests(ReloadLoadTests):
    processes = 2
