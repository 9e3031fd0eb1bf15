"""Servers that are written for the purpose, from the libraries that people use."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from bench.contenders.contender import Contender, Place, python_path
from bench.sending import ROOT


class Program(Contender):
    """
    A program of ``bench/servers``: it gets a port, and perhaps a kind of TLS and its files.

    :param name: see :class:`.Contender`.
    :param title: see :class:`.Contender`.
    :param module: in ``bench.servers``.
    :param arguments: of the program, before the others.
    :param needed: modules that must be there.
    """

    def __init__(
        self,
        name: str,
        title: str,
        module: str,
        *arguments: str,
        needed: Sequence[str] = (),
    ) -> None:
        super().__init__(name, title)
        self._module = module
        self._arguments = arguments
        self._needed = needed

    def missing(self) -> str:
        """See :meth:`.Contender.missing`."""
        absent = [module for module in self._needed if find_spec(module) is None]
        return f"{' and '.join(absent)} not installed (pip install '.[bench]')" if absent else ""

    def command(self, place: Place) -> Sequence[str | Path]:
        """See :meth:`.Contender.command`."""
        command = [sys.executable, "-m", f"bench.servers.{self._module}", *self._arguments]
        command.append(str(place.port))
        if place.tls:
            command += [place.tls, str(place.key), str(place.certificate)]
        return command

    def environment(self) -> Mapping[str, str]:
        """See :meth:`.Contender.environment`."""
        return python_path(ROOT)
