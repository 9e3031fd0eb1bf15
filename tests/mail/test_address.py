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
    *(
        c.encode()
        for c in ("Ü", "\u0308", "\u200d", "\u202e", "\u3002", "क्", "ß", "ﬁ", "\x85", "😀")
    ),
]
path_octets = st.lists(st.sampled_from(PATH_PIECES), max_size=14).map(b"".join)

local_parts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=31)
hosts = st.one_of(
    st.from_regex(r"[a-z0-9_]([a-z0-9-]{0,9}[a-z0-9])?(\.[a-z]{1,9}){0,4}", fullmatch=True),
    st.ip_addresses(),
)
u_labels = st.text("aB-üÜßẞあア漢бБ\u0308\u0131\u0130क्\u200dאش\u06f1ﬁ", min_size=1, max_size=8)


def domain(size: int) -> bytes:
    """:returns: a domain of as many octets."""
    return (b"h.hh" * size)[: size - 1] + b"h"


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

    def test_numbers_of_ipv4_are_decimal(self) -> None:
        address, _ = parse_forward_path(b"<a@[192.000.002.010]>")
        self.assertEqual(address, Address("a", "192.0.2.10", IPv4Address("192.0.2.10")))

    def test_ipv6_with_a_dotted_quad(self) -> None:
        for text in (b"::ffff:192.0.2.1", b"0:0:0:0:0:FFFF:192.0.2.1"):
            address, _ = parse_forward_path(b"<a@[IPv6:%b]>" % text)
            self.assertEqual(address.ip, IPv6Address("::ffff:c000:201"))

    def test_ipv6_with_as_many_groups_as_there_can_be(self) -> None:
        for text in (b"1:2:3:4:5:6:7:8", b"1:2:3:4:5:6::", b"::3:4:5:6:7:8", b"1:2:3:4::192.0.2.1"):
            address, _ = parse_forward_path(b"<a@[IPv6:%b]>" % text)
            self.assertEqual(address.ip, IPv6Address(text.decode()))

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
            b"1.2.3.0004",
            b"1..3.4",
            b".1.2.3",
            b"",
            b"::1",
            b"IPv6:",
            b"IPv6:1.2.3.4",
            b"IPv6:1::2::3",
            b"IPv6:fe80::1%eth0",
            # "::" stands for two groups at least.
            b"IPv6:1:2:3:4:5:6:7::",
            b"IPv6:1:2:3:4:5::192.0.2.1",
            b"IPv6:12345::",
            b"192.0.2.\xd9\xa1",
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
        for text in (
            *(b"<postmasters>", b"<xpostmaster>", b"<alice>", b'<"a b">', b"alice"),
            *(b"<postmaster@>", b'<"postmaster">', b"postmaster", b"<@x:postmaster>"),
            "<po\u017ftmaster>".encode(),
        ):
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
                        "the address is not valid UTF-8",
                        "the address has a control character or an unusual blank",
                        "the address literal is not valid",
                        "the domain has a label that IDNA does not admit",
                    },
                )
            else:
                self.assertTrue(text.endswith(rest))
                self.assertTrue(address.ascii_host.isascii())
                self.assertTrue(address.is_ascii or not text.isascii())
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
            b"<a@" + b"-" * MANY,
            b"<a@b" + b"-" * MANY,
            b"<" + "ü".encode() * MANY,
            b"<a@" + "ü.".encode() * MANY + b">",
            b"<a@[IPv6:" + b":" * MANY + b"]>",
            b"<a@[" + b"1" * MANY + b"]>",
        ):
            self.assertRaises(AddressError, parse_forward_path, text)


