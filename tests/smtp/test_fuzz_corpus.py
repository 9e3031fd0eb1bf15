"""What the fuzzer begins with, and what it has found: without it, and each time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.session import Event, Setting
from tests.fuzz.targets import NAMES, check_replies, load, pieces

# Inputs that went wrong once, by target.
_FOUND: dict[str, list[bytes]] = {
    "session": [
        # The client goes before it is greeted.
        bytes([Setting.EARLY_TALKERS, Event.LOST, 0, 0, 0, 0]) + b"\r\n",
        # No room for the message, neither in memory nor on the disk.
        bytes([Setting.NO_DISK, 0, 50, 50, 5, 0])
        + b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n"
        + b"x" * 50
        + b"\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\nDATA\r\nx\r\n",
    ],
}


class CorpusTests(SynchronousTestCase):
    def test_inputs_go_well(self) -> None:
        for name in NAMES:
            target = load(name)
            for data in [*target.SEEDS, *_FOUND.get(name, ())]:
                with self.subTest(target=name, data=data):
                    target.check(data)


class TargetTests(SynchronousTestCase):
    def test_pieces_are_the_whole(self) -> None:
        self.assertEqual(list(pieces(b"abcdefg", b"\0\2")), [b"a", b"bcd", b"e", b"fg"])
        self.assertEqual(list(pieces(b"abc", b"")), [b"abc"])
        self.assertEqual(b"".join(pieces(b"x" * 100, b"\0")), b"x" * 100)

    def test_replies_are_whole_ones_of_a_code_each(self) -> None:
        check_replies(b"")
        check_replies(b"250-a\r\n250-b\r\n250 c\r\n354 go on\r\n")
        for bad in (
            b"250 a",
            b"250 a\n",
            b"250-a\r\n",
            b"250-a\r\n251 b\r\n",
            b"250 \r\n",
            b"250 a\xff\r\n",
            b"150 a\r\n",
            b"250 " + b"a" * 507 + b"\r\n",
        ):
            with self.assertRaises(AssertionError, msg=bad):
                check_replies(bad)
