"""Every block of code in the documentation is checked, or run by a test that is named here."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw import testing
from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.config import ConfigError, parse_config
from guerrilla_tw.processors import BUILTIN
from tests.docs.blocks import (
    DOCS,
    PAGES,
    ROOT,
    Block,
    blocks_of,
    find_blocks,
    python_blocks,
)
from tests.docs.commands import BadCommand, check_command, split_commands

# A page, and how a block begins in it that is for people to look at.
PICTURES = {
    ("architecture.rst", "twisted/plugins/guerrilla_plugin.py"),
    ("architecture.rst", "tap | commands"),
    ("architecture.rst", "   client"),
    ("architecture.rst", "fallback:  client"),
    ("architecture.rst", "Recorded, ESMTP <- SMTPFlow"),
}
# The same of a block in the language of another program, and the test that gives it to it.
OTHERS = {
    ("README.rst", "config.json: servers[0].max_sise"): "tests.docs.test_blocks.SaidTests",
    ("getting-started.rst", "example.com."): "tests.docs.test_blocks.SaidTests",
    ("logging.rst", "connection client_ip="): "tests.smtp.test_journal.DocumentedTests",
    ("logging.rst", "[Definition]"): "tests.smtp.test_journal.DocumentedTests",
    ("logging.rst", "2026-"): "tests.logs.test_documented.DocumentedTests",
    ("logging.rst", '{"time":'): "tests.logs.test_documented.DocumentedTests",
    ("life.rst", "guerrilla.json: log_file: "): "tests.logs.test_logs.UserTests",
    ("life.rst", "config.json: servers: max_clients"): "tests.test_process.FileLimitTests",
    ("life.rst", "worker 1 serves"): "tests.processes.test_keeper.KeeperTests",
    ("life.rst", "Status: "): "tests.integration.test_life.NotifyTests",
    ("maildiranasaurus/README.rst", "{"): "tests.test_maildiranasaurus.ReadmeTests",
    ("maildiranasaurus/README.rst", "daemon.add"): "tests.test_examples.MyFooTests",
    ("proxies.rst", "defaults"): "tests.integration.test_proxies.HAProxyTests",
    ("proxies.rst", "events {}\n\nstream {"): "tests.integration.test_proxies.NginxStreamTests",
    ("proxies.rst", "events {}\n\nhttp {"): "tests.integration.test_proxies.NginxMailTests",
}
# Files that pages show as they are, and what runs them.
INCLUDED = {
    "certbot-hook.sh": "tests.test_deployment.CertbotTests",
    "embedding/asyncio_program.py": "tests.test_embedding_examples.AsyncioTests",
    "embedding/daemon.tac": "tests.test_embedding_examples.ApplicationTests",
    "embedding/newsletter.py": "tests.test_embedding_examples.TestsOfOthersTests",
    "embedding/test_invitation.py": "tests.test_embedding_examples.TestsOfOthersTests",
    "embedding/test_newsletter.py": "tests.test_embedding_examples.TestsOfOthersTests",
    "embedding/web_site.py": "tests.test_embedding_examples.WebSiteTests",
    "logrotate": "tests.integration.test_logging.LogrotateTests",
    "my_foo.py": "tests.test_examples.MyFooTests",
}


def make_gateway(processors: dict[str, Any] | None = None) -> Gateway:
    registry = Registry(BUILTIN)
    for name, constructor in (processors or {}).items():
        registry.add(name, constructor)
    return Gateway(registry, Clock(), Logger("test"))  # type: ignore[arg-type]


def check_json(block: Block) -> None:
    """A whole configuration, a ``backend_config``, or settings of a server."""
    text = block.text if block.text.startswith("{") else f"{{{block.text}}}"
    settings = json.loads(text)
    if "save_process" in settings:
        assert make_gateway().check(settings) == [], block
    elif {"allowed_hosts", "backend_config", "servers"} & settings.keys():
        loaded = parse_config(text.encode(), str(block))
        assert loaded.warnings == (), loaded.warnings
        assert make_gateway().check(loaded.config.backend_config) == [], block
    else:
        wrapped = json.dumps({"servers": [{"is_enabled": True, **settings}]})
        assert parse_config(wrapped.encode(), str(block)).warnings == (), block


def check_python(block: Block) -> None:
    """It can be compiled, and what it imports of ours is there."""
    for node in ast.walk(ast.parse(block.text, str(block))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("guerrilla_tw"):
            module = import_module(node.module or "")
            for name in node.names:
                assert hasattr(module, name.name), f"{block}: {node.module} has no {name.name}"


def check_commands(block: Block) -> None:
    for words in split_commands(block.text, prompted=block.language == "console"):
        check_command(words)


CHECKS: dict[str, Callable[[Block], None]] = {
    "json": check_json,
    "python": check_python,
    "console": check_commands,
}


def beginning(block: Block, among: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """:returns: the one that says how this block begins; None if none of them does."""
    found = [(page, text) for page, text in among if block.page == page]
    return next(((page, text) for page, text in found if block.text.startswith(text)), None)


class BlockTests(SynchronousTestCase):
    def test_every_block(self) -> None:
        """One that no rule is for fails."""
        for page in PAGES:
            for block in find_blocks(page):
                if beginning(block, [*PICTURES, *OTHERS]) is None:
                    self.check(block)

    def test_every_block_says_what_it_is(self) -> None:
        """Sphinx takes one without a language for text, and the rules do not see it."""
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            bare = r"(?m)^ *\.\. (?:(?:code-block|sourcecode)::$|(?:code|sourcecode)::)"
            self.assertNotRegex(text, bare, str(page))

    def test_docstrings_that_the_pages_show(self) -> None:
        checked = 0
        for name in testing.__all__:
            for block in blocks_of(name, inspect.getdoc(getattr(testing, name)) or ""):
                check_python(block)
                checked += 1
        self.assertGreater(checked, 3)

    def check(self, block: Block) -> None:
        check = CHECKS.get(block.language)
        if check is None and block.language in ("", "sh"):
            check = check_json if block.text[0] in '"{' else check_commands
        if check is None:
            self.fail(f"{block}: no rule for {block.language}")
        try:
            check(block)
        except (BadCommand, ConfigError, ValueError) as error:
            self.fail(f"{block}: {error}")

    def test_rules_are_for_something(self) -> None:
        blocks = [block for page in PAGES for block in find_blocks(page)]
        used = {beginning(block, [*PICTURES, *OTHERS]) for block in blocks}
        self.assertEqual({*PICTURES, *OTHERS} - used, set())

    def test_tests_that_are_named(self) -> None:
        for name in (*OTHERS.values(), *INCLUDED.values()):
            self.assertIsNotNone(namedAny(name))

    def test_included_files(self) -> None:
        directive = re.compile(r"\.\. literalinclude:: \.\./examples/(\S+)")
        included = {
            name for page in PAGES for name in directive.findall(page.read_text(encoding="utf-8"))
        }
        self.assertEqual(included, set(INCLUDED))


class SaidTests(SynchronousTestCase):
    """What is shown as somebody's words."""

    def test_error_of_a_configuration(self) -> None:
        block = self.find("README.rst", "config.json: ")
        with self.assertRaises(ConfigError) as caught:
            parse_config(b'{"servers": [{"max_sise": 1}]}', "config.json")
        self.assertEqual(f"{caught.exception}\n", block.text)

    def test_zone(self) -> None:
        """The host of the MX record is the server's, and has addresses."""
        page = DOCS / "getting-started.rst"
        zone = self.find(page.name, "example.com.").text
        records = [line.split() for line in zone.splitlines()]
        hosts = {
            json.loads(block.text).get("host_name")
            for block in find_blocks(page)
            if block.language == "json"
        }
        (exchanger,) = [value.rstrip(".") for _, _, kind, *_, value in records if kind == "MX"]
        self.assertIn(exchanger, hosts)
        for name, _, kind, *_, value in records:
            if kind != "MX":
                self.assertEqual(name, f"{exchanger}.")
                self.assertEqual(ip_address(value).version, {"A": 4, "AAAA": 6}[kind])

    def find(self, page: str, text: str) -> Block:
        (path,) = [path for path in (ROOT / page, DOCS / page) if path in PAGES]
        (block,) = [block for block in find_blocks(path) if block.text.startswith(text)]
        return block