class LimitTests(SynchronousTestCase):
    def test_local_part_64_octets(self) -> None:
        for local in (b"a" * 64, "ü".encode() * 32, b'"%b"' % (b" " * 62)):
            self.assertEqual(parse_forward_path(b"<%b@b>" % local)[1], b"")
        for local in (
            b"a" * 65,
            b"a" + "ü".encode() * 32,
            b'"%b"' % (b" " * 63),
            b'"%b"' % (b"\\a" * 32),
        ):
            error = self.assertRaises(AddressError, parse_forward_path, b"<%b@b>" % local)
            self.assertIn("local part is longer than 64", str(error))

    def test_path_256_octets(self) -> None:
        for form, room in ((b"<a@%b>", 252), (b"a@%b", 252), (b"<@x.example:a@%b>", 241)):
            self.assertEqual(parse_reverse_path(form % domain(room))[1], b"")
            error = self.assertRaises(AddressError, parse_reverse_path, form % domain(room + 1))
            self.assertIn("path is longer than 256", str(error))

    def test_domain_255_octets(self) -> None:
        error = self.assertRaises(AddressError, parse_reverse_path, b"<a@%b>" % domain(256))
        self.assertIn("domain is longer than 255", str(error))

    def test_path_256_octets_in_each_form(self) -> None:
        """U-labels may grow as they are mapped, and as they become A-labels."""
        for labels in (["ü"] * 32, ["\u3336" * 5] * 4):
            self.assertEqual(parse_reverse_path(f"<a@{'.'.join(labels[:-1])}>".encode())[1], b"")
            path = f"<a@{'.'.join(labels)}>".encode()
            self.assertLess(len(path), 100)
            error = self.assertRaises(AddressError, parse_reverse_path, path)
            self.assertIn("path is longer than 256", str(error))

    def test_label_63_octets(self) -> None:
        for host in ("h" * 63, "x." + "h" * 63 + ".y"):
            self.assertEqual(parse_forward_path(f"<a@{host}>".encode())[0].host, host)
        for host in ("h" * 64, "x." + "h" * 64 + ".y"):
            error = self.assertRaises(AddressError, parse_forward_path, f"<a@{host}>".encode())
            self.assertIn("label of the domain is longer than 63", str(error))

    def test_u_label_of_63_octets_as_an_a_label(self) -> None:
        address, _ = parse_forward_path(f"<a@{'あ' * 57}>".encode())
        self.assertEqual(len(address.ascii_host), 63)
        self.assertRaises(AddressError, parse_forward_path, f"<a@{'あ' * 58}>".encode())

    def test_parameters_do_not_count(self) -> None:
        self.assertEqual(parse_reverse_path(b"<a@b> " + b"x" * 2000)[1], b"x" * 2000)


