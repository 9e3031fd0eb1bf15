"""What goes to the client."""

from __future__ import annotations

from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.results import NO_SUCH_USER, queued
from guerrilla_tw.smtp import replies


class ReplyTests(SynchronousTestCase):
    def test_lines(self) -> None:
        self.assertEqual(replies.reply(250, "2.0.0 OK"), b"250 2.0.0 OK\r\n")
        self.assertEqual(replies.reply(250, "a", "b"), b"250-a\r\n250 b\r\n")

    def test_no_second_line_whatever_the_text(self) -> None:
        for text in ("a\r\n250 b", "a\nb", "a\rb", "a\0b", "é\u2028", "\ud800"):
            line = replies.reply(550, text)
            self.assertEqual(line.splitlines(keepends=True), [line])
            self.assertTrue(line.endswith(b"\r\n"))

    def test_no_line_beyond_512_octets(self) -> None:
        self.assertLessEqual(len(replies.reply(550, "x" * 10_000)), 512)

    def test_results(self) -> None:
        self.assertEqual(replies.from_result(queued("ab12")), b"250 2.0.0 OK: queued as ab12\r\n")
        self.assertEqual(replies.from_result(NO_SUCH_USER), b"550 5.1.1 no such user\r\n")

    def test_a_backend_of_somebodys_own_cannot_say_anything(self) -> None:
        strange: list[object] = [
            None,
            "250 OK",
            SimpleNamespace(code="250", enhanced="2.0.0", text="x"),
            SimpleNamespace(code=354, enhanced="2.0.0", text="go on"),
            SimpleNamespace(code=221, enhanced="2.0.0", text="bye"),
            SimpleNamespace(code=99999, enhanced="5.0.0", text="x"),
            # The connection would stay open.
            SimpleNamespace(code=421, enhanced="4.3.2", text="bye"),
        ]
        for result in strange:
            self.assertEqual(replies.from_result(result), replies.LOCAL_ERROR)  # type: ignore[arg-type]
        hostile = SimpleNamespace(code=550, enhanced="5.0.0\r\n", text="\r\n250 OK")
        line = replies.from_result(hostile)  # type: ignore[arg-type]
        self.assertEqual(line.count(b"\n"), 1)
