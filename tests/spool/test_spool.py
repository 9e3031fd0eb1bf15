"""The files of a spool: written whole or not at all, claimed by one, moved, counted."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.spool.administration import Administration, Entry
from guerrilla_tw.spool.claims import Claim
from guerrilla_tw.spool.errors import SpoolError, SpoolFull
from guerrilla_tw.spool.places import PlaceError, Places
from guerrilla_tw.spool.records import Original, Progress, RecordError
from guerrilla_tw.spool.scanning import Scan
from guerrilla_tw.spool.spool import Spool
from tests.backends.fakes import make_envelope

NOW = 1_800_000_000.0


class SpoolTestCase(SynchronousTestCase):
    max_bytes = 2**22

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.parent.mkdir(parents=True, exist_ok=True)
        self.spool = self.open()

    def open(self) -> Spool:
        spool = Spool(str(self.root), self.max_bytes, 1)
        spool.open()
        return spool

    def write(self, *recipients: str, received_at: float = NOW, body: bytes = b"") -> Claim:
        envelope = make_envelope(*recipients)
        envelope.body.write(body)
        return self.spool.write(Original(envelope, received_at))

    def names(self, directory: str) -> list[str]:
        return sorted(os.listdir(self.root / directory))

    def scan(self, now: float = NOW, limit: int = 100) -> Scan:
        return self.spool.scan(now, now + 1000, limit)

    def entries(self) -> list[Entry | None]:
        administration = Administration(str(self.root))
        return list(administration.entries(administration.files()))

    def claim(self, name: str) -> Claim:
        claim = self.spool.claim(name)
        assert claim is not None
        return claim


class WritingTests(SpoolTestCase):
    def test_comes_back_as_it_was(self) -> None:
        for size in (0, 100, 2**19):
            written = self.write("a", "b", body=b"x" * size)
            written.release()
            envelope = self.claim(written.name).envelope()
            self.assertEqual(envelope.data, make_envelope().data + b"x" * size)
            self.assertEqual(
                [str(each) for each in envelope.rcpt_to], ["a@example.com", "b@example.com"]
            )
            self.assertEqual(envelope.queued_id, written.queued_id)
            self.assertEqual(envelope.open().read(), envelope.data)
            self.assertEqual(envelope.size, len(envelope.data))

    def test_a_large_body_outlives_its_claim(self) -> None:
        """A thread that hangs may read it still: it must not get another file's octets."""
        claim = self.write(body=b"x" * 2**19)
        envelope = claim.envelope()
        self.spool.remove(claim)
        del claim
        others = [self.write(body=b"y" * 2**19) for _ in range(3)]
        self.assertNotIn(b"y", envelope.data)
        self.assertEqual(len(others), 3)

    def test_names(self) -> None:
        """They say how old a message is, and which; nothing is a client's."""
        claim = self.write("../../etc/passwd")
        self.assertEqual(claim.name, f"01800000000000-{claim.queued_id}")
        envelope = make_envelope()
        envelope.queued_id = "../x"
        self.assertRaises(SpoolError, self.spool.write, Original(envelope, NOW))
        self.assertEqual(self.names("queue"), [claim.name])

    def test_for_our_eyes_only(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        claim = self.write()
        other = Places(str(self.root) + "2")
        other.make()
        for path in (other.root, *other.all):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(claim.path).st_mode), 0o600)

    def test_on_the_disk_before_it_returns(self) -> None:
        """The file, then its name."""
        done: list[str] = []
        fsync, rename = os.fsync, os.rename

        def note_fsync(descriptor: int) -> None:
            done.append(f"fsync {os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))[:5]}")
            fsync(descriptor)

        def note_rename(*arguments: str) -> None:
            done.append("rename")
            rename(*arguments)

        self.patch(os, "fsync", note_fsync)
        self.patch(os, "rename", note_rename)
        self.write()
        self.assertEqual(done[1:], ["rename", "fsync queue"])
        self.assertRegex(done[0], "fsync [0-9a-f]{5}$")

    def test_disk_errors(self) -> None:
        """Nothing is left behind, and the octets are given back."""
        for number, kind in (
            (errno.ENOSPC, SpoolFull),
            (errno.EDQUOT, SpoolFull),
            (errno.EIO, SpoolError),
            (errno.EROFS, SpoolError),
        ):
            for function in ("fsync", "rename", "write"):

                def fail(*_: object, number: int = number) -> None:
                    raise OSError(number, os.strerror(number))

                patch = self.patch(os, function, fail)
                error = self.assertRaises(SpoolError, self.write)
                patch.restore()
                self.assertIs(type(error), kind)
        self.assertEqual((self.names("queue"), self.names("tmp")), ([], []))
        self.assertEqual(self.spool._usage.octets, 0)


