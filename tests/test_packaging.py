"""The distributions hold what they must, and what they hold works away from the source tree."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import guerrilla_tw

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "twisted/plugins/guerrilla_plugin.py"
NOT_SOURCE = shutil.ignore_patterns(
    *(".git", ".venv", ".*_cache", ".hypothesis", ".coverage*", "_trial_temp*"),
    *("build", "dist", "*.egg-info", "__pycache__"),
)


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """
    Run a program that must succeed.

    :returns: what it wrote to both its outputs.
    """
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode != 0:
        raise AssertionError(f"status {result.returncode} from {command}:\n{result.stdout}")
    return result.stdout


@functools.cache
def distributions() -> tuple[Path, Path]:
    """
    Build once for all tests, from a copy, since a build leaves directories in the tree.

    :returns: the sdist, and the wheel that was built from that sdist.
    """
    # The current directory is trial's, which the next run removes.
    base = Path(tempfile.mkdtemp(dir=os.getcwd()))
    shutil.copytree(ROOT, base / "tree", ignore=NOT_SOURCE)
    # Without isolation, because that would fetch setuptools from the network.
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", base / "out")
    run(*build, base / "tree", cwd=base)
    (sdist,) = (base / "out").glob("*.tar.gz")
    (wheel,) = (base / "out").glob("*.whl")
    return sdist, wheel


def sources(directory: str) -> set[str]:
    """:returns: the paths of the Python files in a directory of the tree, relative to the tree."""
    return {str(path.relative_to(ROOT)) for path in (ROOT / directory).rglob("*.py")}


class WheelTests(SynchronousTestCase):
    def setUp(self) -> None:
        with zipfile.ZipFile(distributions()[1]) as wheel:
            self.names = set(wheel.namelist())
            (metadata,) = (name for name in self.names if name.endswith(".dist-info/METADATA"))
            self.metadata = message_from_bytes(wheel.read(metadata))

    def test_holds_package_and_plugin_and_nothing_else(self) -> None:
        """In particular no ``twisted/__init__.py``, which would overwrite Twisted's own."""
        ours = {name for name in self.names if ".dist-info/" not in name}
        self.assertEqual(ours, sources("guerrilla_tw") | {PLUGIN, "guerrilla_tw/py.typed"})

    def test_version_is_that_of_the_package(self) -> None:
        self.assertEqual(self.metadata["Name"], "guerrilla-tw")
        self.assertEqual(self.metadata["Version"], guerrilla_tw.__version__)


class SdistTests(SynchronousTestCase):
    def test_holds_plugin_package_and_tests(self) -> None:
        with tarfile.open(distributions()[0]) as sdist:
            names = {name.partition("/")[2] for name in sdist.getnames()}
        needed = sources("guerrilla_tw") | sources("tests") | sources("tools")
        needed |= {PLUGIN, "Makefile", "LICENSE", "setup.cfg"}
        self.assertEqual(needed - names, set())


class InstalledTests(SynchronousTestCase):
    """In a fresh virtual environment that holds the wheel, from an empty directory."""

    def setUp(self) -> None:
        base = Path(self.mktemp())
        venv.create(base / "venv", symlinks=True)
        self.python = (base / "venv" / "bin" / "python").absolute()
        (site_packages,) = (base / "venv" / "lib").glob("python*/site-packages")
        with zipfile.ZipFile(distributions()[1]) as wheel:
            wheel.extractall(site_packages)
        # The dependencies are those of this environment. A .pth file that lies in a directory which
        # a .pth file names is not read, so the one that shows our own tree stays without effect.
        places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
        (site_packages / "dependencies.pth").write_text("\n".join(sorted(places)))
        self.empty = base / "empty"
        self.empty.mkdir()

    def python_output(self, *arguments: str) -> str:
        return run(self.python, *arguments, cwd=self.empty, PYTHONPATH="")

    def test_is_the_wheel_and_not_the_tree(self) -> None:
        """Else the other tests of this class prove nothing."""
        where = self.python_output("-c", "import guerrilla_tw; print(guerrilla_tw.__file__)")
        self.assertIn(str(self.python.parent.parent), where)

    def test_twistd_lists_the_command(self) -> None:
        # This is all that the console script does.
        script = "from twisted.scripts.twistd import run; run()"
        self.assertRegex(self.python_output("-c", script, "--help"), r"(?m)^ +guerrilla +An SMTP")

    def test_module_twisted_lists_the_command(self) -> None:
        listing = self.python_output("-m", "twisted", "--help")
        self.assertRegex(listing, r"(?m)^ +guerrilla +An SMTP")

    def test_command_loads(self) -> None:
        self.assertIn("--config", self.python_output("-m", "twisted", "guerrilla", "--help"))


class ImportTests(SynchronousTestCase):
    """Whoever imports us first may still choose the reactor."""

    def assert_no_reactor(self, module: str) -> None:
        script = f"import sys, {module}; print('twisted.internet.reactor' in sys.modules)"
        output = run(sys.executable, "-c", script, cwd=Path.cwd(), PYTHONPATH=str(ROOT))
        self.assertEqual(output, "False\n")

    def test_package_installs_no_reactor(self) -> None:
        self.assert_no_reactor("guerrilla_tw")

    def test_plugin_installs_no_reactor(self) -> None:
        self.assert_no_reactor("twisted.plugins.guerrilla_plugin")
