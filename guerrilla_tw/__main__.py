"""``python -m guerrilla_tw``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from twisted.logger import globalLogBeginner

from guerrilla_tw.commands import main, tell_failure


def run(arguments: Sequence[str]) -> int:
    """
    Do what a command line says, and write all of it.

    :param arguments: without the program's name.
    :returns: the exit status.
    """
    try:
        status = main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads it has read enough, as "head" does. Python flushes again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    # A function is an observer, though mypy-zope does not know it.
    observer: Any = tell_failure
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)
    sys.exit(run(sys.argv[1:]))