class Utf8Tests(SynchronousTestCase):
    """RFC 6531 section 3.3."""

    def test_atoms_and_quoted_strings(self) -> None:
        for text, user in (
            ("<jürgen@b>", "jürgen"),
            ("<用户.名@b>", "用户.名"),
            ("jürgen@b", "jürgen"),
            ("<😀@b>", "😀"),
            # Neither composed nor put in one case: only the host of the mailbox may do that.
            ("<Ju\u0308RGEN@b>", "Ju\u0308RGEN"),
            ("<نو\u200cی@b>", "نو\u200cی"),
            ('<"jürgen"@b>', "jürgen"),
        ):
            for parse in BOTH:
                self.assertEqual(parse(text.encode()), (Address(user, "b"), b""))
        address, _ = parse_forward_path('<"ü \\" ß"@b>'.encode())
        self.assertEqual(address, Address('ü " ß', "b", quoted=True))

    def test_u_labels(self) -> None:
        for host, ascii_host in (
            ("bücher.example", "xn--bcher-kva.example"),
            ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
            ("faß.example", "xn--fa-hia.example"),
            ("_x.bücher.XN--p1ai", "_x.xn--bcher-kva.XN--p1ai"),
        ):
            for parse in BOTH:
                address, _ = parse(f"<a@{host}> X".encode())
                self.assertEqual((address, address.ascii_host), (Address("a", host), ascii_host))
                self.assertEqual(str(address), f"a@{host}")

    def test_u_labels_have_one_form(self) -> None:
        for host in ("BÜCHER.Example", "bu\u0308cher.Example", "\uff42ücher.Example"):
            self.assertEqual(parse_forward_path(f"<a@{host}>".encode())[0].host, "bücher.Example")

    def test_is_ascii(self) -> None:
        for text, is_ascii in (
            *(("<a@b>", True), ("<ü@b>", False), ("<a@ü>", False), ("<a@[192.0.2.1]>", True)),
            ("<a@xn--bcher-kva>", True),
        ):
            self.assertIs(parse_forward_path(text.encode())[0].is_ascii, is_ascii)
        self.assertTrue(Address(null_path=True).is_ascii)

    def test_ascii_host_of_ascii(self) -> None:
        for text, host in (("<a@Example.com>", "Example.com"), ("<a@[IPv6:0::1]>", "::1")):
            self.assertEqual(parse_forward_path(text.encode())[0].ascii_host, host)

    def test_source_route(self) -> None:
        address, _ = parse_forward_path("<@ü.example,@b:a@c>".encode())
        self.assertEqual(address, Address("a", "c"))

    def test_no_u_labels(self) -> None:
        for host in (
            *(
                "☃.example",
                "ü-.example",
                "-ü.example",
                "ab--ü",
                "xn--ü",
                "_ü",
                "\u0308u",
                "a\u30fb",
            ),
            # A joiner without its context, and directions that are mixed.
            *("a\u200db", "אa", "\u06601"),
            # ASCII once they are mapped; other dots; a slash that was hidden.
            *(
                "\uff45xample",
                "ü.\uff45",
                "\u212a",
                "bücher\u3002example",
                "bücher\uff0eexample",
                "\u2100ü",
            ),
            *("ü..b", "ü.", ".ü", "ü@b", "[ü]"),
        ):
            for parse in BOTH:
                self.assertRaises(AddressError, parse, f"<a@{host}>".encode())

    def test_not_utf8(self) -> None:
        for octets in (
            *(
                b"\xfc",
                b"\xc3",
                b"\xbc",
                b"\xc0\xaf",
                b"\xc1\xbf",
                b"\xe0\x80\xaf",
                b"\xf0\x80\x80\xaf",
            ),
            *(
                b"\xed\xa0\x80",
                b"\xed\xbf\xbf",
                b"\xf4\x90\x80\x80",
                b"\xf8\x88\x80\x80\x80",
                b"\xff",
            ),
        ):
            for form in (b"<%b@c>", b'<"%b"@c>', b"<a@%b>", b"<@%b:a@c>", b"%b@c"):
                for parse in BOTH:
                    error = self.assertRaises(AddressError, parse, form % octets)
                    self.assertIn("not valid UTF-8", str(error))

    def test_what_would_break_a_line_or_hide_in_it(self) -> None:
        for character in (
            *map(chr, range(0x80, 0xA1)),
            *"\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2060\u2066\u2069\u3000\ufeff",
        ):
            for form in ("<a%sb@c>", '<"a%sb"@c>', "<a@b%sc>", "<@b%sc:a@d>"):
                for parse in BOTH:
                    self.assertRaises(AddressError, parse, (form % character).encode())

    def test_a_quoted_pair_is_ascii(self) -> None:
        self.assertRaises(AddressError, parse_forward_path, '<"\\ü"@c>'.encode())

    def test_ascii_host_of_what_was_not_parsed(self) -> None:
        self.assertRaises(ValueError, getattr, Address("a", "☃"), "ascii_host")


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

    @bounded
    @given(st.text(st.characters(exclude_categories=("C", "Z")), max_size=15), u_labels)
    def test_utf8(self, user: str, host: str) -> None:
        try:
            parsed, _ = parse_forward_path(f"<{Address(user, host)}>".encode())
        except AddressError:
            pass  # Most names have a label that IDNA does not admit.
        else:
            self.assertEqual(parsed.user, user)
            self.assertEqual(parse_reverse_path(f"<{parsed}>".encode()), (parsed, b""))
            ascii_path = f"<a@{parsed.ascii_host}>".encode()
            self.assertEqual(parse_forward_path(ascii_path)[0].host, parsed.ascii_host)


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
            ("Jörg <jörg@bücher.example>", Address("jörg", "bücher.example", display_name="Jörg")),
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
        for text in ("", " ", "postmaster", "<>", "undisclosed-recipients:;", "a@☃", "a@b\0"):
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
