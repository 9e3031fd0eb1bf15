"""The files for systemd, Docker and certbot, as far as they can be tried without them."""

from __future__ import annotations

import grp
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.gateway import WORK_TIMEOUT
from guerrilla_tw.config import Config
from tests.integration.daemon_process import DaemonTestCase, free_port
from tests.integration.programs import DEADLINE, find_program
from tools.requirements import requirements

ROOT = Path(__file__).resolve().parent.parent
SYSTEMD = ROOT / "examples" / "systemd"
DOCKERFILE = (ROOT / "examples" / "Dockerfile").read_text(encoding="utf-8")


def parse(command: Sequence[str]) -> ServerOptions:
    """Read a command line as twistd would."""
    assert Path(command[0]).name == "twistd", command
    options = ServerOptions()
    options.parseOptions(list(command[1:]))
    return options


class SystemdTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.unit = ConfigParser(strict=False, interpolation=None)
        # An option may be there several times.
        self.unit.optionxform = str  # type: ignore[assignment, method-assign]
        self.unit.read(SYSTEMD / "guerrilla.service")
        self.service = self.unit["Service"]

    def test_command_line(self) -> None:
        options = parse(shlex.split(self.service["ExecStart"]))
        self.assertEqual((options["nodaemon"], options["pidfile"]), (1, ""))
        self.assertEqual(options.subCommand, "guerrilla")
        self.assertEqual(options.subOptions["config"], "/etc/guerrilla/guerrilla.json")

    def test_stop_has_the_time_that_it_needs(self) -> None:
        needed = Config().shutdown_timeout + WORK_TIMEOUT
        self.assertGreater(int(self.service["TimeoutStopSec"]), needed)

    def analyze(self, *arguments: str) -> str:
        """Let systemd judge the units, with programs that are there. :returns: what it says."""
        program = find_program("systemd-analyze")
        directory = Path(self.mktemp()).absolute()
        shutil.copytree(SYSTEMD, directory)
        unit = directory / "guerrilla.service"
        text = unit.read_text().replace("/opt/guerrilla/bin/twistd", sys.executable)
        unit.write_text(text)
        result = subprocess.run(
            [program, *arguments, "./guerrilla.service", "./guerrilla.socket"],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
        return f"{result.returncode}\n{result.stdout}"

    def test_systemd_understands_it(self) -> None:
        self.assertEqual(self.analyze("verify", "--man=no"), "0\n")


class DockerfileTests(DaemonTestCase):
    def test_what_is_copied_is_there(self) -> None:
        copied = re.findall(r"^COPY ((?!--).*) \S+$", DOCKERFILE, re.MULTILINE)
        names = " ".join(copied).split()
        self.assertIn("guerrilla_tw", names)
        for name in names:
            self.assertTrue((ROOT / name).exists(), name)

    def test_command_line(self) -> None:
        command = [*_exec_form("ENTRYPOINT"), *_exec_form("CMD")]
        options = parse(command)
        self.assertEqual((options["nodaemon"], options["pidfile"]), (1, ""))
        self.assertEqual(options.subOptions["config"], "/etc/guerrilla/guerrilla.json")

    def test_extras(self) -> None:
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg")
        known = setup["options.extras_require"]
        for extras in re.findall(r"\[([a-z,]+)\]\"", DOCKERFILE):
            for extra in extras.split(","):
                self.assertIn(extra, known)

    def test_health_check(self) -> None:
        command = _exec_form(r" +CMD")
        self.assertEqual(command[:2], ["python", "-c"])
        process = self.start()
        for port, status in ((process.port(), 0), (free_port(), 1)):
            code = command[2].replace("2525", str(port))
            self.assertNotEqual(code, command[2])
            result = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, timeout=DEADLINE
            )
            self.assertEqual(result.returncode, status)
        self.assert_clean(process)


