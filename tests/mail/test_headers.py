"""Header fields and their encoded words."""

from __future__ import annotations

import encodings
from email.charset import BASE64, QP, Charset
from email.header import Header

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.headers import Headers, decode_words, find_subject, header_block

LIMIT = 256 * 1024

VALUE_PIECES = [
    *(b"X", b":", b"\r\n", b"\n", b"\r", b" ", b"\0", b"\xff", b"\xed\xa0\x80", b"=?", b"?="),
    *(b"=?utf-7?q?+2AA-?=", b"=?utf-16?b?2AA=?=", b"=?x?q?=00=0D?="),
]

# What a search for one field must not take for it, or miss.
BLOCK_PIECES = [
    *(b"subject", b"SUBJECT", b"x", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\xff", b": v"),
    *(b"\nSubject:", b"\nsubject :", b"\nsubjects:", b"\n\tsubject:", b"\n subject: w"),
    b"\nsubject: =?utf-8?q?=C3=B6?=\n more",
]

bounded = settings(max_examples=300, deadline=None, derandomize=True)


def is_storable(text: str) -> bool:
    text.encode()  # raises on a lone surrogate
    return "\0" not in text and "\r" not in text and "\n" not in text


class HeadersTests(SynchronousTestCase):
    def test_get_in_any_case(self) -> None:
        headers = Headers(b"Subject: Hello\r\nX-A: 1\r\n")
        for name in ("Subject", "subject", "SUBJECT"):
            self.assertEqual(headers.get(name), "Hello")
            self.assertIn(name, headers)

    def test_missing_field(self) -> None:
        headers = Headers(b"Subject: Hello\r\n")
        self.assertIsNone(headers.get("To"))
        self.assertIsNone(headers.get_raw("To"))
        self.assertEqual(headers.get_all("To"), [])
        self.assertNotIn("To", headers)
        self.assertNotIn(b"Subject", headers)

    def test_no_fields(self) -> None:
        self.assertEqual(list(Headers()), [])

    def test_names_in_order_as_given(self) -> None:
        headers = Headers(b"B: 1\r\na: 2\r\nb: 3\r\n")
        self.assertEqual(list(headers), ["B", "a", "b"])
        self.assertEqual(len(headers), 3)

    def test_repeated_field(self) -> None:
        headers = Headers(b"Received: one\r\nX: -\r\nRECEIVED: =?utf-8?q?tw=C3=B6?=\r\n")
        self.assertEqual(headers.get("received"), "one")
        self.assertEqual(headers.get_all("received"), ["one", "twö"])

    def test_raw_value_keeps_encoded_words(self) -> None:
        headers = Headers(b"To: =?utf-8?q?a=2C?=\r\n <a@b>\r\n")
        self.assertEqual(headers.get_raw("to"), "=?utf-8?q?a=2C?= <a@b>")
        self.assertEqual(headers.get("to"), "a, <a@b>")

    def test_unfolding(self) -> None:
        for block in (b"X: one\r\n two\r\n\tthree\r\nY: -", b"X: one\n two\n\tthree\nY: -"):
            headers = Headers(block)
            self.assertEqual(headers.get("X"), "one two\tthree")
            self.assertEqual(headers.get("Y"), "-")

    def test_value_without_surrounding_blanks(self) -> None:
        for block in (b"X:a b", b"X: a b\r\n", b"X:\r\n \t a b \t\r\n", b"X : a b\n"):
            self.assertEqual(Headers(block).get("x"), "a b")

    def test_empty_value(self) -> None:
        headers = Headers(b"X:\r\nY: \r\n")
        self.assertEqual([headers.get("X"), headers.get("Y")], ["", ""])

    def test_value_keeps_its_colons(self) -> None:
        self.assertEqual(Headers(b"X: a: b:c\r\n").get("X"), "a: b:c")

    def test_lines_that_are_no_fields_are_skipped(self) -> None:
        headers = Headers(
            b" leading continuation\r\nFrom a@b Mon Jan 1 10:00:00\r\nno colon\r\n of it: x\r\n"
            b": no name\r\nna\xefve: x\r\nX: y\r\n"
        )
        self.assertEqual(list(headers), ["X"])
        self.assertEqual(headers.get("X"), "y")

    def test_eight_bit_values(self) -> None:
        headers = Headers(b"U: gr\xc3\xbcn\r\nL: gr\xfcn\r\nS: \xed\xa0\x80\r\n")
        self.assertEqual(headers.get("U"), "grün")
        self.assertEqual(headers.get("L"), "grün")
        self.assertEqual(headers.get("S"), "í\xa0\x80")

    def test_nul_and_bare_cr(self) -> None:
        self.assertEqual(Headers(b"X: a\0b\rc\r\n").get("X"), "a\ufffdb c")

    @bounded
    @given(
        st.one_of(
            st.binary(max_size=100),
            st.lists(st.sampled_from(VALUE_PIECES), max_size=20).map(b"".join),
        )
    )
    def test_whatever_comes_out_can_be_stored(self, octets: bytes) -> None:
        headers = Headers(b"X: " + octets)
        values = [value for name in headers for value in headers.get_all(name)]
        self.assertGreaterEqual(len(values), 1)
        for value in values:
            self.assertTrue(is_storable(value))

    def test_hostile_blocks(self) -> None:
        # A worse than linear parser would hang here.
        for unit, fields in (
            (b"a", 1),
            (b"a\n", 1),
            (b"a:\n", LIMIT // 3),
            (b"\n ", 1),
            (b"\r", 1),
            (b"\r\n\r\n ", 1),
        ):
            headers = Headers(b"X:" + unit * (LIMIT // len(unit)))
            self.assertTrue(is_storable(headers.get("x") or ""))
            self.assertEqual(len(headers), fields)


class FindSubjectTests(SynchronousTestCase):
    """It is found as by those who have found all fields."""

    @bounded
    @given(st.lists(st.sampled_from(BLOCK_PIECES), max_size=20).map(b"".join))
    def test_as_among_all(self, block: bytes) -> None:
        self.assertEqual(find_subject(block), Headers(block).get("Subject") or "", block)

    def test_hostile_blocks(self) -> None:
        word = b"subject"
        for unit in (word, b"%b\n" % word, b"x%b:\n" % word, b"%b \n" % word, b"x:\n \n"):
            block = (unit * LIMIT)[:LIMIT]
            self.assertEqual(find_subject(block), "")
            self.assertEqual(find_subject(block + b"\nSubject: y"), "y")
        blanks = b"\n" + word + b" " * LIMIT
        self.assertEqual(find_subject(blanks * 2), "")


class HeaderBlockTests(SynchronousTestCase):
    def test_ends_before_the_first_empty_line(self) -> None:
        self.assertEqual(header_block(b"A: 1\r\nB: 2\r\n\r\nC: 3\r\n\r\n"), b"A: 1\r\nB: 2\r\n")
        self.assertEqual(header_block(b"A: 1\nB: 2\n\nC: 3\n"), b"A: 1\nB: 2\n")
        self.assertEqual(header_block(b"A: 1\n\nB: 2\r\n\r\nC: 3\n"), b"A: 1\n")
        self.assertEqual(header_block(b"A: 1\r\n\r\nB: 2\n\nC: 3\n"), b"A: 1\r\n")

    def test_line_of_blanks_is_not_empty(self) -> None:
        self.assertEqual(header_block(b"A: 1\r\n \r\nB: 2\r\n\r\n"), b"A: 1\r\n \r\nB: 2\r\n")

    def test_no_empty_line(self) -> None:
        self.assertEqual(header_block(b"A: 1\r\nB: 2\r\n"), b"A: 1\r\nB: 2\r\n")

    def test_body_only(self) -> None:
        for data in (b"", b"\r\nA: 1\r\n", b"Dear all: hello\r\n\r\n", b"hello\r\nA: 1\r\n\r\n"):
            self.assertEqual(header_block(data), b"")

    def test_separator_line_of_an_mbox(self) -> None:
        for line in (b"From a@b Mon Jan 1 10:00:00 2024\r\n", b">From a@b\r\n"):
            block = header_block(line + b"A: 1\r\n\r\nbody")
            self.assertEqual(Headers(block).get("A"), "1")

    def test_looks_at_256_kib_and_cuts_between_lines(self) -> None:
        line = b"A: " + b"x" * 95 + b"\r\n"
        self.assertEqual(header_block(line * 10_000 + b"\r\n"), line * (LIMIT // len(line)))
        self.assertEqual(header_block(b"A: " + b"x" * 2 * LIMIT + b"\r\n\r\n"), b"")


class DecodeWordsTests(SynchronousTestCase):
    def check(self, *cases: tuple[str, str]) -> None:
        for text, decoded in cases:
            self.assertEqual(decode_words(text), decoded)

    def test_text_without_words_is_the_same_object(self) -> None:
        text = "an ordinary = subject?"
        self.assertIs(decode_words(text), text)

    def test_single_words(self) -> None:
        self.check(
            ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
            ("=?UTF-8?Q?a_b=5F?=", "a b_"),
            ("=?utf-8?B?R3LDvMOfZQ==?=", "Grüße"),
            ("=?iso-8859-1?q?Gr=FC=DFe?=", "Grüße"),
            ("=?koi8-r?b?8NLJ18XU?=", "Привет"),
            ("=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "日本"),
            ("=?gb18030?b?xOO6ww==?=", "你好"),
            ("=?us-ascii*en-us?q?hello?=", "hello"),
            ("=?utf-8?q??=", ""),
        )

    def test_within_other_text(self) -> None:
        self.check(
            ("Re: =?utf-8?q?=C3=A4?= b", "Re: ä b"),
            ("  =?utf-8?q?a?=  ", "  a  "),
            ("(=?utf-8?q?a?=)", "(a)"),
        )

    def test_blanks_between_words_are_dropped(self) -> None:
        # The examples of RFC 2047 section 8.
        self.check(
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            ("=?utf-8?q?a?==?utf-8?q?b?=", "ab"),
            ("=?utf-8?q?a?= - =?utf-8?q?b?=", "a - b"),
        )

    def test_characters_split_over_words(self) -> None:
        self.check(
            ("=?utf-8?q?a=C3?= =?UTF-8?Q?=A4b?=", "aäb"),
            ("=?utf-8?b?w6TD?= =?utf-8?b?pA==?=", "ää"),
            ("=?utf-8?b?YQ?= =?utf-8?b?Yg?=", "ab"),
            ("=?utf-8?q?=C3?= =?utf-8?b?pA==?=", "\ufffd\ufffd"),
        )

    def test_unknown_charset_is_ascii(self) -> None:
        for charset in ("x-unknown", "base64", "zlib", "idna", "unicode_escape", "aliases", "ü"):
            self.check((f"=?{charset}?q?a=FF?=", "a\ufffd"))

    def test_unknown_charsets_leave_no_trace_in_python(self) -> None:
        # The codec registry never forgets a name that it was asked for.
        decode_words("=?x-first?q?a?=")
        before = len(encodings._cache)
        decode_words(" ".join(f"=?x-unknown-{n}?q?a?= =?utf{'_' * n}8?q?a?=" for n in range(9)))
        self.assertEqual(len(encodings._cache), before)

    def test_octets_that_the_charset_does_not_admit(self) -> None:
        self.check(("=?utf-8?q?a=FFb?=", "a\ufffdb"), ("=?ascii?q?a=FFb?=", "a\ufffdb"))

    def test_broken_base64_stays(self) -> None:
        self.check(
            ("=?utf-8?b?YWJ!?=", "=?utf-8?b?YWJ!?="),
            ("=?utf-8?b?YWJjZ?=", "=?utf-8?b?YWJjZ?="),
            ("=?utf-8?q?a?= =?utf-8?b?Y?= =?utf-8?q?c?=", "a =?utf-8?b?Y?= c"),
        )

    def test_tolerated(self) -> None:
        self.check(
            ("=?utf-8?q?a b =C3=A4?=", "a b ä"),
            ("=?utf-8?b?YW Jj?=", "abc"),
            ("=?utf-8?b?YWI?=", "ab"),
            ("=?utf-8?b?YWI===?=", "ab"),
            ("=?utf-8?q?a=ZZ=?=", "a=ZZ"),
            ("=?utf-8?q?ä?=", "ä"),
        )

    def test_not_a_word(self) -> None:
        for text in ("=?", "=??=", "=?utf-8?=", "=?utf-8?x?a?=", "=?utf-8?q?a", "=??q?a?="):
            self.check((text, text))

    def test_no_line_break_comes_out_of_a_word(self) -> None:
        self.check(("=?utf-8?q?a=0D=0ABcc:_b=00?=", "a Bcc: b\ufffd"))

    def test_no_surrogate_comes_out_of_a_word(self) -> None:
        self.check(("=?utf-7?q?a+2AA-b?=", "a\ufffdb"))

    def test_hostile_repeats(self) -> None:
        # A quadratic decoder would hang here.
        def repeated(unit: str) -> str:
            return unit * (LIMIT // len(unit))

        unfinished = repeated("=?a?q?")
        self.assertEqual(decode_words(unfinished), unfinished)
        self.assertEqual(decode_words(repeated("=?")), repeated("=?"))
        self.assertEqual(decode_words("=?a?q?" + repeated("x")), "=?a?q?" + repeated("x"))
        self.assertEqual(decode_words("=?a?q?x?=" + repeated(" ") + "y")[:2], "x ")

    def test_only_the_beginning_is_decoded(self) -> None:
        word = "=?utf-8?q?x?="
        decoded = 16 * 1024 // len(word)
        self.assertEqual(decode_words(word * 20_000), "x" * decoded + word * (20_000 - decoded))

    @bounded
    @given(
        st.text('aZ09=?_-,."äß日本語Привет😀\x7f', min_size=1),
        st.sampled_from([QP, BASE64]),
    )
    def test_what_the_standard_library_encodes(self, text: str, encoding: int) -> None:
        charset = Charset("utf-8")
        charset.header_encoding = encoding
        encoded = Header(text, charset, maxlinelen=75).encode()
        self.assertEqual(decode_words(encoded.replace("\n", "")), text)

    @bounded
    @given(st.lists(st.sampled_from(["=?", "?=", "?", "q", "b", "utf-8", " ", "=C3", "YQ", "ü"])))
    def test_never_raises(self, pieces: list[str]) -> None:
        self.assertTrue(is_storable(decode_words("".join(pieces))))
