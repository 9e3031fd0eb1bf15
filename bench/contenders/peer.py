"""A server that somebody else has started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contenders.contender import Contender, Server


class Peer(Contender):
    """
    A server by its address. It is believed to have TLS where a load needs that.

    :param place: host and port.
    :param pid: of its process; those that this has started belong to it.
    """

    def __init__(self, place: tuple[str, int], pid: int) -> None:
        host, port = place
        super().__init__(f"{host}:{port}", f"{host}:{port}")
        self._server = Server(host, port, pid)

    def missing(self) -> str:
        """See :meth:`.Contender.missing`."""
        pid = self._server.pid
        return "" if Path(f"/proc/{pid}").is_dir() else f"there is no process {pid}"

    @contextmanager
    def running(self, *, tls: str = "", clients: int = 200) -> Iterator[Server]:
        """See :meth:`.Contender.running`; nothing is started."""
        yield self._server
