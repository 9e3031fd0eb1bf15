"""What the documentation shows works, and it leaves no setting out."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import msgspec
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.gateway import Gateway, GatewayConfig
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.config import Config, ServerConfig, TLSConfig, parse_config
from guerrilla_tw.processors import BUILTIN

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.rst").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.rst").read_text(encoding="utf-8")

# Those of processors are found by tests.test_inventory.
SETTINGS: tuple[type[msgspec.Struct], ...] = (Config, ServerConfig, TLSConfig, GatewayConfig)


def code_blocks(text: str, language: str) -> list[str]:
    """:returns: the code blocks of a language in reStructuredText."""
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def make_gateway(registry: Registry) -> Gateway:
    return Gateway(registry, Clock(), Logger("test"))  # type: ignore[arg-type]


class ReadmeTests(SynchronousTestCase):
    def test_configuration(self) -> None:
        (block,) = code_blocks(README, "json")
        loaded = parse_config(block.encode("utf-8"), "README.rst")
        self.assertEqual(loaded.warnings, ())
        backend_config = loaded.config.backend_config
        self.assertEqual(make_gateway(Registry(BUILTIN)).check(backend_config), [])

    def test_processor(self) -> None:
        extend, _ = code_blocks(README, "python")
        names: dict[str, object] = {}
        exec(extend, names)  # ours
        registry = Registry(BUILTIN)
        registry.add("NoInvoices", names["no_invoices"])  # type: ignore[arg-type]
        warnings = make_gateway(registry).check({"save_process": "HeadersParser|NoInvoices"})
        self.assertEqual(len(warnings), 1)

    def test_embedding_is_python(self) -> None:
        _, embed = code_blocks(README, "python")
        compile(embed, "README.rst", "exec")

    def test_every_processor_is_named(self) -> None:
        for name in BUILTIN:
            self.assertTrue(re.search(rf"(?m)^{name}  ", README), name)
            self.assertIn(f"**{name}**", CONFIGURATION)


class ConfigurationTests(SynchronousTestCase):
    def test_backends(self) -> None:
        blocks = code_blocks(CONFIGURATION, "json")
        self.assertGreater(len(blocks), 5)
        for block in blocks:
            warnings = make_gateway(Registry(BUILTIN)).check(json.loads(block))
            self.assertEqual(warnings, [], block)

    def test_every_setting_is_described(self) -> None:
        for settings in SETTINGS:
            for name in settings.__struct_fields__:
                self.assertTrue(f"``{name}``" in CONFIGURATION, f"{settings.__name__}.{name}")

    def test_defaults_of_a_server(self) -> None:
        defaults = ServerConfig()
        for name in ("max_size", "timeout", "max_clients"):
            described = CONFIGURATION.partition(f"``{name}``\n")[2].partition("\n\n")[0]
            self.assertIn(str(getattr(defaults, name)), described)
