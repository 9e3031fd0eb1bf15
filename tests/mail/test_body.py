"""Bodies: what is kept where, and that memory and disk are given back."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import tracemalloc
from threading import Thread
from types import SimpleNamespace
from unittest import skipUnless

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.body import Body, BodyStorage

MESSAGE = b"Subject: x\r\n\r\nbody \xff\0\r\n"
PIECES = st.lists(st.binary(max_size=6), max_size=8)


def written(body: Body, *pieces: bytes) -> Body:
    for piece in pieces:
        body.write(piece)
    return body


class BodyTests(SynchronousTestCase):
    """What is the same wherever the octets are."""

    def stores(self) -> list[BodyStorage | None]:
        return [None, BodyStorage(), BodyStorage(spill_size=3), BodyStorage(max_in_memory=0)]

    def test_empty(self) -> None:
        for storage in self.stores():
            body = written(Body(storage), b"")
            self.assertEqual((body.size, body.data, body.head(9)), (0, b"", b""))
            self.assertEqual(body.open().read(), b"")

    def test_single_piece_is_kept_without_a_copy(self) -> None:
        for body in (Body(), BodyStorage().new_body()):
            body.write(MESSAGE)
            self.assertIs(body.data, MESSAGE)
            self.assertIs(body.head(100), MESSAGE)
            self.assertEqual(body.size, len(MESSAGE))

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(PIECES)
    def test_pieces_join(self, pieces: list[bytes]) -> None:
        for storage in self.stores():
            body = Body(storage)
            for count, piece in enumerate(pieces, 1):
                body.write(piece)
                self.assertEqual(body.data, b"".join(pieces[:count]))
            self.assertEqual(body.size, len(b"".join(pieces)))
            self.assertEqual(body.open().read(), b"".join(pieces))

    def test_head(self) -> None:
        for storage in self.stores():
            for pieces in ([b"abcd"], [b"ab", b"cd"]):
                body = written(Body(storage), *pieces)
                for limit in (0, 1, 3, 4, 5):
                    self.assertEqual(body.head(limit), b"abcd"[:limit])

    def test_readers_do_not_disturb_each_other(self) -> None:
        for storage in self.stores():
            for pieces in ([b"abcd"], [b"ab", b"cd"]):
                body = written(Body(storage), *pieces)
                first, second = body.open(), body.open()
                self.assertEqual(first.read(3), b"abc")
                self.assertEqual(second.read(), b"abcd")
                self.assertEqual(first.read(), b"d")

    def test_reader_outlives_its_body(self) -> None:
        for storage in self.stores():
            self.assertEqual(written(Body(storage), b"ab", b"cd").open().read(), b"abcd")


class MemoryTests(SynchronousTestCase):
    """The bounds, and what is counted. Octets that do not count in memory are in a file."""

    def test_body_of_spill_size_stays_in_memory(self) -> None:
        storage = BodyStorage(spill_size=4)
        body = written(storage.new_body(), b"ab", b"cd")
        self.assertEqual(storage.in_memory, 4)
        body.write(b"")
        self.assertEqual(storage.in_memory, 4)
        body.write(b"e")
        self.assertEqual((storage.in_memory, body.data), (0, b"abcde"))

    def test_piece_above_spill_size_never_is_in_memory(self) -> None:
        storage = BodyStorage(spill_size=4)
        body = written(storage.new_body(), b"abcde")
        self.assertEqual((storage.in_memory, body.data), (0, b"abcde"))

    def test_bodies_fill_memory_to_the_last_octet(self) -> None:
        storage = BodyStorage(max_in_memory=6)
        first = written(storage.new_body(), b"abc")
        second = written(storage.new_body(), b"def")
        self.assertEqual(storage.in_memory, 6)
        third = written(storage.new_body(), b"g")
        self.assertEqual(storage.in_memory, 6)
        # Not only the new octet goes to the file: what the body had is given back.
        second.write(b"h")
        self.assertEqual(storage.in_memory, 3)
        self.assertEqual((first.data, second.data, third.data), (b"abc", b"defh", b"g"))

    def test_body_in_a_file_stays_there(self) -> None:
        storage = BodyStorage(max_in_memory=2)
        other = written(storage.new_body(), b"ab")
        body = written(storage.new_body(), b"c")
        del other
        body.write(b"d")
        self.assertEqual((storage.in_memory, body.data), (0, b"cd"))

    def test_dropped_body_gives_its_memory_back(self) -> None:
        storage = BodyStorage(max_in_memory=4)
        for _ in range(3):
            body = written(storage.new_body(), b"ab", b"cd")
            self.assertEqual(storage.in_memory, 4)
            del body
            self.assertEqual(storage.in_memory, 0)

    def test_body_dropped_by_another_thread(self) -> None:
        storage = BodyStorage()
        bodies = [written(storage.new_body(), b"ab")]
        thread = Thread(target=bodies.clear)
        thread.start()
        thread.join()
        self.assertEqual(storage.in_memory, 0)

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=6) | st.none()), max_size=30))
    def test_any_order_of_writing_and_dropping(self, steps: list[tuple[int, bytes | None]]) -> None:
        storage = BodyStorage(spill_size=8, max_in_memory=16)
        bodies = [storage.new_body() for _ in range(4)]
        expected = [b""] * 4
        for at, piece in steps:
            if piece is None:
                bodies[at] = storage.new_body()
                expected[at] = b""
            else:
                bodies[at].write(piece)
                expected[at] += piece
            self.assertLessEqual(storage.in_memory, 16)
            self.assertEqual([body.data for body in bodies], expected)
        bodies.clear()
        self.assertEqual(storage.in_memory, 0)

    def test_large_message_takes_little_memory(self) -> None:
        body = BodyStorage(spill_size=2**20, spill_dir=self._directory()).new_body()
        piece = bytes(2**16)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(800):
            body.write(piece)
        body.head(2**18)
        self.assertLess(tracemalloc.get_traced_memory()[1], 2**20 * 1.5)
        self.assertEqual(body.size, 800 * 2**16)

    def _directory(self) -> str:
        path: str = self.mktemp()
        os.mkdir(path)
        return path


class DiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)

    def test_files_have_no_name(self) -> None:
        storage = BodyStorage(0, self.directory)
        body = written(storage.new_body(), b"abc")
        self.assertEqual(os.listdir(self.directory), [])
        self.assertEqual(body.data, b"abc")

    def test_files_are_in_spill_dir(self) -> None:
        asked: list[object] = []
        make = tempfile.TemporaryFile

        def record(**options: object) -> object:
            asked.append(options["dir"])
            return make(**options)  # type: ignore[call-overload]

        self.patch(tempfile, "TemporaryFile", record)
        written(BodyStorage(0, self.directory).new_body(), b"abc", b"def")
        written(BodyStorage(0, "").new_body(), b"abc")
        self.assertEqual(asked, [self.directory, None])

    @skipUnless(os.path.isdir("/proc/self/fd"), "needs Linux's /proc")
    def test_no_descriptor_is_left(self) -> None:
        def count() -> int:
            return len(os.listdir("/proc/self/fd"))

        before = count()
        storage = BodyStorage(0, self.directory)
        bodies = [written(storage.new_body(), b"abc") for _ in range(5)]
        readers = [body.open() for body in bodies]
        self.assertEqual(count(), before + 5)
        bodies.clear()
        self.assertEqual(b"".join(reader.read() for reader in readers), b"abc" * 5)
        readers.clear()
        self.assertEqual(count(), before)

    def test_without_a_disk_memory_still_serves(self) -> None:
        storage = BodyStorage(4, os.path.join(self.directory, "missing"))
        self.assertEqual(written(storage.new_body(), b"ab", b"cd").data, b"abcd")

    def test_body_that_cannot_spill(self) -> None:
        storage = BodyStorage(4, os.path.join(self.directory, "missing"))
        for pieces in ([], [b"ab"], [b"ab", b"cd"]):
            body = written(storage.new_body(), *pieces)
            error = self.assertRaises(OSError, body.write, b"efghi")
            self.assertEqual(error.errno, errno.ENOENT)
            self.assertEqual((body.size, body.data, body.head(9)), (0, b"", b""))
            self.assertEqual((body.open().read(), storage.in_memory), (b"", 0))

    def test_body_that_failed_keeps_failing(self) -> None:
        missing = os.path.join(self.directory, "missing")
        body = BodyStorage(4, missing).new_body()
        self.assertRaises(OSError, body.write, b"abcde")
        # It has lost octets: that there is a disk again does not help it.
        os.mkdir(missing)
        for piece in (b"a", b"abcde", b""):
            error = self.assertRaises(OSError, body.write, piece)
            self.assertEqual(error.errno, errno.ENOENT)
        self.assertEqual(body.size, 0)


class RoomTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[str] = []
        self.free = 0
        self.patch(shutil, "disk_usage", self._disk_usage)

    def _disk_usage(self, path: str) -> SimpleNamespace:
        self.asked.append(path)
        return SimpleNamespace(free=self.free)

    def test_memory_has_room(self) -> None:
        storage = BodyStorage(spill_size=4, spill_dir="/spill", max_in_memory=8)
        body = written(storage.new_body(), b"abcd")
        for size in (0, 1, 4, 1000):
            self.assertTrue(storage.has_room(size))
        self.assertEqual(self.asked, [])
        self.assertEqual(body.size, 4)

    def test_disk_has_room(self) -> None:
        storage = BodyStorage(spill_size=4, spill_dir="/spill", max_in_memory=8)
        body = written(storage.new_body(), b"abc")
        other = written(storage.new_body(), b"de")
        for size, needed in ((0, 4), (4, 4), (1000, 1000)):
            self.free = needed
            self.assertTrue(storage.has_room(size))
            self.free = needed - 1
            self.assertFalse(storage.has_room(size))
        self.assertEqual(set(self.asked), {"/spill"})
        # Three octets are left in memory, and less is not in need of the disk.
        self.free = 0
        self.assertTrue(storage.has_room(3))
        del body, other
        self.assertTrue(storage.has_room(0))

    def test_default_directory(self) -> None:
        self.free = 1
        self.assertTrue(BodyStorage(max_in_memory=0).has_room(1))
        self.assertEqual(self.asked, [tempfile.gettempdir()])

    def test_disk_that_is_away_has_no_room(self) -> None:
        def fail(path: str) -> None:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)

        self.patch(shutil, "disk_usage", fail)
        self.assertFalse(BodyStorage(max_in_memory=0, spill_dir="/spill").has_room(1))

    def test_real_disk(self) -> None:
        self.patch(shutil, "disk_usage", _DISK_USAGE)
        storage = BodyStorage(max_in_memory=0, spill_dir=os.getcwd())
        self.assertTrue(storage.has_room(1))
        self.assertFalse(storage.has_room(2**62))


_DISK_USAGE = shutil.disk_usage
