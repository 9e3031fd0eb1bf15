"""``python -m guerrilla_tw``."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw import __version__, commands
from guerrilla_tw.processors import BUILTIN

ROOT = Path(__file__).resolve().parent.parent

PLUGINS = """
from guerrilla_tw import ProcessorPlugin
one = ProcessorPlugin("Shouter", "shouting.shouter")
other = ProcessorPlugin("Whisperer", "no_such_module.whisperer")
"""
MODULE = '''
import msgspec
from guerrilla_tw import process_with

class ShouterConfig(msgspec.Struct):
    """:param shouter_volume: how loud."""
    shouter_volume: int

def shouter(svc):
    """Shout."""
    svc.extract_config(svc.config, ShouterConfig)
    return process_with(svc, lambda envelope, task: None)
'''


class CommandTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.stdout, self.stderr = StringIO(), StringIO()
        self.patch(sys, "stdout", self.stdout)
        self.patch(sys, "stderr", self.stderr)

    def run_command(self, *arguments: str) -> str:
        """Run a command that must succeed without a complaint."""
        status = commands.main(arguments)
        self.assertEqual((status, self.stderr.getvalue()), (0, ""))
        return self.stdout.getvalue()

    def refusal(self, *arguments: str, status: int = 1) -> str:
        """Run a command that must fail."""
        self.assertEqual(commands.main(arguments), status)
        self.assertEqual(self.stdout.getvalue(), "")
        return self.stderr.getvalue()

    def help_of(self, *arguments: str) -> str:
        """Run what is to end the process, as a success."""
        end = self.assertRaises(SystemExit, commands.main, arguments)
        self.assertIn(end.code, (0, None))
        return self.stdout.getvalue()


class HelpTests(CommandTestCase):
    def test_help_names_the_commands(self) -> None:
        text = self.help_of("--help")
        self.assertTrue(text.startswith("Usage: python -m guerrilla_tw COMMAND [options]\n"), text)
        for expected in ("processors  ", "create-table  ", "twistd guerrilla --config"):
            self.assertIn(expected, text)

    def test_help_of_a_command(self) -> None:
        for command, usage in (
            ("processors", "processors [options] [NAME]"),
            ("create-table", "create-table --config FILE [options]"),
        ):
            self.stdout.truncate(0)
            text = self.help_of(command, "--help")
            self.assertIn(f"Usage: python -m guerrilla_tw {usage}\n", text)

    def test_version(self) -> None:
        for arguments in (["--version"], ["processors", "--version"]):
            self.stdout.truncate(0)
            self.stdout.seek(0)
            self.assertEqual(self.help_of(*arguments), f"guerrilla_tw {__version__}\n")

    def test_no_command(self) -> None:
        self.assertIn("Usage: python -m guerrilla_tw COMMAND", self.refusal(status=2))

    def test_wrong_command_line(self) -> None:
        top, processors = "--help\n", "processors --help\n"
        for arguments, line, end in (
            (["procesors"], "Unknown command: procesors", top),
            (["--loud"], "option --loud not recognized", top),
            (["processors", "--loud"], "option --loud not recognized", processors),
            (["processors", "one", "two"], "Wrong number of arguments.", processors),
            (["create-table"], "create-table needs --config FILE", "create-table --help\n"),
        ):
            self.stderr.truncate(0)
            self.stderr.seek(0)
            text = self.refusal(*arguments, status=2)
            self.assertEqual(text, f"{line}\nTry: python -m guerrilla_tw {end}")


class ProcessorsTests(CommandTestCase):
    def test_every_built_in_is_listed(self) -> None:
        headings = [
            name
            for line in self.run_command("processors").splitlines()
            if line and not line.startswith(" ")
            for name in line.split(", ")
        ]
        self.assertEqual({*BUILTIN} - {*headings}, set())

    def test_fits_into_a_terminal(self) -> None:
        for line in self.run_command("processors").splitlines():
            self.assertLessEqual(len(line), 100)

    def test_one_processor(self) -> None:
        text = self.run_command("processors", "DEBUGGER")
        lines = text.splitlines()
        self.assertEqual(lines[0].lower(), "debugger")
        self.assertRegex(lines[1], r"\A    [A-Z].*\.\Z")
        self.assertIn("    log_received_mails: true or false, by default false", lines)
        self.assertIn("    sleep_seconds: a number, by default 0", lines)
        self.assertIn("        log a line for each message.", lines)
        self.assertNotIn("asher", text)

    def test_setting_that_must_be_there(self) -> None:
        text = self.run_command("processors", "maildir")
        self.assertIn("    maildir_path: a string, must be there\n", text)

    def test_json(self) -> None:
        (debugger,) = json.loads(self.run_command("processors", "--json", "debugger"))
        self.assertEqual(
            {name: debugger[name] for name in ("constructor", "problem")},
            {"constructor": "guerrilla_tw.processors.debugger.debugger", "problem": ""},
        )
        self.assertEqual(
            debugger["settings"][0],
            {
                "name": "log_received_mails",
                "type": "true or false",
                "required": False,
                "default": False,
                "text": "log a line for each message.",
            },
        )

    def test_unknown_name(self) -> None:
        line = self.refusal("processors", "Wildcart")
        self.assertRegex(
            line, r"(?i)\Aunknown processor 'Wildcart' \(did you mean wildcard\?\)\n\Z"
        )


class PluginTests(SynchronousTestCase):
    """Started as a user would, with plugins of his own."""

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.plugins = self.home / "twisted" / "plugins"
        self.plugins.mkdir(parents=True)
        (self.plugins / "shouting_plugin.py").write_text(PLUGINS)
        (self.home / "shouting.py").write_text(MODULE)

    def run_program(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "guerrilla_tw", *arguments],
            cwd=self.home,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{self.home}"},
            capture_output=True,
            text=True,
        )

    def processors(self) -> tuple[dict[str, Any], str]:
        """:returns: what is listed, by name, and what is complained of."""
        result = self.run_program("processors", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        infos = {name: info for info in json.loads(result.stdout) for name in info["names"]}
        return infos, result.stderr

    def test_plugin_is_listed(self) -> None:
        infos, complaints = self.processors()
        self.assertEqual(complaints, "")
        shouter = infos["Shouter"]
        self.assertEqual(shouter["summary"], "Shout.")
        (setting,) = shouter["settings"]
        self.assertEqual((setting["name"], setting["text"]), ("shouter_volume", "how loud."))

    def test_plugin_that_cannot_be_imported_is_told_in_its_place(self) -> None:
        result = self.run_program("processors", "Whisperer")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        name, problem = result.stdout.splitlines()
        self.assertEqual(name, "Whisperer")
        self.assertIn("CANNOT BE USED: ObjectNotFound: 'no_such_module.whisperer'", problem)

    def test_broken_plugin_file_is_told_in_one_line(self) -> None:
        (self.plugins / "broken_plugin.py").write_text("import a_missing_library\n")
        infos, complaints = self.processors()
        self.assertIn("Shouter", infos)
        (line,) = complaints.splitlines()
        self.assertIn("broken_plugin.py:1: ModuleNotFoundError: ", line)
        self.assertIn("a_missing_library", line)

    def test_plugin_file_that_is_no_python(self) -> None:
        (self.plugins / "broken_plugin.py").write_text("one\n)(\n")
        infos, complaints = self.processors()
        self.assertIn("Shouter", infos)
        self.assertRegex(complaints, r"\A\S*broken_plugin\.py:2: SyntaxError: .*\n\Z")

    def test_no_reactor_is_installed(self) -> None:
        """Nothing is run here that needs one, and the table may be made where none can be."""
        program = (
            "import sys; from guerrilla_tw.commands import main; main(['processors'])\n"
            "print('REACTOR', 'twisted.internet.reactor' in sys.modules)"
        )
        result = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        )
        self.assertEqual(result.stdout.splitlines()[-1], "REACTOR False")

    def test_status_of_a_mistake(self) -> None:
        result = self.run_program("processors", "Shoutr")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"(?i)did you mean shouter\?\)\n\Z")


class PipeTests(SynchronousTestCase):
    def test_reader_that_has_read_enough(self) -> None:
        """As in "processors | head": no traceback."""
        reading, writing = os.pipe()
        os.close(reading)
        result = subprocess.run(
            [sys.executable, "-m", "guerrilla_tw", "processors"],
            cwd=ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        self.assertEqual((result.returncode, result.stderr), (1, ""))


class FailureTests(CommandTestCase):
    def test_log_events_without_a_failure_are_not_told(self) -> None:
        commands.tell_failure({"log_format": "hello"})
        self.assertEqual(self.stderr.getvalue(), "")

    def test_failure_is_one_line(self) -> None:
        try:
            raise OSError("a\nb")
        except OSError:
            commands.tell_failure({"failure": Failure()})
        self.assertRegex(self.stderr.getvalue(), r"\A.*test_commands\.py:\d+: OSError: a\\nb\n\Z")


class CreateTableTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.database = str(self.directory / "mail.sqlite3")
        self.file = str(self.directory / "test.json")
        self.write(save_process="HeadersParser|Hasher|Header|Sql")

    def write(self, **changes: object) -> None:
        """Write the configuration."""
        backend_config = {"sql_dsn": self.database, "mail_table": "new_mail", **changes}
        Path(self.file).write_text(json.dumps({"backend_config": backend_config}))

    def tables(self) -> set[str]:
        with closing(sqlite3.connect(self.database)) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {name for (name,) in rows}

    def test_table_is_made(self) -> None:
        self.assertIn("new_mail", self.run_command("create-table", "--config", self.file))
        self.assertIn("new_mail", self.tables())

    def test_table_that_is_there_stays(self) -> None:
        self.run_command("create-table", "-c", self.file)
        self.assertIn("is there already", self.run_command("create-table", "-c", self.file))

    def test_statements_make_the_table(self) -> None:
        """And by themselves they have made nothing."""
        statements = self.run_command("create-table", "--print", "-c", self.file)
        self.assertEqual(os.listdir(self.directory), ["test.json"])
        with closing(sqlite3.connect(self.database)) as connection:
            connection.executescript(statements)
        self.assertIn("new_mail", self.tables())

    def test_no_table_is_wanted(self) -> None:
        self.write(save_process="HeadersParser")
        line = self.refusal("create-table", "-c", self.file)
        self.assertRegex(line, rf"\A{self.file}: backend_config\.save_process: [^\n]*\n\Z")

    def test_file_that_is_wrong(self) -> None:
        Path(self.file).write_text("{}}")
        self.assertRegex(self.refusal("create-table", "-c", self.file), rf"\A{self.file}: .*\n\Z")
        line = self.refusal("create-table", "--print", "-c", "missing.json").splitlines()[-1]
        self.assertEqual(line, "missing.json: cannot be read: No such file or directory")

    def test_database_that_cannot_be_opened(self) -> None:
        self.write(
            save_process="Sql", sql_dsn=str(self.directory / "no" / "such.sqlite3"), mail_table="m"
        )
        line = self.refusal("create-table", "-c", self.file)
        self.assertRegex(line, rf"\A{self.file}: cannot make table m in [^\n]*\n\Z")
