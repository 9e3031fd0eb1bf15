"""What Linux tells of processes: a server, all that it has started, and the machine they run on."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
# Of the first line of /proc/stat: user, nice, system, irq, softirq, steal.
_BUSY = (1, 2, 3, 6, 7, 8)


def descendants(pid: int) -> list[int]:
    """:returns: a process and all that it has started, as far as they run."""
    found = [pid]
    for each in found:
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def processor_seconds(pid: int) -> float:
    """:returns: user and system time of a process and of those of its children that have ended."""
    # Its processor clock, counted in nanoseconds, while stat has hundredths of a second: man 3
    # clock_getcpuclockid, and MAKE_PROCESS_CPUCLOCK of the kernel for the number.
    running = time.clock_gettime(~pid << 3 | 2)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return running + (int(fields[13]) + int(fields[14])) / _TICKS


def resident(pid: int) -> int:
    """:returns: resident memory of a process and all that it has started, in octets."""
    return sum(_memory(each, "VmRSS") for each in descendants(pid))


def peak(pid: int) -> int:
    """:returns: the most resident memory since :func:`forget_peak`, each process by itself."""
    return sum(_memory(each, "VmHWM") for each in descendants(pid))


def forget_peak(pid: int) -> None:
    """Start to look for a new peak (man 5 proc, clear_refs)."""
    for each in descendants(pid):
        # One that belongs to somebody else keeps its peak.
        with suppress(PermissionError):
            Path(f"/proc/{each}/clear_refs").write_text("5")


def open_files(pid: int) -> int:
    """:returns: how many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _memory(pid: int, field: str) -> int:
    return _number(Path(f"/proc/{pid}/status").read_text(), field) * 1024


def _number(status: str, field: str) -> int:
    match = re.search(rf"^{field}:\s*([0-9]+)", status, re.MULTILINE)
    assert match is not None
    return int(match[1])


def _machine_seconds() -> float:
    with open("/proc/stat", encoding="ascii") as file:
        fields = file.readline().split()
    return sum(int(fields[index]) for index in _BUSY) / _TICKS


@dataclass(frozen=True)
class Usage:
    """
    What has been used, at a moment or between two.

    :param seconds: by the clock.
    :param processes: seconds of processor time of each process.
    :param machine: seconds of processor time of everything that runs, and of what the hypervisor
        has withheld.
    :param switches: how often a process was taken from its processor, though it had more to do.
    """

    seconds: float
    processes: dict[int, float]
    machine: float
    switches: int

    @property
    def processor(self) -> float:
        """Seconds of processor time of all processes."""
        return sum(self.processes.values())

    def since(self, before: Usage) -> Usage:
        """:returns: what has been used since then."""
        return Usage(
            self.seconds - before.seconds,
            {pid: used - before.processes.get(pid, 0.0) for pid, used in self.processes.items()},
            self.machine - before.machine,
            self.switches - before.switches,
        )


def usage(pid: int) -> Usage:
    """:returns: what a process and all that it has started have used until now."""
    processes = descendants(pid)
    switches = 0
    for each in processes:
        # It, or a thread of it, may end while it is looked at.
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                switches += _number((task / "status").read_text(), "nonvoluntary_ctxt_switches")
    used = {}
    for each in processes:
        with suppress(OSError):
            used[each] = processor_seconds(each)
    return Usage(time.monotonic(), used, _machine_seconds(), switches)
