"""Pid file, limits, and words to the service manager."""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys
from pathlib import Path
from unittest import mock

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import Config, ConfigError, ServerConfig
from guerrilla_tw.pid_file import PidFile
from guerrilla_tw.process import OWN_FILES, check_file_limit, notify, raise_file_limit
from tests.test_users import UserTestCase

OURS = f"{os.getpid()}\n"
REFUSED = "Permission denied for user nobody"


class PidFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.file = PidFile(str(self.path))

    def write(self) -> None:
        self.file.take()
        self.file.write()

    def assert_refused(self, cause: str) -> None:
        error = self.assertRaises(ConfigError, self.file.take)
        path = os.path.abspath(self.file.path)
        self.assertEqual(str(error), f"pid_file: {path} cannot be written: {cause}")

    def test_is_there_until_it_is_removed(self) -> None:
        self.write()
        self.assertEqual(self.path.read_text(), OURS)
        self.file.remove()
        self.assertFalse(self.path.exists())

    def test_what_is_there_stays_until_it_is_written(self) -> None:
        self.path.write_text("1\n")
        self.file.take()
        self.file.remove()
        self.assertEqual(self.path.read_text(), "1\n")

    def test_taken_for_nothing(self) -> None:
        self.file.take()
        self.file.remove()
        self.assertFalse(self.path.exists())

    def test_replaces_one_that_was_left_behind(self) -> None:
        self.path.write_text("123456789012345\n")
        self.write()
        self.assertEqual(self.path.read_text(), OURS)

    def test_keeps_its_place_when_the_directory_changes(self) -> None:
        file = PidFile(os.path.relpath(self.path))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir("/")
        file.take()
        file.write()
        self.assertEqual(self.path.read_text(), OURS)

    def test_none(self) -> None:
        file = PidFile("")
        file.take()
        file.write()
        file.remove()

    def test_anothers_is_not_removed(self) -> None:
        for text in ("1\n", "x"):
            self.write()
            self.path.write_text(text)
            self.file.remove()
            self.assertEqual(self.path.read_text(), text)

    def test_twistds_which_has_no_line_end(self) -> None:
        self.path.write_text(str(os.getpid()))
        self.file.remove()
        self.assertFalse(self.path.exists())

    def test_removed_by_somebody_else(self) -> None:
        self.write()
        self.path.unlink()
        self.file.remove()

    def test_no_directory(self) -> None:
        self.file = PidFile(str(self.path / "pid"))
        self.assert_refused("No such file or directory")

    def test_disk_full(self) -> None:
        self.file.take()
        self.patch(os, "write", _fail)
        error = self.assertRaises(ConfigError, self.file.write)
        cause = "cannot be written: No space left on device"
        self.assertEqual(str(error), f"pid_file: {self.path} {cause}")
        self.file.remove()
        self.assertFalse(self.path.exists())

    def test_nothing_else_is_overwritten(self) -> None:
        """Root writes it into a directory of somebody who may not be root's friend."""
        victim = self.path.with_suffix(".victim")
        victim.write_text("precious")
        self.path.symlink_to(victim)
        self.assert_refused(os.strerror(errno.ELOOP))
        self.path.unlink()
        self.path.hardlink_to(victim)
        self.assert_refused("is there, and is not a file of its own")
        self.assertEqual(victim.read_text(), "precious")
        self.path.unlink()
        os.mkfifo(self.path)
        self.assert_refused("is there, and is not a file of its own")

    def test_what_holds_something_else_is_left_alone(self) -> None:
        """Such as a key, or the configuration itself."""
        for text in ("{}", "12 3x", "-1", 33 * "1", "1\0"):
            self.path.write_text(text)
            self.assert_refused("holds something else than a process id")
            self.file.remove()
            self.assertEqual(self.path.read_text(), text)

    def test_somebodys_empty_file_is_not_removed_before_it_is_ours(self) -> None:
        self.path.touch()
        self.file.take()
        self.file.remove()
        self.assertTrue(self.path.exists())
        self.write()
        self.file.remove()
        self.assertFalse(self.path.exists())


