"""A command of ``python -m guerrilla_tw``, as all of them are."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from twisted.python import usage

from guerrilla_tw import __version__


class CommandError(Exception):
    """What was asked for cannot be done. The text is one line and says why."""


class Command(usage.Options):
    """A command: its own options, and what it does."""

    def opt_version(self) -> NoReturn:
        """Display the version and exit."""
        print(f"guerrilla_tw {__version__}")
        sys.exit(0)

    def run(self) -> None:
        """
        Do it, and tell on standard output. By default the command below this one does.

        :raises CommandError: it cannot be done.
        """
        command: Any = self.subOptions
        command.run()
