"""UNIX sockets, and sockets of systemd's."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest import mock

from twisted.internet.address import UNIXAddress
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.listening import sockets
from tests.integration.programs import DEADLINE
from tests.listening.support import GREETING, ROOT, ListenerTestCase, activated
from tests.test_users import UserTestCase

IN_USE = "Address already in use"
NOT_PASSED = "systemd has passed no such socket to this process; is its .socket unit started?"


class UNIXTests(ListenerTestCase):
    def setUp(self) -> None:
        super().setUp()
        directory = Path(self.mktemp())
        directory.mkdir()
        # Short enough for a socket's path, wherever the tests run.
        self.path = os.path.relpath(directory / "s")
        self.text = f"unix:{self.path}"

    def bind(self) -> socket.socket:
        """Be another program, with a socket there that does not listen yet."""
        other = socket.socket(socket.AF_UNIX)
        self.addCleanup(other.close)
        other.bind(self.path)
        return other

    def assert_in_use(self) -> None:
        self.assert_refused(self.text, f"cannot listen on {self.text}: {IN_USE}")

    async def test_life(self) -> None:
        listener = self.take(self.text)
        self.assertEqual(listener.address, UNIXAddress(self.path))
        self.assertEqual(listener.name, self.text)
        client = self.connect(self.path)
        listener.answer()
        self.assertEqual(await deferToThread(client.recv, 100), GREETING)
        waiting = self.connect(self.path)
        listener.accept_waiting()
        await listener.close()
        self.assertEqual(await deferToThread(waiting.recv, 100), GREETING)
        self.assertFalse(os.path.exists(self.path))
        self.assertEqual(self.sessions.numPorts, 0)

    def test_mode(self) -> None:
        """Whatever is usual for the process."""
        self.addCleanup(os.umask, os.umask(0o077))
        for suffix, mode in [("", 0o666), (":mode=660", 0o660), (":mode=0600", 0o600)]:
            self.listen(f"{self.text}{mode}{suffix}")
            made = os.stat(f"{self.path}{mode}").st_mode
            self.assertEqual(stat.S_IMODE(made), mode)

    def test_mode_is_not_that_of_something_else(self) -> None:
        """Which the owner of the directory puts in its place as soon as it is there."""
        victim = f"{self.path}.victim"
        Path(victim).write_text("precious")
        os.chmod(victim, 0o600)
        usual = sockets._remover

        def replace(make: Callable[[str, str], None]) -> Callable[[str], Callable[[], None]]:
            def remover(path: str) -> Callable[[], None]:
                remove = usual(path)
                os.unlink(path)
                make(victim, path)
                return remove

            return remover

        for make in (os.symlink, os.link):
            self.patch(sockets, "_remover", replace(make))
            cause = "somebody has put something else in its place"
            self.assert_refused(self.text, f"cannot listen on {self.text}: {cause}")
            self.assertEqual(stat.S_IMODE(os.stat(victim).st_mode), 0o600)
            os.unlink(self.path)

    def test_system_that_has_other_means_to_leave_links_alone(self) -> None:
        told: list[tuple[object, ...]] = []
        self.patch(os, "chmod", lambda *told_of, **how: told.append((*told_of, how)))
        with mock.patch.object(os, "O_PATH"):
            del os.O_PATH
            self.listen(self.text)
        self.assertEqual(told, [(self.path, 0o666, {"follow_symlinks": False})])

    def test_clients_that_the_kernel_keeps(self) -> None:
        self.listen(f"{self.text}:backlog=1")
        for _ in range(2):
            self.connect(self.path)
        with socket.socket(socket.AF_UNIX) as one_more:
            one_more.setblocking(False)
            self.assertRaises(BlockingIOError, one_more.connect, self.path)

    def test_colon_in_the_path(self) -> None:
        listener = self.listen(f"{self.text}\\:25")
        self.assertTrue(stat.S_ISSOCK(os.stat(f"{self.path}:25").st_mode))
        self.assertEqual(listener.name, f"{self.text}:25")

    async def test_left_behind_by_a_killed_daemon(self) -> None:
        self.bind().close()
        listener = self.listen(self.text)
        listener.answer()
        client = self.connect(self.path)
        self.assertEqual(await deferToThread(client.recv, 100), GREETING)

    def test_somebody_listens(self) -> None:
        other = self.bind()
        other.listen(5)
        self.assert_in_use()
        self.connect(self.path)

    def test_somebody_listens_and_does_not_answer(self) -> None:
        """His queue is full, so that even we cannot connect."""
        other = self.bind()
        other.listen(0)
        self.connect(self.path)
        self.assert_in_use()
        self.assertTrue(os.path.exists(self.path))

    async def test_another_of_ours(self) -> None:
        self.listen(self.text)
        self.assert_in_use()
        self.connect(self.path)

    def test_what_is_no_socket_is_left_alone(self) -> None:
        Path(self.path).write_text("precious")
        self.assert_in_use()
        self.assertEqual(Path(self.path).read_text(), "precious")

    def test_link_is_left_alone(self) -> None:
        """Also to a socket that nobody has."""
        self.bind().close()
        os.symlink("s", f"{self.path}2")
        self.text += "2"
        self.assert_in_use()
        self.assertTrue(os.path.islink(f"{self.path}2"))
        self.assertTrue(os.path.exists(self.path))

    def test_no_directory(self) -> None:
        text = f"unix:{self.path}/none"
        self.assert_refused(text, f"cannot listen on {text}: No such file or directory")

    async def test_somebody_replaced_it(self) -> None:
        listener = self.take(self.text)
        os.unlink(self.path)
        self.bind().listen(5)
        await listener.close()
        self.connect(self.path)

    async def test_somebody_removed_it(self) -> None:
        listener = self.take(self.text)
        os.unlink(self.path)
        await listener.close()
        self.listen(self.text)

    async def test_directory_of_the_process_has_changed(self) -> None:
        """As when twistd goes into the background."""
        listener = self.take(self.text)
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir("/")
        await listener.close()
        os.chdir(before)
        self.assertFalse(os.path.exists(self.path))


class UserTests(ListenerTestCase, UserTestCase):
    """Root makes it for the user whom the process is about to become."""

    def setUp(self) -> None:
        ListenerTestCase.setUp(self)
        UserTestCase.setUp(self)

    async def test_is_the_users(self) -> None:
        listener = self.take(f"unix:{self.own}/s:mode=660", user=self.user)
        found = (self.own / "s").stat()
        self.assertEqual((found.st_uid, found.st_gid), (self.user.uid, self.user.gid))
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o660)
        with self.user.rights():
            await listener.close()
        self.assertFalse((self.own / "s").exists())

    def test_where_he_may_not_make_one(self) -> None:
        text = f"unix:{self.directory}/s"
        cause = f"cannot listen on {text}: Permission denied for user nobody"
        self.assert_refused(text, cause, user=self.user)

    def test_where_he_may_not_remove_what_was_left_behind(self) -> None:
        """Not even by a link of his."""
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(f"{self.directory}/s")
        (self.own / "back").symlink_to(self.directory)
        text = f"unix:{self.own}/back/s"
        self.assert_refused(text, f"cannot listen on {text}: {IN_USE}", user=self.user)
        self.assertTrue((self.directory / "s").exists())


class SystemdTests(SynchronousTestCase):
    """
    A program with sockets that another has opened for it and keeps.

    :ivar passed: these, by name.
    """

    def setUp(self) -> None:
        self.passed: dict[str, socket.socket] = {}
        self.clients: list[socket.socket] = []

    def open(self, name: str, family: int, address: str | tuple[str, int]) -> socket.socket:
        """Open a socket to pass."""
        opened = socket.socket(family)
        self.addCleanup(opened.close)
        opened.bind(address)
        self.passed[name] = opened
        return opened

    def open_all(self) -> list[str]:
        """
        Open one of each family, with a client each.

        :returns: what they are called in logs.
        """
        v4 = self.open("v4", socket.AF_INET, ("127.0.0.1", 0))
        v6 = self.open("v6", socket.AF_INET6, ("::1", 0))
        path = os.path.relpath(self.mktemp())
        self.open("local", socket.AF_UNIX, path)
        os.chmod(path, 0o600)
        abstract = f"guerrilla-tw-{os.getpid()}-{v4.getsockname()[1]}"
        self.open("abstract", socket.AF_UNIX, f"\0{abstract}")
        for opened in self.passed.values():
            opened.listen(5)
            self.connect_to(opened)
        return [
            f"127.0.0.1:{v4.getsockname()[1]}",
            f"[::1]:{v6.getsockname()[1]}",
            f"unix:{path}",
            f"unix:@{abstract}",
        ]

    def connect_to(self, opened: socket.socket) -> None:
        """Become a client of it."""
        client = socket.socket(opened.family)
        self.addCleanup(client.close)
        client.settimeout(DEADLINE)
        client.connect(opened.getsockname())
        self.clients.append(client)

    def run_adopter(self, *texts: str) -> list[list[str]]:
        """:returns: what became of each, the first and the second time."""
        passed = {name: opened.fileno() for name, opened in self.passed.items()}
        program = [sys.executable, "-b", "-m", "tests.listening.adopter", *texts]
        with subprocess.Popen(
            activated(passed, program) if passed else program,
            pass_fds=list(passed.values()),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            self.addCleanup(process.kill)
            for client in self.clients:
                self.assertEqual(client.recv(100), GREETING)
                client.close()
            output, errors = process.communicate(timeout=DEADLINE)
        self.assertEqual((process.returncode, errors), (0, ""))
        rounds: list[list[str]] = json.loads(output)
        return rounds

    def test_by_name(self) -> None:
        """They are let go and had again, and stay as they are."""
        names = self.open_all()
        path = names[2].removeprefix("unix:")
        texts = [
            f"systemd:domain={domain}:name={name}"
            for domain, name in zip(("INET", "INET6", "UNIX", "UNIX"), self.passed, strict=True)
        ]
        self.assertEqual(self.run_adopter(*texts), [names, names])
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        for opened in self.passed.values():
            # As for the next start.
            self.connect_to(opened)

    def test_by_index(self) -> None:
        names = self.open_all()
        texts = [
            f"systemd:domain={domain}:index={index}"
            for index, domain in enumerate(("INET", "INET6", "UNIX", "UNIX"))
        ]
        self.assertEqual(self.run_adopter(*texts), [names, names])

    def test_refused(self) -> None:
        v4 = self.open("v4", socket.AF_INET, ("127.0.0.1", 0))
        v4.listen(5)
        self.connect_to(v4)
        self.open("mute", socket.AF_INET, ("127.0.0.1", 0))
        taken = f"127.0.0.1:{v4.getsockname()[1]}"
        causes = {
            "systemd:domain=INET:name=v4": taken,
            "systemd:domain=INET:index=0": "another server has this socket of systemd's",
            "systemd:domain=INET:index=2": NOT_PASSED,
            "systemd:domain=INET:name=v5": NOT_PASSED,
            "systemd:domain=INET:name=mute": (
                "systemd's socket is none with ListenStream= and Accept=no"
            ),
        }
        first, second = self.run_adopter(*causes)
        expected = [
            cause if cause == taken else f"cannot listen on {text}: {cause}"
            for text, cause in causes.items()
        ]
        self.assertEqual((first, second), (expected, expected))

    def test_no_socket(self) -> None:
        """As of ListenFIFO=. It is let go of, too."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        pipe = open(reader, "rb")  # noqa: SIM115  # closed below
        self.addCleanup(pipe.close)
        self.passed["pipe"] = cast(Any, pipe)
        text = "systemd:domain=INET:name=pipe"
        cause = f"cannot listen on {text}: what systemd has passed is no socket"
        self.assertEqual(self.run_adopter(text), [[cause], [cause]])

    def test_wrong_domain(self) -> None:
        local = self.open("local", socket.AF_UNIX, os.path.relpath(self.mktemp()))
        local.listen(5)
        text = "systemd:domain=INET:name=local"
        cause = f"cannot listen on {text}: systemd's socket is of domain=UNIX"
        self.assertEqual(self.run_adopter(text), [[cause], [cause]])

    def test_not_started_by_systemd(self) -> None:
        text = "systemd:domain=INET:index=0"
        cause = f"cannot listen on {text}: {NOT_PASSED}"
        self.assertEqual(self.run_adopter(text), [[cause], [cause]])
