"""Where processors are found by their names: built in, added by a call, or Twisted plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import namedAny
from zope.interface import implementer

from guerrilla_tw.config import did_you_mean
from guerrilla_tw.interfaces import IBackendService, IProcessor, IProcessorPlugin

Decorator = Callable[[IProcessor], IProcessor]
Constructor = Callable[[IBackendService], Decorator]


class UnknownProcessor(LookupError):
    """
    No processor has this name. The text names it, and the nearest that exists.

    :param name: as in the configuration.
    :param known: the names that there are.
    """

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown processor {name!r}" + did_you_mean(name, known))


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

    :param builtin: name -> dotted name of the constructor.
    """

    def __init__(self, builtin: Mapping[str, str]) -> None:
        self._builtin = {name.lower(): constructor for name, constructor in builtin.items()}
        self._spelling = {name.lower(): name for name in builtin}
        self._added: dict[str, Constructor] = {}

    def add(self, name: str, constructor: Constructor) -> None:
        """
        Add a processor. It goes before a built-in one and a plugin of the same name.

        :raises ValueError: the name cannot be written in a chain.
        """
        if not name.strip() or "|" in name:
            raise ValueError(f"not a processor's name: {name!r}")
        key = name.strip().lower()
        self._added[key] = constructor
        self._spelling[key] = name.strip()

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
        plugins = _plugins()
        if key in plugins:
            found: Constructor = plugins[key].load()
            return found
        raise UnknownProcessor(name, [*self._added, *self._builtin, *plugins])

    def loaders(self) -> dict[str, Callable[[], Constructor]]:
        """
        Name every processor that there is, without importing one.

        :returns: name as it was given -> a function that imports and returns the constructor, or
            raises what the processor's own code raises; in alphabetical order.
        """
        plugins = _plugins()
        spelling = {key: plugin.name for key, plugin in plugins.items()} | self._spelling
        loaders: dict[str, Callable[[], Constructor]] = {
            **{key: plugin.load for key, plugin in plugins.items()},
            **{key: partial(namedAny, path) for key, path in self._builtin.items()},
            **{key: partial(self._added.__getitem__, key) for key in self._added},
        }
        return {spelling[key]: loaders[key] for key in sorted(loaders)}


def _plugins() -> dict[str, IProcessorPlugin]:
    return {plugin.name.lower(): plugin for plugin in getPlugins(IProcessorPlugin)}
