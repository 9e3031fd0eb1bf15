"""MailDir where the file system says no: all mailboxes have the message, or none, and why."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet.task import Clock

from guerrilla_tw.backends.results import (
    QUOTA_EXCEEDED,
    STORE_UNAVAILABLE,
    TOO_LARGE_FOR_STORE,
    RecipientResults,
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

    def test_an_error_that_is_not_the_systems(self) -> None:
        for error, cause in ((OSError("broken"), "broken"), (OSError(), "OSError")):
            self.chain.events.clear()
            envelope = make_envelope(recipients=THREE)
            with mock.patch("os.rename", side_effect=error):
                self.assertEqual(self.save(envelope), STORE_UNAVAILABLE)
            line = f"{envelope.queued_id}: cannot store in {self.root}/a: {cause}"
            self.assertEqual(self.chain.lines(), [line])
            with mock.patch("os.access", side_effect=error):
                refusal = self.refusal(maildir_user_map="a=-1:-1")
            self.assertEqual(refusal, f"cannot store in {self.root}/a: {cause}")

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


class QuotaTests(MaildirTestCase):
    """One mailbox has no room; the others would have."""

    def save(self, recipients: tuple[bytes, ...], lmtp: bool = False) -> IResult:
        """Save a message, for which the mailbox of the second copy, or the only one, is full."""
        chain = self.open_for("a b c")
        original = make_envelope(recipients=recipients)
        envelope = Envelope("192.0.2.1", lmtp=lmtp, body=original.body)
        envelope.rcpt_to = original.rcpt_to
        turn = min(2, len(set(recipients)))
        with failing("fsync", turn, errno.EDQUOT):
            result = chain.process(envelope)
        self.assertEqual(self.all_files(), [])
        self.assertEqual(len(chain.lines()), 1)
        return result

    def test_the_only_recipient(self) -> None:
        for lmtp in (False, True):
            for recipients in (THREE[:1], THREE[:1] * 2):
                self.assertEqual(self.save(recipients, lmtp), QUOTA_EXCEEDED)

    def test_smtp_has_one_reply_that_is_true_of_all(self) -> None:
        expected = Result(452, "4.2.2", "a mailbox of this message is full, try again later")
        self.assertEqual(self.save(THREE), expected)

    def test_lmtp_has_a_reply_for_each(self) -> None:
        result = self.save((*THREE, THREE[1]), lmtp=True)
        assert isinstance(result, RecipientResults)
        other = Result(451, "4.3.0", "not stored, since another mailbox is full; try again")
        self.assertEqual(result.recipients, (other, QUOTA_EXCEEDED, other, QUOTA_EXCEEDED))


class DeadlineTests(MaildirTestCase):
    """After it the client is told to try again, so that what is stored then is stored twice."""

    def setUp(self) -> None:
        super().setUp()
        self.chain = self.open_for("a b c")
        self.clock = Clock()

    def process(self, slow_fsync: int, answer_by: float = math.inf, seconds: float = 24) -> IResult:
        """
        Save a message for three.

        :param slow_fsync: which one is slow, from 1; the first three are of files.
        :param seconds: that it takes; usually as long as a store may at most.
        """
        fsync = os.fsync
        turns = iter(range(1, 1000))
        self.turns = turns

        def sync(descriptor: int) -> None:
            fsync(descriptor)
            if next(turns) == slow_fsync:
                self.clock.advance(seconds)

        self.envelope = make_envelope(recipients=THREE)
        self.envelope.answer_by = answer_by
        with mock.patch("os.fsync", sync), mock.patch("time.monotonic", self.clock.seconds):
            return self.chain.process(self.envelope)

    def assert_too_late(self, where: str) -> None:
        line = f"{self.envelope.queued_id}: cannot store in {self.root}/{where}: it takes too long"
        self.assertEqual(self.chain.lines(), [line])
        self.assertEqual(self.all_files(), [])
        self.chain.events.clear()

    def test_slow_files(self) -> None:
        for turn, user in enumerate("abc", 1):
            self.assertEqual(self.process(turn), STORE_UNAVAILABLE)
            self.assert_too_late(user)
            # No other file was begun.
            self.assertEqual(next(self.turns), turn + 1)

    def test_no_time_at_all(self) -> None:
        """It has waited for a worker too long."""
        self.chain.reactor.advance(30)
        self.assertEqual(self.process(0, answer_by=30), STORE_UNAVAILABLE)
        self.assert_too_late("a")
        self.assertEqual(next(self.turns), 1)

    def test_less_time_for_what_has_waited(self) -> None:
        self.assertEqual(self.process(3, answer_by=20, seconds=16), STORE_UNAVAILABLE)
        self.assert_too_late("c")
        self.assertEqual(self.process(3, seconds=16).code, 250)

    def test_not_when_some_have_it(self) -> None:
        self.assertEqual(self.process(4).code, 250)
        self.assertEqual([len(files(self.root / user)) for user in "abc"], [1, 1, 1])

    def test_each_message_has_a_time_of_its_own(self) -> None:
        self.process(3)
        self.assertEqual(self.process(0).code, 250)


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

    def test_a_directory_that_was_not_given_away_any_more(self) -> None:
        """Whoever made it was killed; its user could never read it."""
        if os.geteuid() != 0:
            self.skipTest("only root can")
        own = [self.root / "bob" / name for name in ("", "Maildir", "Maildir/cur")]
        for user_id in (12345, -1):
            for last in range(len(own)):
                self.root.mkdir()
                for path in own[: last + 1]:
                    path.mkdir(0o700)
                for path in own[:last]:
                    os.chown(path, user_id, 23456)
                self.open("[user]/Maildir", maildir_user_map=f"bob={user_id}:23456")
                for path in (own[0], *own[0].rglob("*")):
                    owner = (path.stat().st_uid, path.stat().st_gid)
                    self.assertEqual(owner, (max(0, user_id), 23456), path)
                shutil.rmtree(self.root)

    def test_a_directory_that_is_not_as_we_make_it_keeps_its_owner(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can")
        home = self.root / "bob"
        for owner, mode in (((0, 0), 0o755), ((12346, 0), 0o700)):
            home.mkdir(parents=True)
            home.chmod(mode)
            os.chown(home, *owner)
            self.open("[user]/Maildir", maildir_user_map="bob=12345:23456")
            self.assertEqual((home.stat().st_uid, home.stat().st_gid), owner)
            shutil.rmtree(self.root)

    def test_a_directory_of_somebody_else_is_not_given_away(self) -> None:
        """A user may have moved one of root's into the place of his Maildir."""
        if os.geteuid() != 0:
            self.skipTest("only root can")
        secret = self.root / "bob" / "Maildir" / "secret"
        secret.parent.mkdir(parents=True)
        secret.parent.chmod(0o700)
        secret.touch()
        self.open("[user]/Maildir", maildir_user_map="bob=12345:23456")
        self.assertEqual(secret.parent.stat().st_uid, 0)

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
