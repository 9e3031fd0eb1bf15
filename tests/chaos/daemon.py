"""The daemon of a round: started, killed, limited, told to be another one, and started again."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.integration.daemon_process import (
    FOREGROUND,
    LISTENING,
    Process,
    wait_until,
)
from tests.integration.test_processes import SERVES, is_alive, kill

_DONE = r"reloaded: |reload refused"
_COMPLAINT = re.compile(r"Traceback|Unhandled|#critical\]")


class Daemon:
    """
    It has the same ports all the time, wherever it is in its life.

    :param directory: where it runs.
    :param config: what is read at the start, and at each reload.
    :param plugin: a plugin file of processors.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], plugin: str) -> None:
        self.config: dict[str, Any] = {
            "log_file": "stderr",
            "pid_file": "",
            "allowed_hosts": ["example.com"],
            **config,
        }
        self._directory = directory
        self._processes: list[Process] = []
        self._limits: dict[tuple[int, int], tuple[int, int]] = {}
        self._reloads = 0
        plugins = directory / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "harness_plugin.py").write_text(plugin)

    def _write_config(self) -> None:
        (self._directory / "chaos.json").write_text(json.dumps(self.config))

    @property
    def _process(self) -> Process:
        return self._processes[-1]

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self._write_config()
        command = [*FOREGROUND, "guerrilla", "--config", "chaos.json"]
        self._processes.append(Process(command, self._directory))
        self._process.wait_for(rf"{LISTENING} ")

    def pids(self) -> list[int]:
        """:returns: of the processes that serve."""
        found = [int(pid) for pid in re.findall(SERVES, "".join(self._process.stderr))]
        return list(filter(is_alive, found)) or [self._process.pid]

    # Its end

    def kill(self) -> None:
        """End it without a warning; workers that it has end when they notice that."""
        workers = self.pids()
        self._process.kill()
        wait_until(lambda: not any(map(is_alive, workers)))

    def kill_a_worker(self, choice: float) -> None:
        """
        End one of several without a warning.

        :param choice: which; from 0 to 1.
        """
        pids = sorted(self.pids())
        kill(pids[int(choice * len(pids))])

    def terminate(self) -> None:
        """
        Ask it to end, and wait until it has.

        :raises AssertionError: it hangs, or has ended in another way.
        """
        workers = self.pids()
        self._process.terminate()
        status = self._process.finish()
        assert status == -signal.SIGTERM, f"the daemon ended with {status}"
        assert not any(map(is_alive, workers)), "a worker has outlived the daemon"

    def close(self) -> None:
        """End all that is left."""
        for process in self._processes:
            for pid in re.findall(SERVES, process.output):
                kill(int(pid))
            process.kill()

    # While it lives

    def reload(self) -> None:
        """
        Have it read its configuration again, with a backend that is another one.

        :raises AssertionError: it refuses.
        """
        self._reloads += 1
        self.config["backend_config"]["save_workers_size"] += 1 if self._reloads % 2 else -1
        self._write_config()
        start = len(self._process.stderr)
        os.kill(self._process.pid, signal.SIGHUP)

        def done() -> str:
            assert self._process.running, self._process.output
            lines = self._process.stderr[start:]
            return next((line for line in lines if re.search(_DONE, line)), "")

        wait_until(done)
        assert "reload refused" not in done(), done()

    def open_logs_anew(self) -> None:
        """Have it do so."""
        os.kill(self._process.pid, signal.SIGUSR1)

    def limit_files(self) -> None:
        """Let it open no more files."""
        for pid in self.pids():
            used = [int(name) for name in os.listdir(f"/proc/{pid}/fd")]
            self._limit(pid, resource.RLIMIT_NOFILE, max(used) + 1)

    def limit_size(self, octets: int) -> None:
        """Let it write no file that is larger."""
        for pid in self.pids():
            self._limit(pid, resource.RLIMIT_FSIZE, octets)

    def _limit(self, pid: int, what: int, amount: int) -> None:
        before = resource.prlimit(pid, what)
        self._limits.setdefault((pid, what), before)
        resource.prlimit(pid, what, (amount, before[1]))

    def unlimit(self) -> None:
        """Let it have what it had."""
        for (pid, what), before in self._limits.items():
            # It may have ended.
            with suppress(ProcessLookupError):
                resource.prlimit(pid, what, before)
        self._limits.clear()

    def complaints(self) -> list[str]:
        """:returns: lines of its log that there should be none of."""
        return [
            line.rstrip()
            for process in self._processes
            for line in process.output.splitlines()
            if _COMPLAINT.search(line)
        ]

    def output(self) -> str:
        """:returns: all that it has logged."""
        return "\n".join(process.output for process in self._processes)
