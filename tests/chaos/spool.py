"""The spool of a round."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.integration.daemon_process import wait_until
from tests.integration.programs import DEADLINE
from tests.integration.store_under_test import make_small_disk

# Octets. Else a disk that is small is full.
_MIN_FREE = 2**20


class SpoolUnderTest:
    """
    A spool, which may not be used.

    :param directory: where it is.
    :param small: put it on a file system of its own, that is soon full.
    :raises SkipTest: nobody may do that here.
    """

    def __init__(self, directory: Path, *, small: bool) -> None:
        self.directory = directory
        self._cleanup = ExitStack()
        if small:
            directory.mkdir(mode=0o700)
            make_small_disk(directory, self._cleanup)

    def settings(self, mode: str) -> Mapping[str, Any]:
        """:returns: the daemon's."""
        return {
            "spool_dir": str(self.directory),
            "spool_mode": mode,
            "spool_min_free": _MIN_FREE,
        }

    def wait_until_delivered(self, deadline: float = DEADLINE) -> None:
        """
        Wait until the store has all.

        :param deadline: in seconds.
        :raises AssertionError: it has not by then.
        """
        wait_until(lambda: not self._files("queue"), deadline)

    def given_up(self) -> list[str]:
        """:returns: what is wrong with what nobody will deliver."""
        return [
            f"in {part}/ of the spool: {name}"
            for part in ("dead", "damaged")
            for name in self._files(part)
        ]

    def _files(self, part: str) -> list[str]:
        directory = self.directory / part
        return [path.name for path in directory.iterdir()] if directory.is_dir() else []

    def close(self) -> None:
        """Take its file system away."""
        self._cleanup.close()
