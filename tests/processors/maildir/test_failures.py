"""MailDir where the file system says no: all mailboxes have the message, or none, and why."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any
from unittest import mock

from guerrilla_tw.backends.results import (
    QUOTA_EXCEEDED,
    STORE_UNAVAILABLE,
    TOO_LARGE_FOR_STORE,
    Result,
)
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.envelope import Envelope
from tests.integration.programs import run_program
from tests.processors.maildir.test_processor import THREE, MaildirTestCase, files
from tests.processors.support import Chain, make_envelope


def failing(name: str, turn: int, number: int = errno.EIO) -> Any:
    """
    Have a function of ``os`` fail once.

    :param turn: which call fails, from 1.
    :param number: of the error.
    """
    real: Callable[..., Any] = getattr(os, name)
    calls = iter(range(1, 1000))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == turn:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    return mock.patch(f"os.{name}", call)


class FailureTests(MaildirTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.chain = self.open_for("a b c")

    def save(self, envelope: Envelope | None = None) -> IResult:
        """Save a message for three, which must fail. :returns: the result."""
        result = self.chain.process(envelope or make_envelope(recipients=THREE))
        for user in "abc":
            for part in ("new", "tmp"):
                self.assertEqual(files(self.root / user, part), [], (user, part))
        return result

    def test_whatever_fails_nobody_has_it(self) -> None:
        """Each call of everything that writes, for each of the recipients."""
        # fsync is called for each file, then for each directory.
        calls = {"fdopen": 3, "fchown": 3, "fsync": 6, "stat": 3, "rename": 3}
        for name, count in calls.items():
            for turn in range(1, count + 1):
                with failing(name, turn):
                    self.assertEqual(self.save(), STORE_UNAVAILABLE, (name, turn))
            with failing(name, count + 1):
                self.chain.save(make_envelope(recipients=THREE))
            for user in "abc":
                (file,) = (self.root / user / "new").iterdir()
                file.unlink()

    def test_what_a_reader_took_is_left_to_him(self) -> None:
        fsync = os.fsync
        new = self.root / "a" / "new"

        def take(descriptor: int) -> None:
            fsync(descriptor)
            for file in new.iterdir():
                os.replace(file, self.root / "a" / "cur" / file.name)
                raise OSError(errno.EIO, "broken")

        with mock.patch("os.fsync", take):
            self.assertEqual(self.save(), STORE_UNAVAILABLE)
        self.assertEqual(len(files(self.root / "a", "cur")), 1)

    def test_a_message_that_cannot_be_read(self) -> None:
        broken = OSError(errno.EIO, "broken")
        with mock.patch("guerrilla_tw.mail.body.BytesIO", side_effect=broken):
            self.assertEqual(self.save(), STORE_UNAVAILABLE)

    def test_a_fault_of_ours_leaves_nothing(self) -> None:
        with mock.patch("os.rename", side_effect=ZeroDivisionError):
            # No result: the Gateway makes 451 of it.
            self.assertRaises(self.failureException, self.save)
        self.assertEqual(self.all_files(), [])

    def test_what_the_client_is_told(self) -> None:
        for number, expected in (
            (errno.EDQUOT, QUOTA_EXCEEDED),
            (errno.EFBIG, TOO_LARGE_FOR_STORE),
            (errno.ENOSPC, Result(452, "4.3.1", "no room in the storage, try again later")),
            (errno.EROFS, STORE_UNAVAILABLE),
            (errno.EMFILE, STORE_UNAVAILABLE),
            (errno.EACCES, STORE_UNAVAILABLE),
        ):
            with failing("fsync", 2, number):
                self.assertEqual(self.save(), expected)

    def test_one_line_in_the_log_without_the_message(self) -> None:
        envelope = make_envelope(b"Subject: secret\r\n\r\nsecret\r\n", THREE)
        with failing("rename", 2):
            self.save(envelope)
        line = f"{envelope.queued_id}: cannot store in {self.root}/b: Input/output error"
        self.assertEqual(self.chain.lines(), [line])
        self.assertNotIn("secret", repr(self.chain.events))

    def test_a_name_that_is_taken(self) -> None:
        """It is left as it is, in tmp and in new."""
        make = "guerrilla_tw.processors.maildir.delivery.UniqueNames.make"
        with mock.patch(make, side_effect=["a", "b", "c"]):
            (self.root / "b" / "tmp" / "b").symlink_to(self.root / "c" / "new" / "x")
            self.assertEqual(self.chain.process(make_envelope(recipients=THREE)), STORE_UNAVAILABLE)
        self.assertEqual(self.all_files(), [])
        with mock.patch(make, side_effect=["a", "b", "c"]):
            size = make_envelope(b"x").size
            (self.root / "c" / "new" / f"c,S={size}").mkdir()
            envelope = make_envelope(b"x", THREE)
            self.assertEqual(self.chain.process(envelope), STORE_UNAVAILABLE)
        self.assertEqual(self.all_files(), [])


class OrderTests(MaildirTestCase):
    """What is on the disk before what."""

    def record(self, chain: Chain, *recipients: bytes) -> list[str]:
        """:returns: what is synced and renamed while a message is stored."""
        done = []
        fsync, rename = os.fsync, os.rename
        inodes = {}

        def sync(descriptor: int) -> None:
            fsync(descriptor)
            done.append(os.fstat(descriptor).st_ino)

        def give(source: str, target: str, **kwargs: Any) -> None:
            rename(source, target, **kwargs)
            done.append(0)

        with mock.patch("os.fsync", sync), mock.patch("os.rename", give):
            chain.save(make_envelope(recipients=recipients))
        for path in (self.root, *self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            inodes[path.stat().st_ino] = name.rpartition("/")[0] if path.is_file() else name
        return ["renamed" if inode == 0 else inodes[inode] for inode in done]

    def test_all_files_then_all_names(self) -> None:
        chain = self.open_for("a b", "[user]/m")
        self.assertEqual(
            self.record(chain, *THREE[:2]),
            # The first two are files, the others the directories that they are in by now.
            ["a/m/new", "b/m/new", "renamed", "a/m/new", "renamed", "b/m/new"],
        )

    def test_new_directories_first(self) -> None:
        chain = self.open("[user]/m")
        made = [".", "a", "a/m", "a/m", "a/m"]
        self.assertEqual(self.record(chain, THREE[0]), [*made, "a/m/new", "renamed", "a/m/new"])
        self.assertEqual(self.record(chain, THREE[0]), ["a/m/new", "renamed", "a/m/new"])


class MakingTests(MaildirTestCase):
    def test_a_mailbox_half_made_is_completed(self) -> None:
        chain = self.open("[user]/Maildir")
        (self.root / "bob" / "Maildir" / "cur").mkdir(parents=True)
        chain.save(make_envelope())
        self.assertEqual(len(files(self.root / "bob" / "Maildir")), 1)

    def test_a_directory_that_cannot_be_given_away(self) -> None:
        user_map = f"bob=-1:{os.getegid()}"
        chain = self.open("[host]/[user]", maildir_user_map=user_map)
        before = len(os.listdir("/dev/fd"))
        with failing("fchown", 1, errno.EPERM):
            self.assertEqual(chain.process(make_envelope()), STORE_UNAVAILABLE)
        self.assertEqual(len(os.listdir("/dev/fd")), before)

    def test_somebody_else_is_faster(self) -> None:
        chain = self.open()
        mkdir = os.mkdir

        def make_twice(*args: Any, **kwargs: Any) -> None:
            mkdir(*args, **kwargs)
            mkdir(*args, **kwargs)

        with mock.patch("os.mkdir", make_twice):
            chain.save(make_envelope())
        self.root /= "x"
        with mock.patch("os.mkdir", make_twice):
            self.open().save(make_envelope())

    def test_no_file_stays_open(self) -> None:
        chain = self.open()
        before = len(os.listdir("/dev/fd"))
        chain.save(make_envelope(recipients=THREE))
        with failing("rename", 2):
            chain.process(make_envelope(recipients=THREE))
        self.assertEqual(len(os.listdir("/dev/fd")), before)


class SmallDiskTests(MaildirTestCase):
    def test_full(self) -> None:
        self.root.mkdir()
        mounted = run_program("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(self.root))
        if mounted.returncode:
            self.skipTest(f"no small disk can be had: {mounted.stdout}")
        self.addCleanup(run_program, "umount", str(self.root))
        chain = self.open()
        # There is room for the first of them.
        large = b"x" * 700_000
        result = chain.process(make_envelope(large, THREE))
        self.assertEqual((result.code, result.enhanced), (452, "4.3.1"))
        self.assertIn("No space left on device", chain.lines()[0])
        self.assertEqual(self.all_files(), [])
        chain.save(make_envelope(large, THREE[:1]))
        self.assertTrue(files(self.root / "a") == [large])
