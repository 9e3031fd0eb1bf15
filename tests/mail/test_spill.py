"""Temporary files without a name: full disks, short writes, readers."""

from __future__ import annotations

import errno
import os
import tempfile
from io import SEEK_CUR, SEEK_END, SEEK_SET, BytesIO, FileIO
from threading import Barrier, Thread

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.spill import SpillFile

CONTENT = bytes(range(256)) * 200  # several times a reader's buffer


class _DiskFile(FileIO):
    """A file on a disk that takes few octets at once, and not many at all."""

    at_once = 2**31
    free = 2**31

    def write(self, piece, /):
        if not self.free:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = super().write(memoryview(piece)[: min(self.at_once, self.free)])
        self.free -= written
        return written


class WriteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.files: list[_DiskFile] = []
        self.patch(tempfile, "TemporaryFile", self._open)

    def _open(self, **options: object) -> _DiskFile:
        descriptor, name = tempfile.mkstemp()
        os.unlink(name)
        self.files.append(_DiskFile(descriptor, "r+"))
        return self.files[-1]

    def test_short_writes(self) -> None:
        file = SpillFile("")
        file.write(b"")
        self.files[0].at_once = 3
        for piece in (b"a", b"bcd", b"efghijkl", b""):
            file.write(piece)
        self.assertEqual((file.size, file.read(0, 100)), (12, b"abcdefghijkl"))

    def test_full_disk(self) -> None:
        file = SpillFile("")
        file.write(b"abc")
        self.files[0].free = 2
        # The first attempt writes two of them.
        for piece in (b"def", b"", b"g"):
            error = self.assertRaises(OSError, file.write, piece)
            self.assertEqual(error.errno, errno.ENOSPC)
            self.assertEqual(error.strerror, "No space left on device")
        self.assertEqual((file.size, file.read(0, 100), file.open().read()), (0, b"", b""))
        # Its space on the disk is free again at once.
        self.assertTrue(self.files[0].closed)

    def test_disk_that_fills_to_the_last_octet(self) -> None:
        file = SpillFile("")
        file.write(b"abc")
        self.files[0].free = 3
        file.write(b"def")
        self.assertEqual(file.read(0, 100), b"abcdef")

    def test_lost_octets_are_an_error_and_no_short_message(self) -> None:
        file = SpillFile("")
        file.write(b"abcdef")
        self.files[0].truncate(4)
        self.assertEqual(file.read(0, 4), b"abcd")
        self.assertRaises(OSError, file.read, 0, 6)
        self.assertRaises(OSError, file.open().read)

    def test_closed_when_dropped(self) -> None:
        file = SpillFile("")
        file.write(b"abc")
        reader = file.open()
        del file
        self.assertFalse(self.files[0].closed)
        self.assertEqual(reader.read(), b"abc")
        del reader
        self.assertTrue(self.files[0].closed)


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = SpillFile("")
        self.file.write(CONTENT)

    def test_large_reads_are_continued(self) -> None:
        """An operating system gives less than it was asked for, above some size."""
        pread = os.pread
        self.patch(os, "pread", lambda fd, length, start: pread(fd, min(length, 1000), start))
        self.assertEqual(self.file.read(0, len(CONTENT)), CONTENT)
        self.assertEqual(self.file.read(5, 3000), CONTENT[5:3005])

    def test_no_more_than_there_is(self) -> None:
        self.assertEqual(self.file.read(len(CONTENT) - 2, 100), CONTENT[-2:])
        for start in (len(CONTENT), len(CONTENT) + 1):
            self.assertEqual(self.file.read(start, 100), b"")

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(
        st.lists(
            st.tuples(st.just("read"), st.integers(0, 20_000))
            | st.tuples(st.just("readline"), st.just(-1))
            | st.tuples(
                st.just("seek"), st.integers(0, 60_000), st.sampled_from((SEEK_SET, SEEK_END))
            )
            | st.tuples(st.just("seek"), st.integers(0, 100), st.just(SEEK_CUR)),
            max_size=8,
        )
    )
    def test_reads_as_any_other_file(self, steps: list[tuple[str, int]]) -> None:
        reader, reference = self.file.open(), BytesIO(CONTENT)
        for method, *arguments in steps:
            expected = getattr(reference, method)(*arguments)
            self.assertEqual(getattr(reader, method)(*arguments), expected)
            self.assertEqual(reader.tell(), reference.tell())
        self.assertEqual(reader.read(), reference.read())

    def test_seeks_from_the_end(self) -> None:
        reader = self.file.open()
        self.assertTrue(reader.seekable() and reader.readable() and not reader.writable())
        self.assertEqual(reader.seek(-3, SEEK_END), len(CONTENT) - 3)
        self.assertEqual(reader.read(), CONTENT[-3:])

    def test_no_position_before_the_start(self) -> None:
        reader = self.file.open()
        reader.read(10)
        self.assertRaises(ValueError, reader.seek, -1)
        self.assertRaises(ValueError, reader.seek, -len(CONTENT) - 1, SEEK_END)
        self.assertEqual(reader.read(), CONTENT[10:])

    def test_closed_reader(self) -> None:
        other = self.file.open()
        with self.file.open() as reader:
            reader.read(1)
        self.assertRaises(ValueError, reader.read, 1)
        self.assertEqual(other.read(), CONTENT)

    def test_readers_in_two_threads(self) -> None:
        begin = Barrier(2)
        results: list[bytes] = []

        def read() -> None:
            reader = self.file.open()
            begin.wait(10)
            pieces = []
            while piece := reader.read(7):
                pieces.append(piece)
            results.append(b"".join(pieces))

        threads = [Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, [CONTENT, CONTENT])