class LimitTests(SpoolTestCase):
    max_bytes = 2000

    def test_max_bytes(self) -> None:
        claim = self.write()
        self.write()
        self.assertRaises(SpoolFull, self.write)
        self.spool.remove(claim)
        self.write()

    def test_dead_messages_count(self) -> None:
        self.spool.bury(self.write(), "550 5.1.1 no")
        self.write()
        self.assertRaises(SpoolFull, self.write)

    def test_counted_over_all_processes(self) -> None:
        self.write()
        other = self.open()
        other.write(Original(make_envelope(), NOW))
        self.assertRaises(SpoolFull, self.write)

    def test_counted_anew(self) -> None:
        """What a process has left wrong that was killed is right after the next look."""
        (self.root / "usage").write_bytes(b"\0\0\0\0\0\0\xff\xff")
        self.assertRaises(SpoolFull, self.write)
        self.scan()
        self.write()
        (self.root / "usage").write_bytes(b"torn")
        octets = self.scan().octets
        self.assertEqual(self.open()._usage.octets, octets)

    def test_what_is_here_is_divided_all_the_same(self) -> None:
        """Else who has the message would be given it again."""
        claim = self.write("a", "b")
        self.write()
        self.spool.bury_some(claim, [0], "550 5.1.1 no")
        self.spool.keep_some(claim, [1])

    def test_min_free(self) -> None:
        disk = os.statvfs(self.root)
        spool = Spool(str(self.root), 2**40, disk.f_bavail * disk.f_frsize * 2)
        spool.open()
        self.assertRaises(SpoolFull, spool.write, Original(make_envelope(), NOW))