class WritingAProcessorTests(SynchronousTestCase):
    """The tutorial, from its first block to its last."""

    def setUp(self) -> None:
        blocks = python_blocks(DOCS / "writing-a-processor.rst")
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.file = self.directory / "test_tutorial.py"
        # As the page says.
        texts = ["from __future__ import annotations", *(block.text for block in blocks)]
        self.file.write_text("\n\n".join(texts), encoding="utf-8")

    def load(self) -> dict[str, Any]:
        """:returns: what it defines."""
        spec = spec_from_file_location("test_tutorial", self.file)
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        # Where msgspec looks for the types of a setting.
        self.patch(sys, "modules", {**sys.modules, "test_tutorial": module})
        spec.loader.exec_module(module)
        return vars(module)

    def test_processors(self) -> None:
        names = self.load()
        processors = ("no_invoices", "staff_only", "tarpit", "limiter", "journal", "ledger")
        gateway = make_gateway({name.replace("_", ""): names[name] for name in processors})
        settings = {
            "save_process": "HeadersParser|NoInvoices|Tarpit|Limiter|Journal|Ledger",
            "validate_process": "StaffOnly",
            "limiter_recipients": 3,
            "limiter_pause": "1m",
        }
        (warning,) = gateway.check(settings)
        self.assertIn("NO PROCESSOR STORES MAIL", warning)
        with self.assertRaises(ConfigError) as caught:
            gateway.check({**settings, "limiter_recipients": 0})
        self.assertEqual(caught.exception.path, "backend_config.limiter_recipients")

    def test_its_tests(self) -> None:
        """With trial, as whoever copies them would run them."""
        trial = subprocess.run(
            [sys.executable, "-m", "twisted.trial", "test_tutorial"],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{self.directory}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.assertEqual(trial.returncode, 0, trial.stdout)
        self.assertIn("PASSED (successes=4)", trial.stdout)


class ReadmeTests(SynchronousTestCase):
    def test_programs(self) -> None:
        processor, program = python_blocks(ROOT / "README.rst")
        names: dict[str, Any] = {}
        exec(processor.text, names)  # ours
        gateway = make_gateway({"NoInvoices": names["no_invoices"]})
        self.assertEqual(len(gateway.check({"save_process": "HeadersParser|NoInvoices"})), 1)
        exec(program.text, names)  # ours
        self.assertEqual(names["daemon"].config.allowed_hosts, ("example.com",))
        self.assertEqual(list(names["daemon"].check()), [])


class RulesTests(SynchronousTestCase):
    """The rules find what is wrong."""

    def test_commands(self) -> None:
        for line in (
            "make runn",
            "make run CONFG=x",
            "twistd guerrilla --confg x",
            "twistd --nodaemn guerrilla",
            "twistd --nodaemon",
            "python -m twisted guerrila",
            "python -m guerrilla_tw procesors",
            "python -m nothing",
            "python -m tests.nothing",
            "python -m pip list",
            "python examples/nothing.py",
            "python examples/make_certificate.py --nothing",
            "python -m bench --nothing",
            "python -m bench nothing",
            "pip install '.[nothing]'",
            "trial tests.smtp.nothing",
            "swaks --nothing",
            "kill -9 1",
            "docker build --file nothing .",
            "nothing",
        ):
            with self.assertRaises(BadCommand, msg=line):
                (words,) = split_commands(line, prompted=False)
                check_command(words)
        with self.assertRaises(SyntaxError):
            check_command(["python3", "-c", "1 +"])

    def test_output(self) -> None:
        for text in ("guerrilla\n", "$ echo 'x\n", "$ make run\nDone.\n"):
            with self.assertRaises(BadCommand, msg=text):
                list(split_commands(text, prompted=True))
        text = "$ A=1 make run \\\n    CONFIG=x | cat && ls\nx: OK\n# kill -HUP 1\n"
        self.assertEqual(
            list(split_commands(text, prompted=True)),
            [["make", "run", "CONFIG=x"], ["cat"], ["ls"], ["kill", "-HUP", "1"]],
        )

    def test_blocks(self) -> None:
        page = Path(self.mktemp())
        page.write_text(
            "Look::\n\n  a\n\n   b\n\nThen\n\n- Here:\n\n  .. code-block:: json\n     :name: x\n\n"
            "     {}\n\n  more\n\n.. code-block:: python\n\n   x\n"
        )
        found = [(block.line, block.language, block.text) for block in find_blocks(page)]
        self.assertEqual(found, [(3, "", "a\n\n b\n"), (14, "json", "{}\n"), (20, "python", "x\n")])

    def test_json(self) -> None:
        for text in (
            '{"save_process": "Nothing"}',
            '{"save_process": "HeadersParser"}',
            '{"allowed_hosts": "x"}',
            '{"backend_name": "dummy"}',
            '{"servers": [{"is_enabled": true, "max_sise": 1}]}',
            '"max_sise": 1',
            '{"max_size": 1,}',
        ):
            with self.assertRaises((AssertionError, ValueError), msg=text):
                check_json(Block("page", 1, "json", text))

    def test_python(self) -> None:
        for text in ("from guerrilla_tw import Nothing", "x ="):
            with self.assertRaises((AssertionError, SyntaxError), msg=text):
                check_python(Block("page", 1, "python", text))
