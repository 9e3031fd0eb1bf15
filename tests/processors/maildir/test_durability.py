"""MailDir and power that fails: what is synced when, and whose it is by then."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any
from unittest import mock

from guerrilla_tw.backends.results import STORE_UNAVAILABLE
from tests.processors.maildir.test_processor import MaildirTestCase, files
from tests.processors.support import make_envelope


class FileTests(MaildirTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.given: set[int] = set()
        # Of each file that is synced: its octets, and whether it was its owner's.
        self.synced: list[tuple[int, bool]] = []
        fsync, fchown = os.fsync, os.fchown

        def note_owner(descriptor: int, uid: int, gid: int) -> None:
            fchown(descriptor, uid, gid)
            self.given.add(os.fstat(descriptor).st_ino)

        def note_size(descriptor: int) -> None:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode):
                self.synced.append((found.st_size, found.st_ino in self.given))
            fsync(descriptor)

        self.patch(os, "fchown", note_owner)
        self.patch(os, "fsync", note_size)

    def test_all_of_a_file_is_synced(self) -> None:
        """Of what a buffer holds, and of what is larger than one."""
        chain = self.open_for("bob")
        for size in (1, 100, 1_000_001):
            self.synced.clear()
            chain.save(make_envelope(b"x" * size))
            (file,) = (self.root / "bob" / "new").iterdir()
            self.assertEqual(self.synced, [(file.stat().st_size, True)])
            self.assertGreaterEqual(file.stat().st_size, size)
            file.unlink()


class DirectoryTests(MaildirTestCase):
    def test_directories_on_the_way_to_the_root_are_synced(self) -> None:
        """Each in the one above it, after it was made there."""
        fsync = os.fsync
        synced: dict[int, list[str]] = {}

        def note(descriptor: int) -> None:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                synced[found.st_ino] = os.listdir(descriptor)
            fsync(descriptor)

        with mock.patch("os.fsync", note):
            self.open_for("bob", "one/two/[user]")
        for made in (self.root, self.root / "one", self.root / "one" / "two"):
            self.assertIn(made.name, synced.get(made.parent.stat().st_ino, []), made)

    def test_link_put_in_the_place_of_a_directory_that_is_made(self) -> None:
        """Its user is faster than the daemon, and wants it to write elsewhere."""
        elsewhere = Path(self.mktemp()).absolute()
        elsewhere.mkdir()
        before = elsewhere.stat()
        chain = self.open()
        mkdir = os.mkdir

        def make_link(name: Any, mode: int, *, dir_fd: int) -> None:
            if name != b"bob":
                mkdir(name, mode, dir_fd=dir_fd)
                return
            os.symlink(elsewhere, name, dir_fd=dir_fd)
            raise FileExistsError

        with mock.patch("os.mkdir", make_link):
            self.assertEqual(chain.process(make_envelope()), STORE_UNAVAILABLE)
        self.assertTrue((self.root / "bob").is_symlink())
        self.assertEqual(os.listdir(elsewhere), [])
        self.assertEqual(elsewhere.stat().st_mode, before.st_mode)
        (self.root / "bob").unlink()
        chain.save(make_envelope())
        self.assertEqual(len(files(self.root / "bob")), 1)
