"""smtp-sink, which does nothing with what it gets: less is hardly possible."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.contenders.contender import Contender, Place

_PROGRAM = shutil.which("smtp-sink", path=os.environ.get("PATH", "") + ":/usr/sbin")
_BACKLOG = "1024"


class Sink(Contender):
    """smtp-sink of Debian's package postfix."""

    def __init__(self) -> None:
        super().__init__("sink", "smtp-sink")

    def missing(self) -> str:
        """See :meth:`.Contender.missing`."""
        return "" if _PROGRAM else "smtp-sink is not installed (Debian has it in postfix)"

    def lacks(self, tls: str) -> str:
        """See :meth:`.Contender.lacks`."""
        return "it has no TLS" if tls else ""

    def command(self, place: Place) -> Sequence[str | Path]:
        """See :meth:`.Contender.command`."""
        assert _PROGRAM is not None
        # It lets nobody in who comes when it has as many.
        clients = str(place.clients * 2)
        # Of root it wants to know whom to be instead.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return [_PROGRAM, *user, "-m", clients, f"inet:127.0.0.1:{place.port}", _BACKLOG]
