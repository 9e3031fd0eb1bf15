"""
Run all tests under coverage; the last line is ``N passed, N failed, N skipped``.

The exit status is 0 only if something passed, nothing failed, and coverage is not below
``fail_under`` of setup.cfg.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

# The line that trial ends with, as in "FAILED (skips=1, errors=2, successes=30)".
SUMMARY = re.compile(r"(?:PASSED|FAILED)(?: \((?P<counts>\w+=\d+(?:, \w+=\d+)*)\))?")

# Each may have a database server of its own.
_MOST_JOBS = 4


@dataclass(frozen=True)
class Summary:
    """How many tests ended in which way."""

    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def summarize(lines: Iterable[str], status: int) -> Summary:
    """
    Count what trial reported.

    An error counts as a failure, and so does an unexpected success, which trial itself lets pass.
    An expected failure counts as skipped.

    :param lines: what trial wrote; a test may have written there too, so the last summary counts.
    :param status: trial's exit status. Where it tells of a failure that the lines do not, as when
        trial was killed, that is one failure.
    """
    counts: dict[str, int] = {}
    for line in lines:
        if match := SUMMARY.fullmatch(line.rstrip()):
            pairs = re.findall(r"(\w+)=(\d+)", match["counts"] or "")
            counts = {name: int(number) for name, number in pairs}
    failed = sum(counts.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses"))
    return Summary(
        passed=counts.get("successes", 0),
        failed=failed or int(status != 0),
        skipped=counts.get("skips", 0) + counts.get("expectedFailures", 0),
    )


def _jobs() -> int:
    """:returns: how many tests at a time: most wait for a daemon to start, which needs a core."""
    return min(os.cpu_count() or 1, _MOST_JOBS)


def run_trial() -> Summary:
    """Run the tests, showing what trial writes as it comes."""
    # -u: else a pipe shows nothing for minutes.
    trial_of_all = ["-m", "twisted.trial", "--jobs", str(_jobs()), "tests"]
    command = [sys.executable, "-u", "-m", "coverage", "run", *trial_of_all]
    lines = []
    with subprocess.Popen(  # noqa: S603  (the command is ours)
        command, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line)
    return summarize(lines, trial.returncode)


def coverage(*arguments: str) -> bool:
    """Run one command of coverage; true if it succeeded."""
    command = [sys.executable, "-m", "coverage", *arguments]
    return subprocess.run(command, check=False).returncode == 0  # noqa: S603  (ours too)


def main() -> int:
    """:returns: the exit status."""
    coverage("erase")
    summary = run_trial()
    covered = coverage("combine", "--quiet") and coverage("report")
    print(summary, flush=True)
    return 0 if covered and summary.passed and not summary.failed else 1


if __name__ == "__main__":
    sys.exit(main())
