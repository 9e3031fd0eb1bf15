"""Paths of MAIL and RCPT, and mailboxes of header fields."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.address import (
    Address,
    AddressError,
    parse_forward_path,
    parse_mailbox,
    parse_reverse_path,
)

BOTH = (parse_reverse_path, parse_forward_path)
MANY = 128 * 1024

bounded = settings(max_examples=300, deadline=None, derandomize=True)

# Octets that often matter in a path, so that arbitrary input is not refused at its first octet.
PATH_PIECES = [
    *(b"<", b">", b"@", b".", b'"', b"\\", b"[", b"]", b":", b",", b" ", b"\t", b"\r\n", b"\0"),
    *(b"a", b"b-c", b"IPv6:", b"192.0.2.1", b"::1", b"postmaster", b"\xc3\xbc", b"\xff"),
]
path_octets = st.lists(st.sampled_from(PATH_PIECES), max_size=14).map(b"".join)

local_parts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=31)
hosts = st.one_of(
    st.from_regex(r"[a-z0-9_]([a-z0-9-]{0,9}[a-z0-9])?(\.[a-z]{1,9}){0,4}", fullmatch=True),
    st.ip_addresses(),
)


class OrdinaryPathTests(SynchronousTestCase):
    def test_user_and_host(self) -> None:
        for parse in BOTH:
            self.assertEqual(
                parse(b"<Alice.B@Example.COM>"), (Address("Alice.B", "Example.COM"), b"")
            )

    def test_every_atom_character(self) -> None:
        local = "!#$%&'*+-/=?^_`{|}~.aZ09"
        self.assertEqual(
            parse_forward_path(f"<{local}@example.com>".encode())[0], Address(local, "example.com")
        )

    def test_domains(self) -> None:
        for host in ("localhost", "a-b.c--d.example", "_dmarc.my_host.example", "9.example", "x"):
            self.assertEqual(parse_forward_path(f"<a@{host}>".encode())[0], Address("a", host))

    def test_rest_is_the_parameters_without_leading_blanks(self) -> None:
        for parse in BOTH:
            for path in (b"<a@b>", b"a@b"):
                self.assertEqual(
                    parse(path + b" \tSIZE=10 BODY=8BITMIME "),
                    (Address("a", "b"), b"SIZE=10 BODY=8BITMIME "),
                )
                self.assertEqual(parse(path + b"  "), (Address("a", "b"), b""))

    def test_tolerates_blanks_before_and_missing_brackets(self) -> None:
        for parse in BOTH:
            for text in (b" <a@b>", b"\t  <a@b>", b"a@b", b" a@b"):
                self.assertEqual(parse(text), (Address("a", "b"), b""))

    def test_source_route_is_dropped(self) -> None:
        for parse in BOTH:
            self.assertEqual(
                parse(b"<@one.example,@two:alice@example.com> X"),
                (Address("alice", "example.com"), b"X"),
            )


class QuotedLocalPartTests(SynchronousTestCase):
    def test_is_unquoted_and_unescaped(self) -> None:
        for text, user in (
            (rb'<"a b"@x>', "a b"),
            (rb'<"a\"b\\c\d"@x>', 'a"b\\cd'),
            (rb'<"a@b>c"@x>', "a@b>c"),
            (rb'<".a..b."@x>', ".a..b."),
            (rb'<""@x>', ""),
            (rb'"a b"@x', "a b"),
        ):
            for parse in BOTH:
                self.assertEqual(parse(text), (Address(user, "x", quoted=True), b""))

    def test_needless_quotes_are_forgotten(self) -> None:
        # RFC 5321 section 4.1.2: both forms name the same mailbox.
        self.assertEqual(parse_forward_path(rb'<"al\ice"@x>')[0], Address("alice", "x"))

    def test_str_quotes_again(self) -> None:
        self.assertEqual(str(Address('a "b\\', "x", quoted=True)), r'"a \"b\\"@x')
        self.assertEqual(str(Address("", "x")), '""@x')

    def test_str_quotes_what_a_caller_made_without_saying_so(self) -> None:
        self.assertEqual(str(Address("a b", "x")), '"a b"@x')


class AddressLiteralTests(SynchronousTestCase):
    def test_ipv4(self) -> None:
        address, _ = parse_forward_path(b"<a@[192.0.2.1]>")
        self.assertEqual(address, Address("a", "192.0.2.1", IPv4Address("192.0.2.1")))
        self.assertEqual(str(address), "a@[192.0.2.1]")

    def test_ipv6_is_normalized(self) -> None:
        for text in (b"<a@[IPv6:2001:DB8:0::1]>", b"a@[ipv6:2001:db8:0:0:0:0:0:1]"):
            address, _ = parse_reverse_path(text)
            self.assertEqual(address, Address("a", "2001:db8::1", IPv6Address("2001:db8::1")))
            self.assertEqual(str(address), "a@[IPv6:2001:db8::1]")

    def test_quoted_user(self) -> None:
        address, _ = parse_forward_path(b'<"a b"@[192.0.2.1]>')
        self.assertEqual(
            address, Address("a b", "192.0.2.1", IPv4Address("192.0.2.1"), quoted=True)
        )

    def test_refused(self) -> None:
        for literal in (
            b"256.0.0.1",
            b"1.2.3",
            b"1.2.3.4.5",
            b"",
            b"::1",
            b"IPv6:",
            b"IPv6:1.2.3.4",
            b"IPv6:1::2::3",
            b"IPv6:fe80::1%eth0",
            b"x-tag:content",
            b"example.com",
        ):
            for parse in BOTH:
                self.assertRaises(AddressError, parse, b"<a@[%b]>" % literal)


class PathWithoutHostTests(SynchronousTestCase):
    def test_null_reverse_path(self) -> None:
        for text in (b"<>", b" <>"):
            self.assertEqual(parse_reverse_path(text), (Address(null_path=True), b""))
        self.assertEqual(parse_reverse_path(b"<> SIZE=1")[1], b"SIZE=1")

    def test_null_path_is_no_recipient(self) -> None:
        self.assertRaises(AddressError, parse_forward_path, b"<>")

    def test_postmaster_in_any_case(self) -> None:
        for user in ("postmaster", "Postmaster", "POSTMASTER"):
            address, rest = parse_forward_path(f" <{user}> X=1".encode())
            self.assertEqual((address, rest), (Address(user), b"X=1"))
            self.assertEqual(str(address), user)

    def test_postmaster_is_no_sender(self) -> None:
        self.assertRaises(AddressError, parse_reverse_path, b"<postmaster>")

    def test_only_postmaster(self) -> None:
        for text in (b"<postmasters>", b"<xpostmaster>", b"<alice>", b'<"a b">', b"alice"):
            self.assertRaises(AddressError, parse_forward_path, text)

    def test_str_of_the_null_path(self) -> None:
        self.assertEqual(str(Address(null_path=True)), "")


class RefusalTests(SynchronousTestCase):
    def test_not_a_path(self) -> None:
        for text in (
            b"",
            b" ",
            b"<",
            b"<a@b",
            b"a@b>",
            b"<<a@b>>",
            b"<a@b>x",
            b"<a@b>>",
            b"<a@b><c@d>",
            b"<>x",
            b"< a@b>",
            b"<a@b >",
            b"<a@>",
            b"<@b>",
            b"<a@b@c>",
            b"<a b@c>",
            b"<.a@b>",
            b"<a.@b>",
            b"<a..b@c>",
            b"<a@b.>",
            b"<a@.b>",
            b"<a@b..c>",
            b"<a@-b>",
            b"<a@b->",
            b"<a@b-.c>",
            b"<a@b!c>",
            b'<"a@b>',
            b'<"a"b@c>',
            b'<a"b"@c>',
            b'<"a\\"@b>',
            b"<(comment)a@b>",
            b"<@a:>",
            b"<@a,b:c@d>",
            b"<@a c@d>",
            b"@a:c@d",
            b"a@b,c@d",
            b"Alice <a@b>",
        ):
            for parse in BOTH:
                self.assertRaises(AddressError, parse, text)

    def test_control_and_eight_bit_octets(self) -> None:
        for octet in (*range(32), *range(127, 256)):
            for form in (b"<a%bb@c>", b'<"a%bb"@c>', b'<"a\\%bb"@c>', b"<a@b%bc>", b"%b<a@b>"):
                text = form % bytes([octet])
                if text == b"\t<a@b>":
                    continue
                for parse in BOTH:
                    self.assertRaises(AddressError, parse, text)

    def test_message_says_when_it_is_not_ascii(self) -> None:
        error = self.assertRaises(AddressError, parse_forward_path, "<ü@b>".encode())
        self.assertIn("not ASCII", str(error))

    @bounded
    @given(st.one_of(st.binary(max_size=60), path_octets))
    def test_arbitrary_octets(self, text: bytes) -> None:
        for parse in BOTH:
            try:
                address, rest = parse(text)
            except AddressError as error:
                self.assertIn(
                    str(error),
                    {
                        "the address is not valid",
                        "the address is not ASCII",
                        "the address literal is not valid",
                    },
                )
            else:
                self.assertTrue(text.endswith(rest))
                self.assertEqual(parse(b"<%b>" % str(address).encode()), (address, b""))

    def test_time_is_linear_in_the_input(self) -> None:
        # A backtracking that is worse would hang here.
        for text in (
            b"<" + b"a" * MANY,
            b"<" + b"a." * MANY,
            b'<"' + b"a" * MANY,
            b'<"' + b"\\" * MANY,
            b"<@" + b"a,@" * MANY,
            b"<a@" + b"a-" * MANY,
            b"<a@" + b"a." * MANY,
            b" " * MANY,
            b"<a@[IPv6:" + b":" * MANY + b"]>",
            b"<a@[" + b"1" * MANY + b"]>",
        ):
            self.assertRaises(AddressError, parse_forward_path, text)


class LimitTests(SynchronousTestCase):
    def test_local_part_64_octets(self) -> None:
        for local in (b"a" * 64, b'"%b"' % (b" " * 62)):
            self.assertEqual(parse_forward_path(b"<%b@b>" % local)[1], b"")
        for local in (b"a" * 65, b'"%b"' % (b" " * 63), b'"%b"' % (b"\\a" * 32)):
            error = self.assertRaises(AddressError, parse_forward_path, b"<%b@b>" % local)
            self.assertIn("local part is longer than 64", str(error))

    def test_path_256_octets(self) -> None:
        for form, room in ((b"<a@%b>", 252), (b"a@%b", 252), (b"<@x.example:a@%b>", 241)):
            self.assertEqual(parse_reverse_path(form % (b"h" * room))[1], b"")
            error = self.assertRaises(AddressError, parse_reverse_path, form % (b"h" * (room + 1)))
            self.assertIn("path is longer than 256", str(error))

    def test_domain_255_octets(self) -> None:
        error = self.assertRaises(AddressError, parse_reverse_path, b"<a@%b>" % (b"h" * 256))
        self.assertIn("domain is longer than 255", str(error))

    def test_parameters_do_not_count(self) -> None:
        self.assertEqual(parse_reverse_path(b"<a@b> " + b"x" * 2000)[1], b"x" * 2000)


class RoundTripTests(SynchronousTestCase):
    @bounded
    @given(local_parts, hosts)
    def test_any_user_at_any_host(self, user: str, host: str | IPv4Address | IPv6Address) -> None:
        made = Address(user, host) if isinstance(host, str) else Address(user, str(host), host)
        for parse in BOTH:
            parsed, rest = parse(f"<{made}>".encode())
            self.assertEqual(
                (parsed.user, parsed.host, parsed.ip, rest), (user, made.host, made.ip, b"")
            )


class ParseMailboxTests(SynchronousTestCase):
    def test_forms(self) -> None:
        for text, expected in (
            ("a@b", Address("a", "b")),
            ("<a@b>", Address("a", "b")),
            ("Alice B. <a@b>, c@d", Address("a", "b", display_name="Alice B.")),
            ('"B, Alice" <a@b>', Address("a", "b", display_name="B, Alice")),
            ("a@b (Alice)", Address("a", "b", display_name="Alice")),
            ('"a b"@c', Address("a b", "c", quoted=True)),
            ("group: a@b, c@d;", Address("a", "b")),
        ):
            self.assertEqual(parse_mailbox(text), expected)

    def test_display_name_is_decoded_after_parsing(self) -> None:
        self.assertEqual(
            parse_mailbox("=?utf-8?q?J=C3=B6rg=2C_x=40evil?= <a@b>"),
            Address("a", "b", display_name="Jörg, x@evil"),
        )

    def test_skips_what_is_no_address(self) -> None:
        self.assertEqual(parse_mailbox("nobody, a..b@c, d@e"), Address("d", "e"))

    def test_none(self) -> None:
        for text in ("", " ", "postmaster", "<>", "undisclosed-recipients:;", "ü@b", "a@b\0"):
            self.assertIsNone(parse_mailbox(text))

    def test_long_value(self) -> None:
        self.assertEqual(
            parse_mailbox("Alice <a@b>, " + "c@d, " * 100_000),
            Address("a", "b", display_name="Alice"),
        )

    def test_address_cut_by_the_limit_is_none(self) -> None:
        self.assertIsNone(parse_mailbox("x" * 2040 + " <a@b.example"))
        self.assertIsNone(parse_mailbox(" " * 2040 + "a@b.example.com"))

    def test_hostile_nesting(self) -> None:
        for unit in ("(", '"', "<", "[", "a@[", "a:", "\\", "<@"):
            self.assertIsNone(parse_mailbox(unit * 2000))

    @bounded
    @given(
        st.one_of(
            st.text(max_size=80),
            st.text('ab@.,:;<>()[]"\\ \t\r\n\0=?q\ud800', max_size=40),
        )
    )
    def test_never_raises_and_gives_valid_paths(self, text: str) -> None:
        address = parse_mailbox(text)
        if address is not None:
            again, rest = parse_forward_path(f"<{address}>".encode())
            self.assertEqual((str(again), rest), (str(address), b""))
