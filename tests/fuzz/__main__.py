"""The command line of the fuzzer."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import NAMES, load


def main() -> int:
    """:returns: the exit status: 1 if an input goes wrong."""
    options = _parse_arguments()
    if options.file is not None:
        load(options.target).check(options.file.read_bytes())
        print(f"{options.target}: nothing is wrong with {options.file}")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print('atheris is missing: pip install "guerrilla-tw[fuzz]"', file=sys.stderr)
        return 2
    names = NAMES if options.target == "all" else (options.target,)
    limit = (
        ["--runs", str(options.runs)]
        if options.runs
        else ["--seconds", str(options.seconds / len(names))]
    )
    # All of them, whatever becomes of one.
    return max([_fuzz(name, limit) for name in names])


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=[*NAMES, "all"])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", type=Path, help="one input to play")
    what.add_argument("--runs", type=int, help="executions of each target")
    what.add_argument("--seconds", type=float, help="seconds for all targets together")
    options = parser.parse_args()
    if options.target == "all" and options.file is not None:
        parser.error("a file is the input of one target")
    return options


def _fuzz(name: str, limit: list[str]) -> int:
    """
    Fuzz in a process of its own: libFuzzer never returns.

    :returns: 1 if it failed, whatever way it ended.
    """
    with tempfile.TemporaryDirectory() as corpus:
        command = [sys.executable, "-m", "tests.fuzz.worker", name, corpus, *limit]
        return int(subprocess.run(command, check=False).returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
