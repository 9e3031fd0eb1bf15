"""Having a load sent: by smtp-source, or by the generator, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.generator.spec import Sent, Spec

ROOT = Path(__file__).resolve().parent.parent
#: Debian's package postfix has it, where only root looks.
SMTP_SOURCE = shutil.which("smtp-source", path=os.environ.get("PATH", "") + ":/usr/sbin")
# Seconds until a load that does not end is given up.
_PATIENCE = 600

#: Sends all, and tells of it.
Send = Callable[[], Sent]


class LoadError(Exception):
    """A load was not taken. The text says why."""


@contextmanager
def generator(spec: Spec) -> Iterator[Send]:
    """
    Have the generator's clients connected.

    :raises LoadError: something is not as it should be.
    """
    with subprocess.Popen(  # noqa: S603  (the command is ours)
        [sys.executable, "-m", "bench.generator", json.dumps(spec._asdict())],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def hear() -> str:
            assert process.stdout is not None and process.stderr is not None
            if line := process.stdout.readline():
                return line
            last = process.stderr.read().strip().rpartition("\n")[2]
            raise LoadError(last or "the load generator ended")

        def send() -> Sent:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            return Sent(*json.loads(hear()))

        try:
            hear()
            yield send
        finally:
            # What it has is in its pipe, so it may end when it wants to, but not never.
            process.terminate()


def smtp_source(spec: Spec) -> Send:
    """:returns: what has smtp-source send. It counts no latencies."""
    assert SMTP_SOURCE is not None
    options = ["-d"] if spec.kept else []
    options += ["-s", str(spec.clients), "-m", str(spec.messages), "-l", str(spec.size)]
    options += ["-f", "a@example.com", "-t", "b@example.com", "-M", "client.example.com"]
    if spec.recipients > 1:
        options += ["-r", str(spec.recipients)]
    where = f"[{spec.host}]:{spec.port}" if ":" in spec.host else f"{spec.host}:{spec.port}"
    command = [SMTP_SOURCE, *options, where]

    def send() -> Sent:
        began, used = time.monotonic(), os.times()
        try:
            subprocess.run(  # noqa: S603  (the command is ours)
                command, check=True, capture_output=True, text=True, timeout=_PATIENCE
            )
        except subprocess.CalledProcessError as error:
            raise LoadError(error.stderr.strip().rpartition("\n")[2]) from None
        except subprocess.TimeoutExpired:
            raise LoadError(f"smtp-source was not done in {_PATIENCE} seconds") from None
        now = os.times()
        processor = now[2] - used[2] + now[3] - used[3]
        return Sent(time.monotonic() - began, processor, [])

    return send
