"""Durations as Go writes them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config.durations import Duration, parse_duration


class Durations(SynchronousTestCase):
    def test_read(self) -> None:
        for text, seconds in [
            ("0", 0.0),
            ("+0", 0.0),
            ("0s", 0.0),
            ("30s", 30.0),
            ("+30s", 30.0),
            ("1m30s", 90.0),
            ("250ms", 0.25),
            ("1.5h", 5400.0),
            ("2h45m", 9900.0),
            (".5s", 0.5),
            ("5.s", 5.0),
            ("1s1s", 2.0),
            ("7ns", 7e-9),
            ("7us", 7e-6),
            ("7\u00b5s", 7e-6),
            ("7\u03bcs", 7e-6),
            ("2540400h", 2540400 * 3600.0),
        ]:
            duration = parse_duration(text)
            self.assertIsInstance(duration, Duration)
            self.assertAlmostEqual(duration, seconds, places=12, msg=text)

    def test_refused(self) -> None:
        for text in [
            "", "+", ".", "s", ".s", "1", "00", "1.5", "1S", "1d", "1 s", " 1s", "1s ", "1s\n",
            "1s2", "1..5s", "1e3s", "++1s", "\u0661s", "1sm", "h1", "infs", "nan",
        ]:  # fmt: skip
            error = self.assertRaises(ValueError, parse_duration, text)
            self.assertEqual(str(error), 'not a duration, such as "30s", "250ms" or "1m30s"', text)

    def test_negative(self) -> None:
        for text in ("-1s", "-0", "-x"):
            error = self.assertRaises(ValueError, parse_duration, text)
            self.assertEqual(str(error), "a duration must not be negative")

    def test_too_long(self) -> None:
        for text in ("2562048h", "9" * 5000 + "s"):
            error = self.assertRaises(ValueError, parse_duration, text)
            self.assertEqual(str(error), "the duration is too long")

    @settings(deadline=None)
    @given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
    def test_sum(self, hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
        text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
        expected = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
        self.assertAlmostEqual(parse_duration(text), expected, places=5)

    @settings(deadline=None)
    @given(st.text(alphabet="0123456789.+-nuµμmsh "))
    def test_any_text_is_judged(self, text: str) -> None:
        try:
            self.assertGreaterEqual(parse_duration(text), 0)
        except ValueError as error:
            self.assertNotEqual(str(error), "")
