"""Whether files still hold what they held when they were read."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.stamps import stamps


class StampsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text("one")
        self.before = stamps([str(self.path)], {})

    def now(self) -> object:
        return stamps([str(self.path)], self.before)

    def forbid(self) -> list[str]:
        """Let no file be opened any more. :returns: those that somebody tries to."""
        tried: list[str] = []

        def refuse(path: str, *_: Any) -> None:
            tried.append(path)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        self.patch(os, "open", refuse)
        return tried

    def write_with_the_same_time(self, text: str) -> None:
        """The time of the last change of the file's own data cannot be set."""
        status = self.path.stat()
        while self.path.stat().st_ctime_ns == status.st_ctime_ns:
            self.path.write_text(text)
            os.utime(self.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertEqual(self.path.stat().st_mtime_ns, status.st_mtime_ns)

    def test_the_same(self) -> None:
        tried = self.forbid()
        self.assertEqual(self.now(), self.before)
        self.assertEqual(tried, [])

    def test_touched(self) -> None:
        os.utime(self.path)
        self.assertEqual(self.now(), self.before)
        self.path.chmod(0o600)
        self.assertEqual(self.now(), self.before)

    def test_written_anew_with_the_same(self) -> None:
        other = self.path.with_suffix(".new")
        other.write_text("one")
        other.replace(self.path)
        self.assertEqual(self.now(), self.before)

    def test_longer(self) -> None:
        self.write_with_the_same_time("three")
        self.assertNotEqual(self.now(), self.before)

    def test_as_long_and_of_the_same_time(self) -> None:
        self.write_with_the_same_time("two")
        self.assertNotEqual(self.now(), self.before)

    def test_replaced(self) -> None:
        other = self.path.with_suffix(".new")
        other.write_text("two")
        other.replace(self.path)
        self.assertNotEqual(self.now(), self.before)

    def test_beyond_a_piece(self) -> None:
        self.path.write_bytes(b"x" * 2**20 + b"1")
        before = stamps([str(self.path)], {})
        self.path.write_bytes(b"x" * 2**20 + b"2")
        self.assertNotEqual(stamps([str(self.path)], before), before)

    def test_touched_and_not_to_be_read_any_more(self) -> None:
        """As a key of root's after root's rights were given up."""
        self.path.chmod(0o400)
        self.path.with_suffix(".link").hardlink_to(self.path)
        self.forbid()
        self.assertEqual(self.now(), self.before)

    def test_written_and_not_to_be_read_any_more(self) -> None:
        os.utime(self.path, ns=(0, 0))
        self.forbid()
        self.assertNotEqual(self.now(), self.before)

    def test_never_to_be_read(self) -> None:
        self.forbid()
        before = stamps([str(self.path)], {})
        self.assertEqual(stamps([str(self.path)], before), before)
        os.utime(self.path, ns=(0, 0))
        self.assertNotEqual(stamps([str(self.path)], before), before)

    def test_removed(self) -> None:
        self.path.unlink()
        self.assertNotEqual(self.now(), self.before)

    def test_never_there(self) -> None:
        self.path.unlink()
        before = stamps([str(self.path)], {})
        self.assertEqual(stamps([str(self.path)], before), before)
        self.path.write_text("")
        self.assertNotEqual(stamps([str(self.path)], before), before)

    def test_replaced_by_a_pipe(self) -> None:
        """It is not waited for."""
        self.path.unlink()
        os.mkfifo(self.path)
        self.assertNotEqual(self.now(), self.before)

    def test_link_to_another(self) -> None:
        """As certbot renews certificates."""
        other, link = self.path.with_suffix(".other"), self.path.with_suffix(".link")
        other.write_text("two")
        link.symlink_to(self.path.absolute())
        before = stamps([str(link)], {})
        link.unlink()
        link.symlink_to(other.absolute())
        self.assertNotEqual(stamps([str(link)], before), before)

    def test_several(self) -> None:
        both = [str(self.path), str(self.path.with_suffix(".other"))]
        before = stamps(both, {})
        self.assertEqual(stamps(both, before), before)
        Path(both[1]).write_text("")
        self.assertNotEqual(stamps(both, before), before)
        self.assertNotEqual(stamps(both[:1], before), before)

    def test_no_path(self) -> None:
        self.assertEqual(stamps(["a\0b"], {}), stamps(["a\0b"], {}))
