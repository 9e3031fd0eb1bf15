"""``allowed_hosts``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.address import parse_forward_path
from guerrilla_tw.smtp.hosts import AllowedHosts


class AllowedHostsTests(SynchronousTestCase):
    def allows(self, path: str, *patterns: str) -> bool:
        address, _ = parse_forward_path(f"<{path}>".encode())
        return AllowedHosts(patterns).allows(address)

    def test_exact_in_any_case(self) -> None:
        self.assertTrue(self.allows("a@Example.COM", "example.com"))
        self.assertTrue(self.allows("a@example.com", " EXAMPLE.com "))
        self.assertFalse(self.allows("a@sub.example.com", "example.com"))
        self.assertFalse(self.allows("a@example.com.evil.net", "example.com"))

    def test_wildcards(self) -> None:
        self.assertTrue(self.allows("a@sub.example.com", "*.example.com"))
        self.assertTrue(self.allows("a@x.y.example.com", "*.example.com"))
        self.assertFalse(self.allows("a@example.com", "*.example.com"))
        self.assertTrue(self.allows("a@grr.la", "no.such", "grr.*"))
        self.assertFalse(self.allows("a@xgrr.la", "grr.*"))
        self.assertTrue(self.allows("a@mail.b.example", "mail.*.ex*"))

    def test_a_pattern_is_no_regular_expression(self) -> None:
        self.assertFalse(self.allows("a@exampleXcom", "*example.com"))
        self.assertFalse(self.allows("a@aa", "a+*"))

    def test_many_stars(self) -> None:
        self.assertTrue(self.allows("a@ab.ab.c.example", "*ab*ab*.example"))
        self.assertFalse(self.allows("a@ab.c.example", "*ab*ab*.example"))
        self.assertFalse(self.allows("a@aba", "ab*ba"))
        self.assertTrue(self.allows("a@abba", "ab**ba"))
        # A regular expression would hang here.
        long = "a" + ".a" * 120
        self.assertFalse(self.allows(f"a@{long}", "*".join("a" * 30) + "*.example"))

    def test_a_dot_allows_every_host(self) -> None:
        self.assertTrue(self.allows("a@anything.example", "."))
        self.assertTrue(self.allows("a@[192.0.2.1]", "."))

    def test_address_literals(self) -> None:
        self.assertTrue(self.allows("a@[192.0.2.1]", "[192.0.2.1]"))
        self.assertFalse(self.allows("a@[192.0.2.2]", "[192.0.2.1]"))
        self.assertTrue(self.allows("a@[IPv6:2001:DB8:0::1]", "[2001:db8::1]"))
        self.assertTrue(self.allows("a@[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"))
        self.assertFalse(self.allows("a@192.0.2.1", "[192.0.2.1]"))
        self.assertFalse(self.allows("a@[192.0.2.1]", "*"))

    def test_u_labels_and_a_labels_are_the_same(self) -> None:
        u_label, a_label = "bücher.example", "xn--bcher-kva.example"
        for pattern in (
            u_label,
            "BÜCHER.Example",
            "bu\u0308cher.example",
            a_label,
            a_label.upper(),
        ):
            for host in (u_label, "BÜCHER.EXAMPLE", a_label, "XN--bcher-KVA.example"):
                self.assertTrue(self.allows(f"a@{host}", pattern))
            self.assertFalse(self.allows("a@bucher.example", pattern))
            self.assertFalse(self.allows("a@b\u0438cher.example", pattern))

    def test_u_labels_and_stars(self) -> None:
        for pattern in ("*.bücher.example", "*.xn--bcher-kva.example"):
            self.assertTrue(self.allows("a@post.bücher.example", pattern))
            self.assertTrue(self.allows("a@pöst.xn--bcher-kva.example", pattern))
            self.assertFalse(self.allows("a@bücher.example", pattern))
        self.assertTrue(self.allows("a@bücher.пример", "bücher.*"))
        self.assertTrue(self.allows("a@bücher.example", "*.example"))

    def test_a_bad_label_is_refused(self) -> None:
        for pattern in ("bü*.example", "☃.example", "bücher。example", "ü" * 60, "*ü"):
            error = self.assertRaises(ValueError, AllowedHosts, ["a.example", pattern])
            self.assertIn(pattern, str(error))

    def test_no_hosts(self) -> None:
        self.assertFalse(self.allows("a@example.com"))

    def test_a_bad_literal_is_refused(self) -> None:
        error = self.assertRaises(ValueError, AllowedHosts, ["[300.0.0.1]"])
        self.assertIn("300.0.0.1", str(error))
