"""Fuzzes one target with atheris, in a process that this ends."""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Final, NoReturn

from tests.fuzz.targets import NAMES, Target, load

# Processor seconds that an input may take.
_SLOW: Final = 0.1
# Seconds after which libFuzzer takes it for an endless loop.
_ENDLESS: Final = 20
# How much larger Python may be at the end than after a tenth of the time: blocks of memory that
# it has allocated, and octets in all, of which some are libFuzzer's.
_MORE_BLOCKS: Final = 20_000
_MORE_OCTETS: Final = 64 * 2**20
# Seconds between lines of progress.
_PROGRESS: Final = 5.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """How much there is in use now."""

    def __init__(self) -> None:
        gc.collect()
        self.blocks = sys.getallocatedblocks()
        self.octets = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE


class Worker:
    """
    Runs a target and judges it.

    :param name: of the target.
    :param target: that is run.
    :param runs: how often, at most; 0 for no limit.
    :param seconds: for how long, at most; 0 for no limit.
    """

    def __init__(self, name: str, target: Target, runs: int, seconds: float) -> None:
        self._name = name
        self._target = target
        self._runs = runs
        self._seconds = seconds
        self._executions = 0
        self._slowest = 0.0
        self._slowest_input = b""
        self._began = self._told = time.monotonic()
        self._before: Memory | None = None

    def warm_up(self) -> None:
        """Let first calls be over: they import, compile and cache."""
        for seed in self._target.SEEDS:
            self.run(seed)
        self._slowest = 0.0
        self._executions = 0
        self._began = time.monotonic()

    def one_input(self, data: bytes) -> None:
        """For atheris."""
        self.run(data)
        self._executions += 1
        now = time.monotonic()
        elapsed = now - self._began
        done = max(
            self._executions / self._runs if self._runs else 0.0,
            elapsed / self._seconds if self._seconds else 0.0,
        )
        if self._before is None and done >= 0.1:
            self._before = Memory()
        if now - self._told >= _PROGRESS:
            self._told = now
            self._tell(f"{self._executions} executions in {elapsed:.0f} s ({done:.0%})")
        if done >= 1:
            self._finish(elapsed)

    def run(self, data: bytes) -> None:
        """Run one input, and fail if it goes wrong or is slow."""
        try:
            spent = self._spent(data)
            if spent <= self._slowest:
                return
            # It may have been the garbage collector's turn, or another process's.
            spent = min(spent, *(self._spent(data) for _ in range(3)))
        except Exception:
            traceback.print_exc()
            self._fail("goes wrong", data)
        if spent > self._slowest:
            self._slowest = spent
            self._slowest_input = data
        if spent > _SLOW:
            self._fail(f"takes {spent:.3f} s of processor time", data)

    def _spent(self, data: bytes) -> float:
        began = time.process_time()
        self._target.check(data)
        return time.process_time() - began

    def _finish(self, elapsed: float) -> NoReturn:
        assert self._before is not None
        after = Memory()
        blocks = after.blocks - self._before.blocks
        octets = after.octets - self._before.octets
        self._tell(
            f"{self._executions} executions in {elapsed:.0f} s; since a tenth of that "
            f"{blocks:+} blocks, {octets // 1024:+} KiB; the slowest {self._slowest * 1000:.1f} ms "
            f"of processor time, for {self._slowest_input!r}"
        )
        if blocks > _MORE_BLOCKS or octets > _MORE_OCTETS:
            self._tell("FAILED, it grows")
            _end(1)
        _end(0)

    def _fail(self, how: str, data: bytes) -> NoReturn:
        file = f"fuzz-{self._name}-{hashlib.sha256(data).hexdigest()[:12]}"
        Path(file).write_bytes(data)
        self._tell(f"FAILED, an input {how}; again: python -m tests.fuzz {self._name} {file}")
        _end(1)

    def _tell(self, text: str) -> None:
        print(f"{self._name}: {text}", flush=True)


def _end(status: int) -> NoReturn:
    """Without libFuzzer's own goodbyes."""
    sys.stderr.flush()
    os._exit(status)


def _write_corpus(target: Target, corpus: Path) -> list[str]:
    """:returns: libFuzzer's options for it."""
    words = corpus / "words"
    words.write_text(
        "".join(
            '"' + "".join(f"\\x{octet:02x}" for octet in token) + '"\n' for token in target.TOKENS
        ),
        "ascii",
    )
    seeds = corpus / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(target.SEEDS):
        (seeds / str(number)).write_bytes(seed)
    return [f"-dict={words}", f"-max_len={target.MAX_LENGTH}", str(seeds)]


def main() -> None:
    """Never returns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    options = parser.parse_args()
    # Not an import statement: where it is missing, this must be importable all the same.
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["guerrilla_tw"]):
        target = load(options.target)
    worker = Worker(options.target, target, options.runs, options.seconds)
    worker.warm_up()
    atheris.Setup(
        [
            sys.argv[0],
            *_write_corpus(target, options.corpus),
            "-verbosity=0",
            f"-timeout={_ENDLESS}",
            f"-artifact_prefix=fuzz-{options.target}-",
        ],
        worker.one_input,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
