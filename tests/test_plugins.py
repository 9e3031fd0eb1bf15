"""Processors in somebody's own Twisted plugin file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent

PLUGIN = """
from guerrilla_tw import ProcessorPlugin
one = ProcessorPlugin("Shouter", "shouting.shouter")
other = ProcessorPlugin("Whisperer", "no_such_module.whisperer")
"""
MODULE = """
import msgspec
from guerrilla_tw import process_with

class ShouterConfig(msgspec.Struct):
    shouter_volume: int

def shouter(svc):
    svc.extract_config(svc.config, ShouterConfig)
    svc.declare_store()
    return process_with(svc, lambda envelope, task: None)
"""


class PluginTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.plugin_file = self.home / "twisted" / "plugins" / "shouting_plugin.py"
        self.plugin_file.parent.mkdir(parents=True)
        self.plugin_file.write_text(PLUGIN)
        (self.home / "shouting.py").write_text(MODULE)

    def check(self, save_process: str, **settings: object) -> tuple[int, str]:
        """
        Have the daemon check a configuration.

        :returns: exit status, and what it wrote to both its outputs.
        """
        config = {"backend_config": {"save_process": save_process, **settings}}
        (self.home / "config.json").write_text(json.dumps(config))
        result = subprocess.run(
            [sys.executable, "-m", "twisted", "guerrilla", "--config", "config.json", "--check"],
            cwd=self.home,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{self.home}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return result.returncode, result.stdout

    def assert_refused(self, save_process: str, cause: str) -> None:
        """One line, no traceback."""
        self.assertEqual(
            self.check(save_process, shouter_volume=11),
            (1, f"config.json: backend_config.save_process: {cause}\n"),
        )

    def test_is_found_by_its_name_in_any_case(self) -> None:
        """And the other plugin of the file, which nobody names, is not loaded."""
        output = self.check("HeadersParser|SHOUTER", shouter_volume=11)
        self.assertEqual(output, (0, "config.json: OK\n"))

    def test_own_setting_is_checked(self) -> None:
        output = self.check("Shouter", shouter_volume="loud")
        cause = "backend_config.shouter_volume: expected a whole number, got a string"
        self.assertEqual(output, (1, f"config.json: {cause}\n"))

    def test_nearest_name(self) -> None:
        cause = "unknown processor 'Shouters' (did you mean shouter?)"
        self.assert_refused("Shouters", cause)

    def test_module_is_missing(self) -> None:
        cause = "ObjectNotFound: 'no_such_module.whisperer' does not name an object"
        self.assert_refused("Whisperer", f"Whisperer cannot be made: {cause}")

    def test_module_cannot_be_imported(self) -> None:
        (self.home / "shouting.py").write_text("import a_missing_library\n")
        cause = "ModuleNotFoundError: No module named 'a_missing_library'"
        self.assert_refused("Shouter", f"Shouter cannot be made: {cause}")

    def test_constructor_fails(self) -> None:
        (self.home / "shouting.py").write_text("def shouter(svc): raise OSError('no\\nvoice')\n")
        self.assert_refused("Shouter", "Shouter cannot be made: OSError: no\\nvoice")

    def test_broken_plugin_file_is_told_last(self) -> None:
        """Twisted, which reads it, writes a traceback; what comes of it for us is one line."""
        self.plugin_file.write_text("import a_missing_library\n")
        status, output = self.check("Shouter")
        self.assertEqual(status, 1)
        self.assertIn("a_missing_library", output)
        last = "config.json: backend_config.save_process: unknown processor 'Shouter'"
        self.assertIn(last, output.splitlines()[-1])
