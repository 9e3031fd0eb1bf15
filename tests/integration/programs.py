"""What tests need of the machine, and may not find there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
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
    unusable(f"{what} is not installed")


def unusable(reason: str) -> NoReturn:
    """
    End a test as :func:`missing` does.

    :param reason: why it cannot be done.
    :raises SkipTest: on a user's machine.
    :raises AssertionError: where ``CI`` is set.
    """
    if os.environ.get("CI"):
        raise AssertionError(reason)
    raise SkipTest(reason)


def find_program(name: str) -> str:
    """
    Find a program, also where only administrators look.

    :param name: of the program; see :func:`missing` for when there is none.
    :returns: its path.
    """
    return shutil.which(name, path=_SEARCH_PATH) or missing(name)


def run_program(
    name: str, *arguments: str, stdin: Path = Path(os.devnull)
) -> subprocess.CompletedProcess[str]:
    """
    Run a mail client to its end.

    :param name: of the program; see :func:`missing` for when there is none.
    :param stdin: the file that it reads there.
    :returns: its status and what it wrote, both outputs together.
    """
    with stdin.open("rb") as file:
        return subprocess.run(
            [find_program(name), *arguments],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
