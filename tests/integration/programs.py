"""What tests need of the machine, and may not find there."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn
from unittest import SkipTest

# Enough for a slow machine; whatever takes longer hangs. In seconds.
DEADLINE = 60.0
# smtp-source is for administrators, and their directory is not on every user's path.
_SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])


def missing(what: str) -> NoReturn:
    """
    End a test that lacks something: a user's machine need not have it, but the CI's must.

    :param what: is not there.
    :raises SkipTest: on a user's machine.
    :raises AssertionError: where ``CI`` is set.
    """
    reason = f"{what} is not installed"
    if os.environ.get("CI"):
        raise AssertionError(reason)
    raise SkipTest(reason)


def run_program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """
    Run a mail client to its end.

    :param name: of the program; see :func:`missing` for when there is none.
    :returns: its status and what it wrote, both outputs together.
    """
    program = shutil.which(name, path=_SEARCH_PATH)
    if program is None:
        missing(name)
    return subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
