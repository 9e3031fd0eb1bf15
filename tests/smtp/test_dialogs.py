"""Every conversation of ``tests/dialogs``, each of them a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.dialog import DialogError, octets, read_dialogs
from tests.smtp.dialog_runner import play

_DIALOGS = Path(__file__).parents[1] / "dialogs"


class DialogTests(SynchronousTestCase):
    """One method for each file, named after it."""


def _test_of(path: Path) -> Callable[[SynchronousTestCase], None]:
    def test(case: SynchronousTestCase) -> None:
        for each, dialog in read_dialogs(path.read_text(encoding="utf-8")):
            try:
                play(case, dialog, path.stem)
            except AssertionError as error:
                raise case.failureException(f"{path.name}: {each or 'no each'}\n{error}") from None

    return test


for _path in sorted(_DIALOGS.glob("*.txt")):
    setattr(DialogTests, f"test_{_path.stem}", _test_of(_path))


class FileTests(SynchronousTestCase):
    """What the files are."""

    def test_each_says_why(self) -> None:
        paths = list(_DIALOGS.glob("*.txt"))
        self.assertTrue(paths)
        for path in paths:
            self.assertEqual(path.read_text(encoding="utf-8")[:2], "# ", path.name)


class RunnerTests(SynchronousTestCase):
    """The runner fails where a server does not keep to a dialog."""

    def play(self, text: str) -> None:
        for _, dialog in read_dialogs(text):
            play(self, dialog, "seed")

    def assert_fails(self, text: str) -> None:
        self.assertRaises(AssertionError, self.play, text)

    def test_silence_and_a_closed_connection(self) -> None:
        self.play("S: 220\nC: QUIT\nS: 221 2.0.0\nS: closed")

    def test_beginnings_of_replies(self) -> None:
        for beginning in ("221", "221 2.0.0", "221 2.0.0 goodbye"):
            self.play(f"S: 220\nC: QUIT\nS: {beginning}\nS: closed")
        for other in ("22", "221 2.0", "221 2.0.1", "220", "221 2.0.0 goodbye all"):
            self.assert_fails(f"S: 220\nC: QUIT\nS: {other}\nS: closed")

    def test_reply_that_does_not_come(self) -> None:
        self.assert_fails("S: 220\nC: NOOP\nS: 250\nS: 250")
        self.assert_fails("S: 220\nC: NOOP\nS: 250\nS: closed")

    def test_reply_that_comes_unasked(self) -> None:
        self.assert_fails("C: NOOP\nS: 250")
        self.assert_fails("S: 220\nC: QUIT\nS: 221")

    def test_reply_at_another_place(self) -> None:
        self.assert_fails("S: 220\nC: NOOP\nC: RSET\nS: 250\nC: NOOP\nS: 250\nS: 250")

    def test_lines_of_a_reply(self) -> None:
        self.play("S: 220\nC: HELO x\nS: 250 mx.example.com")
        self.assert_fails("S: 220\nC: EHLO x\nS: 250-mx.example.com\nS: 250 HELP")

    def test_messages(self) -> None:
        opening = "S: 220\nC: HELO x\nC: MAIL FROM:<>\nC: RCPT TO:<a@example.com>\nC: DATA\n"
        end = "S: 250\nS: 250\nS: 250\nS: 354\nC| one\\r\\n.\\r\\n\nS: 250\n"
        self.play(opening + end + "stored: 1")
        self.play(opening + end + "message:\n    to: a@example.com\n    data: one\\r\\n")
        self.assert_fails(opening + end)
        self.assert_fails(opening + end + "stored: 2")
        self.assert_fails(opening + end + "message:\n    data: two\\r\\n")

    def test_log(self) -> None:
        self.assert_fails("S: 220\nlogged: something that nobody says")

    def test_each(self) -> None:
        self.play("each: VERB=NOOP\neach: VERB=RSET\nS: 220\nC: {VERB}\nS: 250")
        self.assert_fails("each: VERB=NOOP\neach: VERB=DATA\nS: 220\nC: {VERB}\nS: 250")

    def test_what_is_no_dialog(self) -> None:
        for text in ("X: 1", "C NOOP", "C| \\q", "S| 220", "each: A=1", "    data: x", "stored: x"):
            self.assertRaises(DialogError, list, read_dialogs(text))

    def test_barrier_that_does_not_exist(self) -> None:
        self.assert_fails("S: 220\n--- tea ---")

    def test_octets(self) -> None:
        self.assertEqual(octets(r"{ab*3}\r\n\0\xff\\"), b"ababab\r\n\0\xff\\")
        self.assertEqual(octets(r"{a\n*2}"), b"a\na\n")
        self.assertEqual(octets(r"\r", raw=False, end=True), b"\\r\r\n")
