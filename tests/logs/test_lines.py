"""An event as a line."""

from __future__ import annotations

import datetime
import json
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.logs.lines import JSONLines, TextLines, escape
from guerrilla_tw.mail.address import Address
from tests.logs.support import set_time_zone

# What breaks a line, moves a terminal's cursor, or turns a text around.
HOSTILE = "a\r\n\x1b[2J\x9b1m\u2028\u2029\x85\u202e\u2066\ud800\x7f\0b"


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class Octets(bytes):
    # Else Python complains.
    def __str__(self) -> str:
        return self.decode("latin-1")


class Words(list[str]):
    pass


def event(template: str = "{word}", /, **values: object) -> LogEvent:
    """:returns: what a Logger makes of a call."""
    events: list[LogEvent] = []
    log = Logger("guerrilla_tw", observer=cast(ILogObserver, events.append))
    log.warn(template, **cast(Any, values))
    return events[0]


def failure(cause: str) -> Failure:
    try:
        raise ValueError(cause)
    except ValueError:
        return Failure()


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec=None)),
    st.builds(Octets, st.binary()),
    st.lists(st.text(max_size=5)),
    st.lists(st.integers()),
    st.builds(Unprintable),
)


class EscapeTests(SynchronousTestCase):
    def test_leaves_text(self) -> None:
        for text in ("", "a b", "\N{SNOWMAN} f\xfcr 'x' \\n"):
            self.assertEqual(escape(text), text)

    def test_shows_the_rest(self) -> None:
        self.assertEqual(
            escape(HOSTILE),
            r"a\r\n\x1b[2J\x9b1m\u2028\u2029\x85\u202e\u2066\ud800\x7f\x00b",
        )