class ClaimTests(SpoolTestCase):
    def test_one_at_a_time(self) -> None:
        """Also of two Gateways in one process, as in a reload."""
        claim = self.write()
        other = self.open()
        self.assertIs(other.claim(claim.name), None)
        claim.release()
        taken = other.claim(claim.name)
        assert taken is not None
        self.assertIs(self.spool.claim(claim.name), None)
        other.remove(taken)
        self.assertIs(self.spool.claim(claim.name), None)

    def test_gone_with_its_process(self) -> None:
        claim = self.write()
        name = claim.name
        claim.release()
        del claim
        hold = (
            "import os, sys; from guerrilla_tw.spool.spool import Spool;"
            "spool = Spool(sys.argv[1], 2**20, 1); spool.open();"
            "claim = spool.claim(sys.argv[2]); print(claim is not None, flush=True);"
            "sys.stdin.read()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", hold, str(self.root), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with holder:
            assert holder.stdout is not None
            self.assertEqual(holder.stdout.readline(), b"True\n")
            self.assertIs(self.spool.claim(name), None)
            holder.kill()
            holder.wait()
        self.claim(name)

    def test_damaged(self) -> None:
        claim = self.write()
        claim.release()
        with open(claim.path, "r+b") as file:
            file.truncate(50)
        self.assertRaises(RecordError, self.spool.claim, claim.name)
        where = self.spool.set_aside(claim.name)
        self.assertEqual((self.names("queue"), self.names("damaged")), ([], [claim.name]))
        self.assertTrue(os.path.exists(where))
        self.assertEqual(self.scan().damaged, 1)

    def test_damaged_body(self) -> None:
        for size in (10, 2**19):
            claim = self.write(body=b"x" * size)
            os.pwrite(claim.file.descriptor, b"y", claim.parts.body_start + 20)
            self.assertRaises(RecordError, claim.envelope)

    def test_no_file(self) -> None:
        """It is set aside like what is damaged, and is in nobody's way."""
        makers: dict[str, Callable[[Path], object]]
        makers = {"a": os.mkdir, "b": os.mkfifo, "c": partial(os.symlink, "/etc/passwd")}
        for digit, make in makers.items():
            make(self.root / "queue" / f"01800000000000-{digit * 32}")
        with socket.socket(socket.AF_UNIX) as unix:
            # The path of a socket is short.
            self.addCleanup(os.chdir, os.getcwd())
            os.chdir(self.root / "queue")
            unix.bind(f"01800000000000-{'d' * 32}")
        states = [entry and entry.state for entry in self.entries()]
        self.assertEqual(states, ["damaged"] * 4)
        for name in self.names("queue"):
            self.assertRaises(RecordError, self.spool.claim, name)
            self.spool.set_aside(name)
        self.assertEqual((self.names("queue"), len(self.names("damaged"))), ([], 4))


class FateTests(SpoolTestCase):
    def test_retry(self) -> None:
        claim = self.write()
        self.spool.retry(claim, "451 4.3.0 away", NOW + 60)
        self.assertEqual(self.scan().due, ())
        self.assertAlmostEqual(self.scan().next_due or 0, NOW + 60, places=3)
        self.assertEqual(self.scan(NOW + 61).due, (claim.name,))
        again = self.claim(claim.name)
        self.assertEqual(again.progress, Progress(1, NOW, "451 4.3.0 away"))

    def test_bury(self) -> None:
        claim = self.write()
        self.spool.bury(claim, "550 5.1.1 no such user")
        self.assertEqual((self.names("queue"), self.names("dead")), ([], [claim.name]))
        self.assertEqual(self.scan().dead, 1)

    def test_some_recipients(self) -> None:
        claim = self.write("a", "b", "c", body=b"x" * 2**19)
        self.spool.bury_some(claim, [1], "550 5.1.1 no such user")
        # As after an end in between.
        self.spool.bury_some(claim, [1], "550 5.1.1 no such user")
        kept = self.spool.keep_some(claim, [2])
        self.assertEqual(kept.name, claim.name)
        # Nobody has it in between.
        self.assertIs(self.open().claim(kept.name), None)
        self.assertEqual([path.user for path in kept.header.rcpt_to], ["c"])
        self.assertEqual(kept.envelope().data, claim.envelope().data)
        [dead] = self.names("dead")
        self.assertTrue(dead.startswith(claim.name + "-"))
        kept.release()
        self.assertIs(self.open().claim("no such name"), None)

    def test_no_descriptor_while_recipients_are_divided(self) -> None:
        """What takes the place of a message is not removed when its name cannot be synced."""
        claim = self.write("a", "b")
        fsync = os.fsync

        def fail_for_directories(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            fsync(descriptor)

        patch = self.patch(os, "fsync", fail_for_directories)
        self.assertRaises(SpoolError, self.spool.keep_some, claim, [1])
        patch.restore()
        claim.release()
        [user] = [each.user for each in self.claim(claim.name).header.rcpt_to]
        self.assertEqual(user, "b")

    def test_first_attempt(self) -> None:
        """It is known to be the first, also to those who take the message later."""
        claim = self.write("a", "b")
        self.assertEqual([claim.begin(NOW), claim.begin(NOW)], [True, False])
        kept = self.spool.keep_some(self.write("a", "b"), [0])
        self.assertFalse(kept.begin(NOW))

    def test_who_waits_for_a_claim_gets_what_is_there_then(self) -> None:
        """A file that was replaced is nobody's message any more."""
        claim = self.write("a", "b")
        descriptor = os.open(claim.path, os.O_RDWR)
        self.addCleanup(os.close, descriptor)
        kept = self.spool.keep_some(claim, [0])
        self.assertNotEqual(os.fstat(descriptor).st_ino, os.stat(claim.path).st_ino)
        kept.release()
        self.assertEqual(len(self.claim(claim.name).header.rcpt_to), 1)


class ScanTests(SpoolTestCase):
    def test_the_oldest_first(self) -> None:
        names = [self.write(received_at=NOW - age).name for age in (1, 3, 2)]
        self.assertEqual(self.scan().due, (names[1], names[2], names[0]))
        self.assertEqual(self.scan().oldest, names[1])
        self.assertEqual(
            (self.scan(limit=2).due, self.scan(limit=2).more), ((names[1], names[2]), True)
        )
        self.assertFalse(self.scan(limit=3).more)

    def test_many(self) -> None:
        names = sorted(self.write(received_at=NOW - age).name for age in range(40))
        self.assertEqual(self.scan(limit=3).due, tuple(names[:3]))

    def test_what_comes_last(self) -> None:
        """As many others are found, however many of these there are."""
        names = sorted(self.write(received_at=NOW - age).name for age in range(6))
        last = frozenset([*names[:4], "gone"])
        scan = self.spool.scan(NOW, NOW + 1000, 1, last)
        self.assertEqual((scan.due, scan.last), (tuple(names[4:5]), tuple(names[:1])))
        self.assertTrue(scan.more)
        self.assertEqual(scan.gone, {"gone"})
        scan = self.spool.scan(NOW, NOW + 1000, 4, last)
        self.assertEqual((scan.due, scan.last), (tuple(names[4:]), tuple(names[:4])))
        self.assertFalse(scan.more)

    def test_a_clock_that_was_wrong(self) -> None:
        claim = self.write()
        self.spool.retry(claim, "451 4.3.0 away", NOW + 10**8)
        self.assertEqual(self.scan().due, (claim.name,))

    def test_what_somebody_has_left_there(self) -> None:
        (self.root / "queue" / "README").write_text("hello")
        scan = self.scan()
        self.assertEqual((scan.count, scan.due, scan.octets), (0, (), 5))

    def test_leftovers_of_the_killed(self) -> None:
        leftover = self.root / "tmp" / "leftover"
        leftover.write_bytes(b"half")
        path, file = self.spool._new_file()
        self.scan()
        self.assertFalse(leftover.exists())
        # Somebody writes this one.
        self.assertTrue(os.path.exists(path))
        self.assertTrue(file.is_at(path))

    def test_leftovers_that_cannot_be_removed(self) -> None:
        """They keep nobody from the messages."""
        claim = self.write()
        os.mkdir(self.root / "tmp" / "directory")
        os.symlink("/etc/passwd", self.root / "tmp" / "link")
        self.assertEqual(self.scan().due, (claim.name,))
        self.assertTrue(os.path.exists("/etc/passwd"))


class PlaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        os.makedirs(os.path.dirname(self.root), exist_ok=True)

    def assert_refused(self, cause: str) -> None:
        for use in (Places(self.root).make, lambda: Places(self.root).check(os.geteuid())):
            error = self.assertRaises(PlaceError, use)
            self.assertIn(cause, str(error))

    def test_check_makes_nothing(self) -> None:
        Places(self.root).check(os.geteuid())
        self.assertFalse(os.path.exists(self.root))

    def test_others_can_write(self) -> None:
        os.mkdir(self.root)
        for mode in (0o702, 0o777, 0o1777):
            os.chmod(self.root, mode)
            self.assert_refused(f"everybody can write to {self.root}")

    def test_others_can_write_below(self) -> None:
        Places(self.root).make()
        os.chmod(Places(self.root).queue, 0o777)
        self.assert_refused("everybody can write to")

    def test_everybody_can_replace_it(self) -> None:
        parent = os.path.abspath(self.mktemp())
        os.makedirs(parent)
        os.chmod(parent, 0o777)
        self.root = os.path.join(parent, "spool")
        self.assert_refused(f"everybody can write to {parent}")
        os.chmod(parent, 0o1777)
        Places(self.root).make()

    def test_no_directory(self) -> None:
        Path(self.root).write_text("")
        self.assert_refused("is not a directory")

    def test_nowhere(self) -> None:
        self.root = os.path.join(self.root, "not there", "spool")
        self.assert_refused("No such file or directory")

    def test_somebody_elses(self) -> None:
        Places(self.root).make()
        error = self.assertRaises(PlaceError, Places(self.root).check, os.geteuid() + 1)
        self.assertIn("belongs to user", str(error))
