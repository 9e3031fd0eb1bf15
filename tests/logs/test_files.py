"""One open log file."""

from __future__ import annotations

import io
import os
import resource
import signal
import threading
from typing import cast

from guerrilla_tw.logs.files import LogFile
from tests.integration.programs import missing
from tests.logs.support import LogsTestCase


class LogFileTests(LogsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.news: list[str] = []

    def open(self, place: str | io.TextIOBase) -> LogFile:
        file = LogFile(cast(str, place), lambda _, news: self.news.append(news))
        self.addCleanup(file.close)
        return file

    def test_appends(self) -> None:
        with open(self.path("log"), "w") as before:
            before.write("before\n")
        for other in (self.open(self.path("log")), self.open(self.path("log"))):
            self.assertTrue(other.write("a line \N{SNOWMAN}\n"))
        self.assertEqual(self.text("log"), "before\n" + "a line \N{SNOWMAN}\n" * 2)

    def test_stream_that_cannot_show_everything(self) -> None:
        with open(self.path("log"), "w", encoding="ascii") as stream:
            file = self.open(stream)
            file.write("a \N{SNOWMAN}\n")
            file.reopen()
            file.write("b\n")
            file.close()
            stream.write("its owner goes on\n")
        self.assertEqual(self.text("log"), "a \\u2603\nb\nits owner goes on\n")

    def test_is_not_written_to_after_its_end(self) -> None:
        file = self.open(self.path("log"))
        file.close()
        self.assertFalse(file.write("late\n"))
        self.assertEqual(self.text("log"), "")

    def test_named_pipe_without_reader(self) -> None:
        os.mkfifo(self.path("pipe"))
        self.assertRaises(OSError, self.open, self.path("pipe"))

    def test_named_pipe(self) -> None:
        os.mkfifo(self.path("pipe"))
        reader = os.open(self.path("pipe"), os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.open(self.path("pipe")).write("a line\n")
        self.assertEqual(os.read(reader, 100), b"a line\n")

    def test_named_pipe_whose_reader_has_stopped_reading(self) -> None:
        """Nobody waits for it."""
        os.mkfifo(self.path("pipe"))
        reader = os.open(self.path("pipe"), os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        file = self.open(self.path("pipe"))
        for _ in range(100):
            file.write("x" * 4000 + "\n")
        self.assertEqual(self.news, ["lines are being lost: Resource temporarily unavailable"])
        while file.fails:
            os.read(reader, 2**20)
            file.write("y\n")
        self.assertEqual(os.read(reader, 2**20), b"y\n")

    def test_full_disk(self) -> None:
        if not os.path.exists("/dev/full"):
            missing("/dev/full")
        os.symlink("/dev/full", self.path("log"))
        file = self.open(self.path("log"))
        self.assertTrue(file.write("1\n") and file.write("2\n") and file.write("3\n"))
        self.assertEqual(self.news, ["lines are being lost: No space left on device"])
        self.assertTrue(file.fails)
        os.unlink(self.path("log"))
        file.reopen()
        file.write("4\n")
        file.write("5\n")
        self.assertEqual(self.news[1:], ["lines lost: 3 (No space left on device)"])
        self.assertFalse(file.fails)
        self.assertEqual(self.text("log"), "4\n5\n")

    def test_line_that_was_cut(self) -> None:
        """The next one does not become its end."""
        file = self.open(self.path("log"))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Else it ends the process; Python's start has done so mostly.
        self.addCleanup(
            signal.signal, signal.SIGXFSZ, signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        )
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
        file.write("123456\n")
        file.write("lost\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        file.write("whole\n")
        self.assertEqual(self.text("log"), "1234\nwhole\n")
        self.assertEqual(
            self.news, ["lines are being lost: File too large", "lines lost: 2 (File too large)"]
        )

    def test_pipe_that_is_full_and_does_not_wait(self) -> None:
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.set_blocking(writer, False)
        with open(writer, "w") as stream:
            file = self.open(stream)
            for _ in range(10):
                file.write("x" * 30000 + "\n")
        self.assertEqual(self.news, ["lines are being lost: Resource temporarily unavailable"])

    def test_reopen(self) -> None:
        file = self.open(self.path("log"))
        file.write("1\n")
        os.rename(self.path("log"), self.path("old"))
        file.write("2\n")
        file.reopen()
        file.write("3\n")
        self.assertEqual((self.text("old"), self.text("log")), ("1\n2\n", "3\n"))

    def test_reopen_fails(self) -> None:
        file = self.open(self.path("log"))
        os.rename(self.path("log"), self.path("old"))
        os.mkdir(self.path("log"))
        self.assertRaises(IsADirectoryError, file.reopen)
        file.write("2\n")
        self.assertEqual(self.text("old"), "2\n")

    def test_many_threads_and_reopenings(self) -> None:
        file = self.open(self.path("log.0"))
        count, each = 4, 500

        def write(who: int) -> None:
            for number in range(each):
                file.write(f"{who} {number} {'x' * 200}\n")

        threads = [threading.Thread(target=write, args=[who]) for who in range(count)]
        for thread in threads:
            thread.start()
        moved = 1
        while any(thread.is_alive() for thread in threads):
            os.rename(self.path("log.0"), self.path(f"log.{moved}"))
            file.reopen()
            moved += 1
        lines = [line for name in range(moved) for line in self.text(f"log.{name}").splitlines()]
        for thread in threads:
            thread.join()
        expected = [f"{who} {n} {'x' * 200}" for who in range(count) for n in range(each)]
        self.assertEqual(sorted(lines), sorted(expected))