class PinsTests(SynchronousTestCase):
    """What the image is made of, besides us."""

    def setUp(self) -> None:
        text = (ROOT / "examples" / "requirements.txt").read_text(encoding="utf-8")
        pins = re.findall(
            r"^([^#\s][^\s\\]*)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", text, re.M
        )
        self.pins = {canonicalize_name(pin.partition("==")[0]): pin for pin, _ in pins}
        # Nothing is there without a hash.
        self.assertEqual(len(pins), len(re.findall("^[^#\\s]", text, re.MULTILINE)))

    def assert_pinned(self, text: str, of: str) -> None:
        """A requirement is fulfilled, if it is one here."""
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            pin = self.pins.get(canonicalize_name(wanted.name))
            self.assertIsNotNone(pin, f"{of} needs {wanted}: make pins")
            version = str(pin).partition("==")[2]
            self.assertTrue(wanted.specifier.contains(version), f"{of} needs {wanted}, not {pin}")

    def test_what_setup_cfg_asks_for(self) -> None:
        setup_cfg = (ROOT / "setup.cfg").read_text(encoding="utf-8")
        for text in requirements(setup_cfg, without=["bench", "dev", "fuzz"]):
            self.assert_pinned(text, "setup.cfg")

    def test_what_these_ask_for(self) -> None:
        """By what the installed ones say, which are about as new."""
        for name in self.pins:
            try:
                texts = metadata.requires(name)
            except metadata.PackageNotFoundError:
                continue
            for text in texts or ():
                self.assert_pinned(text, name)

    def test_image_is_made_of_these(self) -> None:
        self.assertIn("COPY examples/requirements.txt ./\n", DOCKERFILE)
        (built,) = re.findall(
            r"^RUN pip wheel .*--requirement requirements.txt$", DOCKERFILE, re.MULTILINE
        )
        self.assertIn(" --require-hashes ", built)
        self.assertIn(" --no-index ", DOCKERFILE)


class CertbotTests(SynchronousTestCase):
    """The hook, for this user's group and other directories; a systemctl that writes it down."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        programs = self.directory / "bin"
        programs.mkdir(parents=True)
        systemctl = programs / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "$@" >> {self.directory}/told\n')
        systemctl.chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        text = (ROOT / "examples" / "certbot-hook.sh").read_text(encoding="utf-8")
        group = grp.getgrgid(os.getegid()).gr_name
        for example, here in (
            ("--group=guerrilla", f"--group={group}"),
            ("/etc/guerrilla", str(self.directory)),
        ):
            self.assertIn(example, text)
            text = text.replace(example, here)
        self.hook = self.directory / "hook"
        self.hook.write_text(text)

    def run_hook(self, certificate: str) -> int:
        lineage = self.directory / "lineage"
        lineage.mkdir(exist_ok=True)
        for name in ("privkey.pem", "fullchain.pem") if certificate else ():
            (lineage / name).write_text(f"{name} {certificate}")
        return subprocess.run(
            ["/bin/sh", self.hook],
            env={**self.environment, "RENEWED_LINEAGE": str(lineage)},
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE,
        ).returncode

    def test_each_certificate_is_handed_over(self) -> None:
        files = self.directory / "tls"
        for certificate in ("first", "renewed"):
            self.assertEqual(self.run_hook(certificate), 0)
            key, chain = files / "key.pem", files / "certificate.pem"
            self.assertEqual(key.read_text(), f"privkey.pem {certificate}")
            self.assertEqual(chain.read_text(), f"fullchain.pem {certificate}")
            self.assertEqual(
                (files.stat().st_mode & 0o777, key.stat().st_mode & 0o777), (0o750, 0o640)
            )
        told = (self.directory / "told").read_text()
        self.assertEqual(told, "try-reload-or-restart guerrilla\n" * 2)

    def test_nothing_is_reloaded_where_there_is_none(self) -> None:
        self.assertNotEqual(self.run_hook(""), 0)
        self.assertFalse((self.directory / "told").exists())

    def test_paths_are_those_of_the_documentation(self) -> None:
        page = (ROOT / "docs" / "getting-started.rst").read_text(encoding="utf-8")
        hook = (ROOT / "examples" / "certbot-hook.sh").read_text(encoding="utf-8")
        for path in ("/etc/guerrilla/tls/key.pem", "/etc/guerrilla/tls/certificate.pem"):
            self.assertIn(f'"{path}"', page)
            self.assertIn(path, hook)


def _exec_form(instruction: str) -> list[str]:
    """:returns: the words of an instruction that has them as JSON."""
    found = re.search(rf"^{instruction} (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found is not None, instruction
    words: list[str] = json.loads(found[1])
    return words
