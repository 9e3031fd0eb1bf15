"""Files that a configuration names."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.reading import read_file


class ReadFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Short enough for a socket's path, wherever the tests run.
        self.path = Path(os.path.relpath(self.mktemp()))

    def assert_refused(self, number: int, cause: str) -> None:
        error = self.assertRaises(OSError, read_file, str(self.path))
        self.assertEqual((error.errno, error.strerror), (number, cause))

    def test_file(self) -> None:
        self.path.write_bytes(b"a\r\n\0")
        self.assertEqual(read_file(str(self.path)), b"a\r\n\0")

    def test_link(self) -> None:
        target = self.path.with_suffix(".target")
        target.write_bytes(b"a")
        self.path.symlink_to(target.absolute())
        self.assertEqual(read_file(str(self.path)), b"a")

    def test_named_pipe_is_not_waited_for(self) -> None:
        os.mkfifo(self.path)
        self.assert_refused(errno.EINVAL, "Not a regular file")

    def test_device_without_end(self) -> None:
        self.path.symlink_to("/dev/zero")
        self.assert_refused(errno.EINVAL, "Not a regular file")

    def test_socket(self) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(self.path))
            self.assert_refused(errno.ENXIO, os.strerror(errno.ENXIO))

    def test_directory(self) -> None:
        self.path.mkdir()
        self.assert_refused(errno.EISDIR, "Is a directory")

    def test_nothing(self) -> None:
        self.assert_refused(errno.ENOENT, "No such file or directory")
        self.path = Path("a\0b")
        self.assert_refused(errno.EINVAL, "it is no path")

    def test_too_large(self) -> None:
        self.path.write_bytes(b"123")
        self.assertEqual(read_file(str(self.path), 3), b"123")
        error = self.assertRaises(OSError, read_file, str(self.path), 2)
        self.assertEqual(error.strerror, "File too large")
        with self.path.open("wb") as file:
            file.truncate(17 * 2**20)
        self.assert_refused(errno.EFBIG, "File too large")
