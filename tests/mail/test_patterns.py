"""Patterns with stars."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.patterns import Patterns, host_pattern


class PatternsTests(SynchronousTestCase):
    def found(self, name: str, *patterns: str) -> set[str]:
        """:returns: those of the patterns that the name fits."""
        table: Patterns[str] = Patterns()
        for pattern in patterns:
            table.setdefault(pattern, pattern)
        return set(table.find(name))

    def test_no_star(self) -> None:
        self.assertEqual(self.found("bob", "bob", "alice", "bo", "bobb"), {"bob"})

    def test_one_star(self) -> None:
        for name in ("", "a", "ab", "a*b", "*"):
            self.assertEqual(self.found(name, "*"), {"*"})
        fits = {"a*", "*b", "a*b", "ab*", "*ab", "*"}
        self.assertEqual(self.found("ab", *fits, "b*", "*a", "b*a", "abb*", "*aab", "a*c"), fits)

    def test_what_stands_around_a_star_does_not_overlap(self) -> None:
        self.assertEqual(self.found("aba", "ab*ba", "a*aba", "aba*a", "aba*"), {"aba*"})
        self.assertEqual(self.found("abba", "ab*ba"), {"ab*ba"})

    def test_many_stars(self) -> None:
        fits = {"a*c*e", "*b*d*", "a**e", "*", "***", "*a*e", "a*b*c*d*e*"}
        no = {"*d*b*", "a*e*c", "a*a*e", "*e*e", "a*b*b*e", "b*d*", "*b*d"}
        self.assertEqual(self.found("abcde", *fits, *no), fits)
        self.assertEqual(self.found("xaya", "x*a*a", "x*aa", "*a*a*a"), {"x*a*a"})

    def test_name_with_a_star(self) -> None:
        self.assertEqual(self.found("a*", "a*", "a", "a*b"), {"a*"})
        self.assertEqual(self.found("b*c", "a*c"), set())

    def test_hostile_number_of_stars(self) -> None:
        """A regular expression would hang here."""
        stars = "*a" * 200 + "*b"
        self.assertEqual(self.found("a" * 255, stars), set())
        self.assertEqual(self.found("a" * 255 + "b", stars), {stars})

    def test_first_value_of_a_pattern_stays(self) -> None:
        table: Patterns[list[int]] = Patterns()
        for pattern in ("a", "a*"):
            first = table.setdefault(pattern, [1])
            self.assertIs(table.setdefault(pattern, [2]), first)
            self.assertIn(first, list(table.find("a")))
        self.assertNotIn([2], list(table.find("a")))


class HostPatternTests(SynchronousTestCase):
    def test_forms(self) -> None:
        for text, form in (
            ("Example.COM", "example.com"),
            ("*.BÜCHER.example", "*.xn--bcher-kva.example"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:DB8:0::1]", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
        ):
            self.assertEqual(host_pattern(text), form)

    def test_refused(self) -> None:
        for text in ("bü*.example", "[300.0.0.1]", "[*]", "[]"):
            error = self.assertRaises(ValueError, host_pattern, text)
            self.assertIn(text.strip("[]"), str(error))
