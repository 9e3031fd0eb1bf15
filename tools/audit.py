"""
Ask whether a hole is known in what ``examples/requirements.txt`` names, and say what was found.

A known hole is a failure. Where nobody can be asked, or nothing is known of a package, that is
said, and is none: pip-audit itself would say that there are no known vulnerabilities.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

REQUIREMENTS = Path(__file__).resolve().parent.parent / "examples" / "requirements.txt"
# Seconds for each answer, and for all.
_TIMEOUT = 5
_DEADLINE = 180


class Report(NamedTuple):
    """
    What there is to say.

    :ivar lines: for people.
    :ivar found: how many holes are known.
    """

    lines: list[str]
    found: int


def ask(requirements: Path) -> str:
    """
    Ask PyPI, by pip-audit.

    :param requirements: with versions and hashes.
    :returns: pip-audit's JSON, or what it had to say in its place.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements)]
    command += ["--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json"]
    try:
        done = subprocess.run(  # noqa: S603  (the command is ours)
            [*command, f"--timeout={_TIMEOUT}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DEADLINE,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_DEADLINE} seconds"
    return done.stdout or done.stderr


def report(answer: str) -> Report:
    """:param answer: see :func:`ask`."""
    try:
        packages = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (answer.strip().splitlines() or ["it said nothing"])[-1]
        return Report([f"NOT AUDITED: pip-audit cannot ask anybody: {last}"], 0)
    lines = [
        f"{package['name']} {package['version']}: {hole['id']}, mended in {_mended(hole)}"
        for package in packages
        for hole in package.get("vulns", ())
    ]
    found = len(lines)
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    audited = len(packages) - len(skipped)
    if skipped:
        lines.append(
            f"NOT AUDITED: {len(skipped)} of {len(packages)} packages, of which the index here "
            f"tells nothing: {_shortened(skipped)}"
        )
    if audited:
        lines.append(f"audited: {audited} packages, known holes: {found}")
    return Report(lines, found)


def _mended(hole: dict[str, Any]) -> str:
    return ", ".join(hole["fix_versions"]) or "no version yet"


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def main() -> int:
    """:returns: the exit status."""
    found = report(ask(REQUIREMENTS))
    print("\n".join(found.lines))
    return 1 if found.found else 0


if __name__ == "__main__":
    sys.exit(main())