class PidFileOfAnotherTests(UserTestCase):
    """Root writes it for the user whom the process is about to become."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory / "pid"
        self.mine = self.own / "pid"
        above = {str(parent) for parent in self.directory.parents}
        usual = os.lstat
        # Wherever the tests run, they are root's.
        self.patch(os, "lstat", lambda path: usual("/" if path in above else path))

    def take(self, path: Path) -> PidFile:
        file = PidFile(str(path), self.user)
        file.take()
        return file

    def assert_refused(self, path: Path, cause: str) -> None:
        error = self.assertRaises(ConfigError, self.take, path)
        self.assertEqual(str(error), f"pid_file: {path} cannot be written: {cause}")

    def test_in_a_directory_of_the_users(self) -> None:
        file = self.take(self.mine)
        self.assertEqual(self.mine.stat().st_uid, self.user.uid)
        file.write()
        with self.user.rights():
            file.remove()
        self.assertFalse(self.mine.exists())

    def test_in_a_directory_of_roots(self) -> None:
        """Such as /run. There it is emptied at the end, and written again at the next start."""
        for _ in range(2):
            file = self.take(self.path)
            self.assertEqual(self.path.stat().st_uid, self.user.uid)
            file.write()
            self.assertEqual(self.path.read_text(), OURS)
            with self.user.rights():
                file.remove()
            self.assertEqual(self.path.read_text(), "")

    def test_left_behind_by_root(self) -> None:
        self.path.write_text("1\n")
        self.take(self.path).write()
        self.assertEqual(self.path.stat().st_uid, self.user.uid)

    def test_left_behind_by_somebody_else(self) -> None:
        self.path.write_text("1\n")
        os.chown(self.path, 12345, -1)
        self.assert_refused(self.path, REFUSED)
        self.assertEqual((self.path.read_text(), self.path.stat().st_uid), ("1\n", 12345))

    def test_directory_that_others_may_change(self) -> None:
        os.chown(self.directory, 0, 7)
        self.directory.chmod(0o775)
        self.assert_refused(self.path, REFUSED)

    def test_by_a_link_of_the_users(self) -> None:
        """He could have a file made anywhere."""
        (self.directory / "precious").mkdir()
        (self.own / "run").symlink_to(self.directory / "precious")
        self.assert_refused(self.own / "run" / "pid", REFUSED)
        self.assertEqual(list((self.directory / "precious").iterdir()), [])

    def test_something_else_in_a_directory_of_roots(self) -> None:
        self.path.write_text("precious")
        self.assert_refused(self.path, "holds something else than a process id")
        self.assertEqual((self.path.read_text(), self.path.stat().st_uid), ("precious", 0))

    def test_cannot_be_given_away(self) -> None:
        """Then it cannot be emptied at the end, which is no reason not to start."""
        self.patch(os, "fchown", _fail)
        self.take(self.path).write()
        self.assertEqual(self.path.read_text(), OURS)


def _fail(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def make_config(*max_clients: int) -> Config:
    """A server for each, and one that is not enabled."""
    servers = [
        ServerConfig(is_enabled=number > 0, listen_interface=f"unix:{number}", max_clients=clients)
        for number, clients in enumerate((1_000_000, *max_clients))
    ]
    return Config(servers=tuple(servers))


class FileLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.limits = (1024, 4096)
        self.patch(resource, "getrlimit", lambda what: self.limits)
        self.patch(resource, "setrlimit", self.set_limits)

    def set_limits(self, what: int, limits: tuple[int, int]) -> None:
        self.assertEqual(what, resource.RLIMIT_NOFILE)
        self.limits = limits

    def test_enough(self) -> None:
        check_file_limit(make_config(900, 1024 - 900 - OWN_FILES))

    def test_too_few(self) -> None:
        config = make_config(900, 1024 - 900 - OWN_FILES + 1)
        error = self.assertRaises(ConfigError, check_file_limit, config)
        self.assertEqual(
            str(error),
            "servers: max_clients of all are 961 together, and 64 files are for the daemon itself, "
            "but this process may open 1024 only (ulimit -n, LimitNOFILE=)",
        )

    def test_several_processes(self) -> None:
        """Each has something of each other."""
        config = msgspec.structs.replace(make_config(1024 - OWN_FILES - 50), processes=50)
        check_file_limit(config)
        self.limits = (1023, 4096)
        error = self.assertRaises(ConfigError, check_file_limit, config)
        self.assertIn("114 files are for the daemon itself", str(error))

    def test_no_limit(self) -> None:
        self.limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        self.assertIsNone(raise_file_limit(make_config(1_000_000)))
        check_file_limit(make_config(1_000_000))

    def test_raised_as_far_as_needed(self) -> None:
        self.assertEqual(raise_file_limit(make_config(1000)), (1024, 2000 + OWN_FILES))
        self.assertEqual(self.limits, (2000 + OWN_FILES, 4096))

    def test_raised_as_far_as_allowed(self) -> None:
        self.assertEqual(raise_file_limit(make_config(3000)), (1024, 4096))
        self.assertEqual(self.limits, (4096, 4096))

    def test_raised_where_anything_is_allowed(self) -> None:
        self.limits = (1024, resource.RLIM_INFINITY)
        self.assertEqual(raise_file_limit(make_config(3000)), (1024, 6000 + OWN_FILES))

    def test_never_lowered(self) -> None:
        self.assertIsNone(raise_file_limit(make_config(100)))
        self.assertEqual(self.limits, (1024, 4096))

    def test_system_that_allows_less_than_it_says(self) -> None:
        def refuse(what: int, limits: object) -> None:
            raise ValueError("current limit exceeds maximum limit")

        self.patch(resource, "setrlimit", refuse)
        self.assertIsNone(raise_file_limit(make_config(3000)))

    def test_system_without_limits(self) -> None:
        with mock.patch.dict(sys.modules, {"resource": None}):
            self.assertIsNone(raise_file_limit(make_config(3000)))
            check_file_limit(make_config(1_000_000))


class NotifyTests(SynchronousTestCase):
    def setUp(self) -> None:
        # A short path, since that of a UNIX socket is limited.
        self.path = os.path.relpath(self.mktemp())
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.settimeout(10)

    def listen(self, address: str) -> None:
        self.manager.bind(address.replace("@", "\0"))
        self.patch(os, "environ", {**os.environ, "NOTIFY_SOCKET": address})

    def test_socket_in_a_directory(self) -> None:
        path = f"/tmp/guerrilla-{os.getpid()}.notify"
        self.addCleanup(os.unlink, path)
        self.listen(path)
        notify("READY=1\nSTATUS=gr\u00fcn")
        self.assertEqual(self.manager.recv(100), "READY=1\nSTATUS=gr\u00fcn".encode())

    def test_abstract_socket(self) -> None:
        self.listen(f"@guerrilla-{os.getpid()}")
        notify("STOPPING=1")
        self.assertEqual(self.manager.recv(100), b"STOPPING=1")

    def test_manager_that_does_not_read_is_not_waited_for(self) -> None:
        self.listen(f"@guerrilla-{os.getpid()}")
        for _ in range(10_000):
            notify("STATUS=" + 1000 * "x")

    def test_nobody_asks(self) -> None:
        for address in ("", "/nowhere/at/all", "/" + 200 * "x", "vsock:2:1", "relative"):
            self.patch(os, "environ", {"NOTIFY_SOCKET": address})
            notify("READY=1")
        self.patch(os, "environ", {})
        notify("READY=1")
