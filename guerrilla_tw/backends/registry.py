"""Where processors are found by their names: built in, added by a call, or Twisted plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import namedAny
from zope.interface import implementer

from guerrilla_tw.config import did_you_mean
from guerrilla_tw.interfaces import IBackendService, IProcessor, IProcessorPlugin

Decorator = Callable[[IProcessor], IProcessor]
Constructor = Callable[[IBackendService], Decorator]


class UnknownProcessor(LookupError):
    """No processor has this name. Its text names it, and the nearest that exists."""


@implementer(IPlugin, IProcessorPlugin)
class ProcessorPlugin:
    """
    Offers a processor from a plugin file, without importing it before it is asked for.

    :param name: the name to use in ``save_process`` or ``validate_process``, in any case.
    :param constructor: dotted name of the processor's constructor.
    """

    def __init__(self, name: str, constructor: str) -> None:
        self.name = name
        self._constructor = constructor

    def load(self) -> Constructor:
        """See :meth:`.IProcessorPlugin.load`."""
        constructor: Constructor = namedAny(self._constructor)
        return constructor


class Registry:
    """
    Finds a processor's constructor by name, in any case.

    :param builtin: name in lower case -> dotted name of the constructor.
    """

    def __init__(self, builtin: Mapping[str, str]) -> None:
        self._builtin = builtin
        self._added: dict[str, Constructor] = {}

    def add(self, name: str, constructor: Constructor) -> None:
        """
        Add a processor. It goes before a built-in one and a plugin of the same name.

        :raises ValueError: the name cannot be written in a chain.
        """
        if not name.strip() or "|" in name:
            raise ValueError(f"not a processor's name: {name!r}")
        self._added[name.strip().lower()] = constructor

    def find(self, name: str) -> Constructor:
        """
        :param name: as in the configuration.
        :raises UnknownProcessor: there is none of this name.
        """
        key = name.lower()
        if key in self._added:
            return self._added[key]
        if key in self._builtin:
            builtin: Constructor = namedAny(self._builtin[key])
            return builtin
        plugins = {plugin.name.lower(): plugin for plugin in getPlugins(IProcessorPlugin)}
        if key in plugins:
            found: Constructor = plugins[key].load()
            return found
        known = [*self._added, *self._builtin, *plugins]
        raise UnknownProcessor(f"unknown processor {name!r}" + did_you_mean(key, known))
