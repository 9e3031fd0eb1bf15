"""The registry: where a processor's name leads."""

from __future__ import annotations

import os
import sys

from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

import twisted.plugins
from guerrilla_tw.backends.registry import (
    Decorator,
    ProcessorPlugin,
    Registry,
    UnknownProcessor,
)
from guerrilla_tw.interfaces import IBackendService, IProcessorPlugin
from guerrilla_tw.processors import BUILTIN

PLUGIN_FILE = """
from guerrilla_tw.backends.registry import ProcessorPlugin

plugged = ProcessorPlugin("Plugged", "tests.backends.test_registry.from_plugin")
shadowed = ProcessorPlugin("Shadowed", "tests.backends.test_registry.from_plugin")
broken = ProcessorPlugin("Broken", "tests.backends.no_such_module.constructor")
"""


def _pass(svc: IBackendService) -> Decorator:
    return lambda following: following


# Three of them, to tell by identity which was found.
def built_in(svc: IBackendService) -> Decorator:
    return _pass(svc)


def added(svc: IBackendService) -> Decorator:
    return _pass(svc)


def from_plugin(svc: IBackendService) -> Decorator:
    return _pass(svc)


class RegistryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.install_plugins("")
        own = "tests.backends.test_registry.built_in"
        self.registry = Registry({"own": own, "shadowed": own})

    def install_plugins(self, text: str) -> None:
        """Let ``text`` be the only plugin file there is."""
        directory = self.mktemp()
        os.makedirs(directory)
        # Never imported under the same name twice: Python and Twisted would remember the first.
        module = f"guerrilla_test_{os.path.basename(os.path.dirname(directory))}_{len(text)}"
        with open(os.path.join(directory, f"{module}.py"), "w", encoding="utf-8") as file:
            file.write(text)
        self.addCleanup(sys.modules.pop, f"twisted.plugins.{module}", None)
        self.patch(twisted.plugins, "__path__", [os.path.abspath(directory)])

    def test_built_in_name_in_any_case(self) -> None:
        for name in ("own", "Own", "OWN"):
            self.assertIs(self.registry.find(name), built_in)

    def test_added_name_in_any_case(self) -> None:
        self.registry.add(" MyFoo ", added)
        for name in ("MyFoo", "myfoo", "MYFOO"):
            self.assertIs(self.registry.find(name), added)

    def test_plugin_name_in_any_case(self) -> None:
        self.install_plugins(PLUGIN_FILE)
        for name in ("Plugged", "plugged", "PLUGGED"):
            self.assertIs(self.registry.find(name), from_plugin)

    def test_built_in_goes_before_a_plugin(self) -> None:
        self.install_plugins(PLUGIN_FILE)
        self.assertIs(self.registry.find("Shadowed"), built_in)

    def test_added_goes_before_built_in_and_before_a_plugin(self) -> None:
        self.install_plugins(PLUGIN_FILE)
        self.registry.add("Shadowed", added)
        self.registry.add("plugged", added)
        self.assertIs(self.registry.find("shadowed"), added)
        self.assertIs(self.registry.find("Plugged"), added)

    def test_later_addition_replaces_the_earlier(self) -> None:
        self.registry.add("MyFoo", from_plugin)
        self.registry.add("myfoo", added)
        self.assertIs(self.registry.find("MyFoo"), added)

    def test_names_that_no_chain_can_hold(self) -> None:
        for name in ("", "  ", "a|b"):
            error = self.assertRaises(ValueError, self.registry.add, name, added)
            self.assertEqual(str(error), f"not a processor's name: {name!r}")

    def test_unknown_name_is_told_with_the_nearest(self) -> None:
        self.install_plugins(PLUGIN_FILE)
        self.registry.add("MyFoo", added)
        for name, guess in [("MyFo", "myfoo"), ("Owns", "own"), ("Pluged", "plugged")]:
            error = self.assertRaises(UnknownProcessor, self.registry.find, name)
            self.assertEqual(str(error), f"unknown processor {name!r} (did you mean {guess}?)")

    def test_unknown_name_like_no_other(self) -> None:
        error = self.assertRaises(UnknownProcessor, self.registry.find, "zzz")
        self.assertEqual(str(error), "unknown processor 'zzz'")

    def test_plugin_is_not_imported_before_it_is_asked_for(self) -> None:
        self.install_plugins(PLUGIN_FILE)
        self.assertIs(self.registry.find("Plugged"), from_plugin)
        self.assertRaises(AttributeError, self.registry.find, "Broken")

    def test_all_there_are(self) -> None:
        self.install_plugins(PLUGIN_FILE)
        self.registry.add("MyFoo", added)
        self.registry.add("Own", added)
        loaders = self.registry.loaders()
        self.assertEqual([*loaders], ["Broken", "MyFoo", "Own", "Plugged", "shadowed"])
        self.assertRaises(AttributeError, loaders.pop("Broken"))
        found = [load() for load in loaders.values()]
        self.assertEqual(found, [added, added, from_plugin, built_in])

    def test_registries_share_nothing(self) -> None:
        self.registry.add("MyFoo", added)
        self.assertRaises(UnknownProcessor, Registry({}).find, "MyFoo")

    def test_every_built_in_can_be_found(self) -> None:
        registry = Registry(BUILTIN)
        for name in BUILTIN:
            self.assertTrue(callable(registry.find(name)), name)


class ProcessorPluginTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        plugin = ProcessorPlugin("Own", "tests.backends.test_registry.built_in")
        for interface in (IPlugin, IProcessorPlugin):
            verifyClass(interface, ProcessorPlugin)
            verifyObject(interface, plugin)

    def test_load(self) -> None:
        plugin = ProcessorPlugin("Own", "tests.backends.test_registry.built_in")
        self.assertEqual(plugin.name, "Own")
        self.assertIs(plugin.load(), built_in)
