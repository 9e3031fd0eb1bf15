"""What a worker is started with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.processes.worker_process import _PROGRAM

# In the place of ours. A signal may come at any time.
MODULE = """
import os, signal
os.kill(os.getpid(), signal.SIGHUP)
os.kill(os.getpid(), signal.SIGUSR1)
print("is alive")
"""


class ProgramTests(SynchronousTestCase):
    def test_signals_for_the_supervisor(self) -> None:
        """They may come to a whole group, and while modules are being loaded."""
        package = Path(self.mktemp()).absolute() / "guerrilla_tw" / "processes"
        package.mkdir(parents=True)
        (package / "__main__.py").write_text(MODULE)
        for directory in (package, package.parent):
            (directory / "__init__.py").touch()
        ended = subprocess.run(
            [sys.executable, "-c", _PROGRAM, "1", "1"],
            env={**os.environ, "PYTHONPATH": str(package.parent.parent)},
            capture_output=True,
            text=True,
        )
        self.assertEqual((ended.returncode, ended.stdout), (0, "is alive\n"), ended.stderr)
