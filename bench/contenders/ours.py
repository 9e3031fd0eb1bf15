"""guerrilla_tw, of this checkout or of another."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.contenders.contender import Contender, Place, python_path
from bench.generator.spec import IMPLICIT, STARTTLS
from bench.sending import ROOT

#: Parses, hashes and adds a header, as everyday chains do, and stores nothing.
NULL_CHAIN: Mapping[str, object] = {"save_process": "HeadersParser|Hasher|Header"}

_TWISTD = "from twisted.scripts.twistd import run; run()"
# Messages may be as large as this.
_MAX_SIZE = 2**30
# Seconds. Of thousands of clients each waits long for its turn.
_TIMEOUT = 600


class Guerrilla(Contender):
    """
    guerrilla_tw under twistd.

    :param name: see :class:`.Contender`.
    :param title: see :class:`.Contender`.
    :param root: of the checkout.
    :param log_level: ``info`` has a line for each message.
    :param backend: its ``backend_config``.
    :param server: settings of its server.
    :param settings: of the whole configuration.
    :param counted: file that a counter of the hand-overs to threads is kept in, if it is wanted.
    """

    def __init__(
        self,
        name: str,
        title: str,
        *,
        root: Path = ROOT,
        log_level: str = "info",
        backend: Mapping[str, object] = NULL_CHAIN,
        server: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
        counted: Path | None = None,
    ) -> None:
        super().__init__(name, title)
        self.root = root
        self._log_level = log_level
        self._backend = backend
        self._server = server or {}
        self._settings = settings or {}
        self._counted = counted

    def missing(self) -> str:
        """See :meth:`.Contender.missing`."""
        known = (self.root / "guerrilla_tw").is_dir()
        return "" if known else f"{self.root} has no guerrilla_tw"

    def command(self, place: Place) -> Sequence[str | Path]:
        """See :meth:`.Contender.command`."""
        path = place.directory / "config.json"
        path.write_text(json.dumps(self._config(place)))
        options = ["-n", "--pidfile=", "guerrilla", "--config", str(path)]
        if self._counted is None:
            return [sys.executable, "-c", _TWISTD, *options]
        return [sys.executable, "-m", "bench.handovers", str(self._counted), *options]

    def _config(self, place: Place) -> dict[str, Any]:
        server: dict[str, object] = {
            "is_enabled": True,
            # At some levels it does not tell where it listens, so it is told.
            "listen_interface": f"127.0.0.1:{place.port}",
            "max_clients": place.clients * 2,
            "max_size": _MAX_SIZE,
            "timeout": _TIMEOUT,
        }
        if place.tls:
            server["tls"] = {
                "start_tls_on": place.tls == STARTTLS,
                "tls_always_on": place.tls == IMPLICIT,
                "private_key_file": str(place.key),
                "public_key_file": str(place.certificate),
            }
        return {
            "log_file": "stderr",
            "log_level": self._log_level,
            "allowed_hosts": ["."],
            "backend_config": dict(self._backend),
            "servers": [{**server, **self._server}],
            **self._settings,
        }

    def environment(self) -> Mapping[str, str]:
        """See :meth:`.Contender.environment`."""
        return python_path(self.root)
