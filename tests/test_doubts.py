"""What just anybody could change or read is told, and what gives root away is refused."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw import Guerrilla
from guerrilla_tw.config import Config, ConfigError, ServerConfig, TLSConfig
from guerrilla_tw.doubts import doubts, doubts_about_file
from tests.smtp.certificates import issue
from twisted import plugins

CHAIN = {"save_process": "HeadersParser", "validate_process": "Wildcard"}


class DoubtsTestCase(SynchronousTestCase):
    """A directory that others may enter, and one in it where they may write."""

    def setUp(self) -> None:
        # Those above trial's own may be closed to others.
        self.directory = Path(tempfile.mkdtemp(prefix="guerrilla-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.directory.chmod(0o755)
        self.open = self.directory / "open"
        self.open.mkdir()
        self.open.chmod(0o777)
        # What the tests run in is not looked at.
        self.patch(sys, "path", [str(self.directory)])
        self.patch(sys, "argv", ["twistd"])
        self.patch(plugins, "__path__", [])

    @property
    def told(self) -> str:
        return f"everybody can write to {self.open}"


class CodeTests(DoubtsTestCase):
    def assert_told(self) -> None:
        self.assertEqual(doubts(Config()), [f"{self.told}, where code is read from"])

    def test_nothing(self) -> None:
        self.assertEqual(doubts(Config()), [])

    def test_modules(self) -> None:
        """Once for all that are there, or could be."""
        sys.path.extend(map(str, (self.open, self.open / "a", self.open / "b.zip")))
        self.assert_told()

    def test_current_directory(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.open)
        sys.path.append("")
        self.assert_told()

    def test_plugins(self) -> None:
        self.patch(plugins, "__path__", [str(self.open / "twisted" / "plugins")])
        self.assert_told()

    def test_application(self) -> None:
        for words in (["-noy", f"{self.open}/my.tac"], [f"--python={self.open}/my.tac"]):
            self.patch(sys, "argv", ["twistd", *words])
            self.assert_told()


class ConfigurationFileTests(DoubtsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory / "config.json"
        self.path.write_text(json.dumps({"backend_config": CHAIN}))
        self.path.chmod(0o644)

    def test_nothing(self) -> None:
        self.assertEqual(doubts_about_file(str(self.path)), [])

    def test_directory(self) -> None:
        path = self.open / "config.json"
        self.path.rename(path)
        (told,) = doubts_about_file(str(path))
        self.assertEqual(told, f"{self.told}, where the configuration is read from")

    def test_file(self) -> None:
        self.path.chmod(0o666)
        self.patch(os, "geteuid", lambda: 54321)
        (told,) = doubts_about_file(str(self.path))
        expected = f"everybody can write to {self.path}, where the configuration is read from"
        self.assertEqual(told, expected)

    def test_file_of_roots(self) -> None:
        """Where log files are, for one thing, is said in it."""
        self.path.chmod(0o666)
        self.patch(os, "geteuid", lambda: 0)
        for path in (self.path, self.directory / "link"):
            if path != self.path:
                path.symlink_to(self.path)
            error = self.assertRaises(ConfigError, Guerrilla, str(path))
            self.assertEqual(
                str(error),
                f"{path}: everybody can write to {self.path}, and would have root's rights by that",
            )

    def test_check(self) -> None:
        self.path.write_text(
            json.dumps({"backend_config": {**CHAIN, "wildcard_file": str(self.open / "hosts")}})
        )
        os.chmod(self.directory, 0o777)
        sys.path.clear()
        warnings = Guerrilla(str(self.path)).check()
        told = f"everybody can write to {self.directory}"
        self.assertEqual(warnings[0], f"{told}, where the configuration is read from")
        self.assertIn(f"backend_config.validate_process: Wildcard: {told}", warnings)


class NamedFilesTests(DoubtsTestCase):
    def tell(self, **changes: Any) -> list[str]:
        return doubts(Config(servers=(ServerConfig(is_enabled=True, **changes),)))

    def test_log_files(self) -> None:
        path = str(self.open / "log")
        self.assertEqual(doubts(Config(log_file=path)), [f"log_file: {self.told}"])
        self.assertEqual(self.tell(log_file=path), [f"servers[0].log_file: {self.told}"])
        self.assertEqual(self.tell(log_file=str(self.directory / "log")), [])

    def test_private_key(self) -> None:
        files: Any = issue("mail.example.com").write(self.directory, "server")
        key = Path(files["private_key_file"])
        tls = TLSConfig(start_tls_on=True, **files)
        key.chmod(0o644)
        expected = [f"servers[0].tls.private_key_file: everybody can read {key}"]
        self.assertEqual(self.tell(tls=tls), expected)
        # As Debian has it, for a group that may.
        key.chmod(0o640)
        self.assertEqual(self.tell(tls=tls), [])
        Path(files["public_key_file"]).chmod(0o666)
        (told,) = self.tell(tls=tls)
        expected_told = f"servers[0].tls: everybody can write to {files['public_key_file']}"
        self.assertEqual(told, expected_told)

    def test_server_that_is_not_enabled(self) -> None:
        other = ServerConfig(is_enabled=True, listen_interface="127.0.0.1:2526")
        server = ServerConfig(is_enabled=False, log_file=str(self.open / "log"))
        self.assertEqual(doubts(Config(servers=(server, other))), [])

    def test_what_cannot_be_found_out(self) -> None:
        """By who has given up root's rights: the start has told."""
        circle = self.directory / "circle"
        circle.symlink_to(circle)
        self.assertEqual(self.tell(log_file=str(circle)), [])
