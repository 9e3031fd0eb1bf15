"""Wildcard: who is a recipient, and what a pattern may be."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.results import NO_SUCH_USER, RECIPIENT_OK
from guerrilla_tw.config import ConfigError
from guerrilla_tw.interfaces import IResult, Task
from tests.processors.support import Chain, make_envelope


class WildcardTestCase(SynchronousTestCase):
    def chain(self, *patterns: str, **settings: object) -> Chain:
        """:returns: an open chain of only this processor."""
        if patterns:
            settings["wildcard_recipients"] = list(patterns)
        chain = Chain(self, "Wildcard", **settings)
        chain.open()
        return chain

    def check(self, chain: Chain, *mailboxes: str) -> IResult:
        """:returns: what becomes of the last of some recipients."""
        paths = tuple(f"<{mailbox}>".encode() for mailbox in mailboxes)
        return chain.process(make_envelope(recipients=paths), Task.VALIDATE_RCPT)

    def assert_accepted(self, chain: Chain, *mailboxes: str) -> None:
        for mailbox in mailboxes:
            self.assertEqual(self.check(chain, mailbox), RECIPIENT_OK, mailbox)

    def assert_refused(self, chain: Chain, *mailboxes: str) -> None:
        for mailbox in mailboxes:
            self.assertEqual(self.check(chain, mailbox), NO_SUCH_USER, mailbox)


class RecipientsTests(WildcardTestCase):
    def test_without_a_star(self) -> None:
        chain = self.chain("Bob@Example.com")
        self.assert_accepted(chain, "bob@example.com", "BOB@EXAMPLE.COM")
        self.assert_refused(chain, "bobb@example.com", "bob@sub.example.com", "bob@example.co")

    def test_all_of_a_host(self) -> None:
        chain = self.chain("*@example.com")
        self.assert_accepted(chain, "a@example.com", "x.y+z@Example.com", '"a b"@example.com')
        self.assert_refused(chain, "a@sub.example.com", "a@xexample.com")

    def test_star_does_not_reach_across_the_at(self) -> None:
        chain = self.chain("a*@example.com", "b@*.example.org")
        self.assert_refused(chain, "a@evil.example.com", "b@b.example", '"a@x.example.com"@y.org')
        self.assert_refused(chain, "b@example.org", "xb@a.example.org")
        # In quotes an @ belongs to the local part.
        self.assert_accepted(chain, '"a@x"@example.com', "a@example.com", "b@a.b.example.org")

    def test_each_host_has_its_own(self) -> None:
        chain = self.chain("sales@one.example", "info@two.example", "i*@*.example")
        self.assert_accepted(chain, "sales@one.example", "info@two.example", "it@one.example")
        self.assert_refused(chain, "sales@two.example")

    def test_tags_and_any_host(self) -> None:
        chain = self.chain("user+*@example.com", "postmaster@*", "*-list@*.example.org")
        self.assert_accepted(
            chain,
            "user+@example.com",
            "USER+a+b@example.com",
            "Postmaster@whatever.example",
            "postmaster@[192.0.2.1]",
            "dev-list@a.example.org",
        )
        self.assert_refused(chain, "user@example.com", "dev-lists@a.example.org")

    def test_local_part_with_needless_quotes(self) -> None:
        self.assert_accepted(self.chain("bob@example.com"), '"bob"@example.com')

    def test_a_star_of_the_client_is_no_wildcard(self) -> None:
        self.assert_refused(self.chain("bob@example.com"), "*@example.com", "b*@example.com")

    def test_a_labels_and_u_labels(self) -> None:
        hosts = ("bücher.example", "BÜCHER.Example", "xn--bcher-kva.example")
        for pattern in hosts:
            chain = self.chain(f"*@{pattern}", f"info@*.{pattern}")
            for host in hosts:
                self.assert_accepted(chain, f"bob@{host}", f"info@post.{host}")
            self.assert_refused(chain, "bob@bucher.example")

    def test_local_part_that_is_not_ascii(self) -> None:
        chain = self.chain("jürgen*@example.com")
        self.assert_accepted(chain, "JÜRGEN@example.com", "jürgen.x@example.com")
        self.assert_refused(chain, "jurgen@example.com")

    def test_address_literals(self) -> None:
        chain = self.chain("*@[192.0.2.1]", "bob@[2001:DB8::1]", "al@[IPv6:2001:db8::2]")
        self.assert_accepted(chain, "a@[192.0.2.1]", "bob@[IPv6:2001:db8:0::1]")
        self.assert_accepted(chain, "al@[IPv6:2001:db8::2]")
        self.assert_refused(chain, "a@[192.0.2.2]", "a@192.0.2.1", "a@[IPv6:2001:db8::1]")

    def test_the_last_recipient_is_the_one_to_check(self) -> None:
        chain = self.chain("bob@example.com")
        self.assertEqual(self.check(chain, "x@example.com", "bob@example.com"), RECIPIENT_OK)
        self.assertEqual(self.check(chain, "bob@example.com", "x@example.com"), NO_SUCH_USER)

    def test_message_passes(self) -> None:
        self.assertEqual(self.chain("bob@example.com").process(make_envelope()).code, 250)

    def test_many_patterns(self) -> None:
        """Whatever their form, a check does not try them all; nor does it need a thread."""
        forms = ("u{}@example.com", "u{}+*@example.com", "*@*.h{}.example", "*-{}@h{}.example")
        patterns = [form.format(n, n) for n in range(5000) for form in forms]
        chain = self.chain(*patterns)
        self.assert_accepted(chain, "u4999@example.com", "u77+x@example.com", "a@b.h4321.example")
        self.assert_accepted(chain, "a-12@h12.example")
        self.assert_refused(chain, "u5000@example.com", "a-12@h13.example", "a@h1.example")
        self.assertEqual(chain.pool.visits, 0)


class FileTests(WildcardTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def write(self, content: str | bytes) -> str:
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(self.path)

    def refusal(self, **settings: object) -> str:
        """:returns: why the processor cannot be opened."""
        chain = Chain(self, "Wildcard", wildcard_file=str(self.path), **settings)
        (initializer,) = chain.services[0].initializers
        error = self.failureResultOf(maybeDeferred(initializer.initialize, {}), ConfigError).value
        self.assertEqual(error.path, "backend_config.wildcard_file")
        return str(error.cause)

    def test_lines(self) -> None:
        text = "# ours\n\n  *@example.com  \r\n\t# not theirs\n#x@example.org\nbob@bücher.example"
        chain = self.chain(wildcard_file=self.write(text))
        self.assert_accepted(chain, "a@example.com", "bob@xn--bcher-kva.example")
        self.assert_refused(chain, "x@example.org", "#x@example.org")

    def test_both_settings_count(self) -> None:
        chain = self.chain("a@example.com", wildcard_file=self.write("b@example.com\n"))
        self.assert_accepted(chain, "a@example.com", "b@example.com")

    def test_byte_order_mark(self) -> None:
        chain = self.chain(wildcard_file=self.write(b"\xef\xbb\xbfa@example.com\n"))
        self.assert_accepted(chain, "a@example.com")

    def test_is_read_in_a_thread_when_the_processor_is_opened(self) -> None:
        chain = Chain(self, "Wildcard", wildcard_file=str(self.path))
        self.write("a@example.com\n")
        chain.open()
        self.assertEqual(chain.pool.visits, 1)
        self.assert_accepted(chain, "a@example.com")

    def test_bad_line_is_named(self) -> None:
        self.write("*@example.com\n\n# all of them\nexample.org\n")
        self.assertEqual(
            self.refusal(),
            f"{self.path}, line 4: 'example.org' is not of the form user@host, with * for any"
            " characters",
        )
        self.write("*@example.com # ours\n")
        self.assertIn(f"{self.path}, line 1: ", self.refusal())
        self.write(b"a@example.com\nb\xff@example.com\n")
        self.assertRegex(self.refusal(), rf"{self.path}, line 2: .*utf-8.*0xff")

    def test_file_that_cannot_be_read(self) -> None:
        cause = f"{self.path} cannot be read: No such file or directory"
        self.assertEqual(self.refusal(), cause)

    def test_named_pipe_is_not_waited_for(self) -> None:
        os.mkfifo(self.path)
        self.assertEqual(self.refusal(), f"{self.path} cannot be read: Not a regular file")

    def test_file_without_a_pattern(self) -> None:
        """Else a list that was lost on its way would refuse all mail for good."""
        self.write("# nobody\n")
        self.assertEqual(self.refusal(), f"{self.path} holds no pattern")
        self.assertEqual(
            self.refusal(wildcard_recipients=["a@example.com"]), f"{self.path} holds no pattern"
        )


class SettingsTests(WildcardTestCase):
    def assert_setting_refused(self, setting: str, **settings: object) -> None:
        error = self.assertRaises(ConfigError, Chain, self, "Wildcard", **settings)
        self.assertEqual(error.path, f"backend_config.{setting}")

    def test_nobody_named(self) -> None:
        self.assert_setting_refused("wildcard_recipients")
        self.assert_setting_refused("wildcard_recipients", wildcard_recipients=[])

    def test_wrong(self) -> None:
        self.assert_setting_refused("wildcard_recipients", wildcard_recipients="*@example.com")
        self.assert_setting_refused("wildcard_file", wildcard_file="a\0b")

    def test_wrong_pattern(self) -> None:
        for pattern in (
            "",
            "*",
            "example.com",
            "@example.com",
            "bob@",
            "a@b@example.com",
            "a@example.com,b@example.com",
            "a b@example.com",
            "a@example.com b",
            '"bob"@example.com',
            "bob@example..com",
            "bob@.",
            "bob@exam/ple.com",
            "bob@[300.0.0.1]",
            "bob@[*]",
            "bob@bü*.example",
            "bob@☃.example",
        ):
            self.assert_setting_refused(
                "wildcard_recipients[1]", wildcard_recipients=["*@example.com", pattern]
            )

    def warnings(self, validate_process: str) -> list[str]:
        settings = {"wildcard_recipients": ["*@*"], "validate_process": validate_process}
        (service,) = Chain(self, "Wildcard", **settings).services
        return service.warnings

    def test_warns_where_no_recipient_is_checked(self) -> None:
        for validate_process in ("", "MailDir", "Wildcards"):
            self.assertEqual(
                self.warnings(validate_process),
                ["has no effect, since validate_process does not name it"],
            )
        self.assertEqual(self.warnings("MailDir | WILDCARD"), [])
