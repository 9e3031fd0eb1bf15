"""The reference leaves no setting, no reply and no name out, and has none that does not exist."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

import guerrilla_tw
from guerrilla_tw.backends.lanes import GatewayConfig
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.results import Result
from guerrilla_tw.config import Config, ServerConfig, TLSConfig, setting_names
from guerrilla_tw.inventory import list_processors
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.smtp import connection, replies
from guerrilla_tw.spool.settings import SpoolConfig
from guerrilla_tw.tap import Options
from tests.docs.blocks import DOCS, ROOT

LEVELS = {"": Config, "servers[].": ServerConfig, "servers[].tls.": TLSConfig}
# A reply, or a result, with its code and its enhanced code.
_SAID = re.compile(r"""(?:reply|Result)\(\s*(\d{3}), f?"(\d\.\d+\.\d+)?""")


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(name: str) -> list[dict[str, str]]:
    with (DOCS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def described(text: str) -> set[str]:
    """:returns: the settings that ``setting`` directives name."""
    found = re.findall(r"(?m)^ *\.\. setting:: (\w+(?:\n {16}\w+)*)", text)
    return {name for names in found for name in names.split()}


def processors_settings() -> set[str]:
    infos = list_processors(Registry(BUILTIN))
    return {setting.name for info in infos for setting in info.settings}


class SettingsTests(SynchronousTestCase):
    """Sphinx checks each of them where it stands; this needs no Sphinx."""

    def test_configuration(self) -> None:
        for part in read("configuration.rst").split(".. settings:: ")[1:]:
            kind = namedAny(part.partition("\n")[0])
            self.assertEqual(described(part), setting_names(kind), kind)

    def test_processors(self) -> None:
        self.assertEqual(described(read("processors.rst")), processors_settings())

    def test_every_processor_is_named(self) -> None:
        readme = (ROOT / "README.rst").read_text(encoding="utf-8")
        page = read("processors.rst")
        for name in BUILTIN:
            self.assertTrue(re.search(rf"(?m)^{name}  ", readme), name)
            self.assertTrue(re.search(rf"(?m)^(\.\. processor:: | {{15,}}){name}$", page), name)

    def test_reload(self) -> None:
        expected = {level + name for level, kind in LEVELS.items() for name in setting_names(kind)}
        backend = setting_names(GatewayConfig) | setting_names(SpoolConfig)
        backend |= processors_settings()
        expected |= {f"backend_config.{name}" for name in backend}
        names = [row["setting"] for row in rows("reload.csv")]
        self.assertEqual(sorted(names), sorted(expected))
        for row in rows("reload.csv"):
            self.assertIn(row["applied"], ("yes", "no"), row)
            self.assertNotEqual(row["note"], "", row)


def modules() -> Iterator[ModuleType]:
    for module in walk_packages(guerrilla_tw.__path__, "guerrilla_tw."):
        if "__main__" not in module.name:
            yield import_module(module.name)


class RepliesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rows = rows("replies.csv")

    def test_constants(self) -> None:
        known = {row["constant"] for row in self.rows}
        for module in modules():
            own = (value for value in vars(module).values() if isinstance(value, Result))
            said = [replies.from_result(value) for value in own]
            if module.__name__.startswith("guerrilla_tw.smtp."):
                said += [
                    value
                    for value in vars(module).values()
                    if isinstance(value, bytes) and re.match(rb"[2-5]\d\d .*\r\n\Z", value)
                ]
            for reply in said:
                self.assertIn(reply, self.documented(known), module.__name__)

    def documented(self, constants: set[str]) -> set[bytes]:
        values = {namedAny(f"guerrilla_tw.{name}") for name in constants if name}
        return {v if isinstance(v, bytes) else replies.from_result(v) for v in values}

    def test_codes(self) -> None:
        """Also of replies whose text is made when they are needed."""
        documented = self.documented({row["constant"] for row in self.rows})
        shown = [row["text"] for row in self.rows] + [reply.decode() for reply in documented]
        for path in sorted((ROOT / "guerrilla_tw").rglob("*.py")):
            for codes in _SAID.findall(path.read_text(encoding="utf-8")):
                said = " ".join(codes).rstrip()
                self.assertTrue(any(reply.startswith(said) for reply in shown), (path, said))

    def test_errors_that_count(self) -> None:
        """Those that are told to do so, and no others."""
        for row in self.rows:
            [reply] = self.documented({row["constant"]}) or {row["text"].encode()}
            counts = connection._IS_PROTOCOL_ERROR(reply) is not None
            self.assertEqual(counts, row["group"] == "protocol", row)

    def test_words(self) -> None:
        for row in self.rows:
            self.assertNotEqual(bool(row["constant"]), bool(row["text"]), row)
            self.assertTrue(row["when"].endswith("."), row)
            self.assertIn(f".. replies:: {row['group']}\n", read("replies.rst"))


class ManTests(SynchronousTestCase):
    def test_options(self) -> None:
        page = read("man.rst")
        options = Options()
        for name in ["help", "version", *options.keys()]:
            self.assertIn(f"**--{name}**", page)


class ApiTests(SynchronousTestCase):
    def test_every_name(self) -> None:
        """As it is to be imported, and no other."""
        shown = re.findall(r"(?m)^\.\. [\w:]+:: guerrilla_tw\.(\S+)$", read("api.rst"))
        self.assertEqual(sorted(shown), sorted({*dir(guerrilla_tw)} - {"__version__"}))


class TreeTests(SynchronousTestCase):
    def test_every_page_has_its_place(self) -> None:
        index = read("index.rst")
        for page in DOCS.glob("*.rst"):
            if page.stem != "index":
                self.assertTrue(re.search(rf"(?m)^   {page.stem}$", index), page.name)

    def test_links_of_pages_that_sphinx_does_not_read(self) -> None:
        for page in ROOT.glob("*.rst"):
            for target in re.findall(r"<([\w./-]+)>`_", page.read_text(encoding="utf-8")):
                self.assertTrue((ROOT / target).exists(), f"{page.name}: {target}")