class TextTests(SynchronousTestCase):
    def render(self, template: str = "{word}", **values: object) -> str:
        return TextLines()(event(template, **values))

    def test_line(self) -> None:
        line = self.render("{client}: {count}", client="192.0.2.1", count=3)
        self.assertRegex(
            line,
            r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[guerrilla_tw#warn\] 192\.0\.2\.1: 3\n\Z",
        )

    def test_time_is_local(self) -> None:
        set_time_zone(self, "XXX-05:30")
        render = TextLines()
        for seconds, text in ((0.9, "05:30:00"), (1.0, "05:30:01"), (0.5, "05:30:00")):
            line = render({**event(word=1), "log_time": seconds})
            self.assertTrue(line.startswith(f"1970-01-01T{text}+0530 ["), line)

    def test_hostile_value_template_and_source(self) -> None:
        for line in (
            self.render("x {word}", word=HOSTILE),
            self.render(HOSTILE),
            TextLines()({**event("x"), "log_namespace": HOSTILE}),
        ):
            self.assertEqual(line.count("\n"), 1)
            self.assertTrue(line[:-1].isprintable(), line)

    def test_braces_of_a_client_are_no_template(self) -> None:
        self.assertIn("] {word}\n", self.render("{word}", word="{word}"))

    def test_any_form(self) -> None:
        for form, expected in (
            ("{word}% {{{word!r}}} %s", "7% {7} %s"),
            ("100 %", "100 %"),
            ("{word:03}", "007"),
            ("{word.real}", "7"),
        ):
            self.assertIn(f"] {expected}\n", self.render(form, word=7))
        self.assertIn("] (1, 2)\n", self.render(word=(1, 2)))

    def test_what_only_twisted_can_format(self) -> None:
        self.assertIn("] 7\n", self.render("{word()}", word=lambda: 7))

    def test_template_that_does_not_fit(self) -> None:
        for line in (self.render("{missing}"), self.render(word=Unprintable())):
            self.assertRegex(line, r"#warn\] .*nable to format|MESSAGE LOST")
            self.assertEqual(line.count("\n"), 1)

    def test_traceback_is_indented(self) -> None:
        line = TextLines()({**event("it failed"), "log_failure": failure("bad\n\x1b]0;x")})
        first, *more = line.splitlines()
        self.assertTrue(first.endswith("] it failed"))
        self.assertTrue(all(row.startswith("\t") and row[1:].isprintable() for row in more), more)
        self.assertIn("ValueError: bad", "".join(more))

    def test_traceback_that_cannot_be_had(self) -> None:
        line = TextLines()({**event("it failed"), "log_failure": None})
        self.assertTrue(line.endswith("\t(no traceback: AttributeError)\n"))

    @given(VALUES, st.text())
    def test_one_printable_line_of_anything(self, value: object, template: str) -> None:
        for text in ("{word}", "{word!r}", template):
            line = self.render(text, word=value)
            self.assertTrue(line.endswith("\n") and line[:-1].isprintable(), line)


class JSONTests(SynchronousTestCase):
    def render(self, template: str, **values: object) -> dict[str, Any]:
        return self.parse(event(template, **values))

    def parse(self, event: LogEvent) -> dict[str, Any]:
        line = JSONLines()(event)
        self.assertTrue(line.endswith("}\n") and line.isascii() and line[:-1].isprintable(), line)

        def refuse(constant: str) -> None:
            self.fail(f"{constant} is not JSON")

        fields = json.loads(line, parse_constant=refuse)
        # No lone surrogates.
        json.dumps(fields, ensure_ascii=False).encode()
        return cast("dict[str, Any]", fields)

    def test_fields(self) -> None:
        when = datetime.datetime(2026, 11, 24, 3, 4, 5, 678901, datetime.timezone.utc)
        made = {**event("{client} went", client="192.0.2.1"), "log_time": when.timestamp()}
        fields = self.parse(made)
        self.assertEqual(fields.pop("time"), "2026-11-24T03:04:05.678901Z")
        self.assertEqual(
            fields,
            {
                "level": "warn",
                "logger": "guerrilla_tw",
                "message": "192.0.2.1 went",
                "client": "192.0.2.1",
            },
        )

    def test_types(self) -> None:
        for value, expected in (
            (None, None),
            (True, True),
            (3, 3),
            (2**70, str(2**70)),
            (0.25, 0.25),
            (float("nan"), None),
            (float("-inf"), None),
            (["a", "b"], ["a", "b"]),
            (("a", "\ud800"), ["a", r"\ud800"]),
            ([1], "[1]"),
            (b"a\xff", r"a\xff"),
            ("\N{SNOWMAN}\n\ud800", "\N{SNOWMAN}\n\\ud800"),
            ("\x7f\N{GRINNING FACE}\\u", "\x7f\N{GRINNING FACE}\\u"),
            (Words("ab"), ["a", "b"]),
            (Address("me", "example.com"), "me@example.com"),
            (LogLevel.info, "<LogLevel=info>"),
        ):
            self.assertEqual(self.render("x", word=value)["word"], expected)
        self.assertIn("Unprintable", self.render("x", word=Unprintable())["word"])

    def test_a_value_does_not_take_a_fixed_name(self) -> None:
        names = ("time", "level", "logger", "message", "traceback")
        fields = self.parse({**event("the text"), **dict.fromkeys(names, "mine")})
        self.assertEqual(fields["message"], "the text")
        self.assertEqual(fields["level"], "warn")
        self.assertEqual({fields[f"{name}_"] for name in names}, {"mine"})
        self.assertNotIn("traceback", fields)

    def test_traceback(self) -> None:
        fields = self.parse({**event("it failed"), "log_failure": failure("bad")})
        self.assertEqual(fields["message"], "it failed")
        self.assertIn("ValueError: bad", fields["traceback"])

    def test_event_of_somebody_else(self) -> None:
        """With as little in it as Twisted allows."""
        fields = self.parse({"log_format": "x"})
        self.assertEqual((fields["level"], fields["logger"], fields["message"]), ("-", "-", "x"))

    @given(VALUES, st.text(min_size=1))
    def test_json_of_anything(self, value: object, name: str) -> None:
        self.parse({**event("{word}", word=value), name: value})
