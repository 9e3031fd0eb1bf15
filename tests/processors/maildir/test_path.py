"""Whose Maildir is where; and that no name leads out of the root."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import ConfigError
from guerrilla_tw.mail.address import Address, parse_forward_path
from guerrilla_tw.processors.maildir.path import (
    Mailboxes,
    MaildirPath,
    Owner,
    host_name,
    parse_user_map,
    user_name,
)


def place(path: str, recipient: str, user_map: str = "") -> str:
    """:returns: where a recipient's mailbox is, relative to the root; empty if he has none."""
    address, _ = parse_forward_path(f"<{recipient}>".encode())
    mailbox = Mailboxes(MaildirPath(path), parse_user_map(user_map)).find(address)
    return b"/".join(mailbox.directories).decode() if mailbox else ""


class PlaceTests(SynchronousTestCase):
    def test_user_and_host(self) -> None:
        for path, root, expected in (
            ("/home/[user]/Maildir", "/home", "bob/Maildir"),
            ("/home/[user]/Maildir/", "/home", "bob/Maildir"),
            ("mail//./[host]/[user]", "mail", "example.org/bob"),
            ("/mail/[user]@[host]", "/mail", "bob@example.org"),
            ("~/mail/[user]-[user]", "~/mail", "bob-bob"),
            ("/mail/[host]/all", "/mail", "example.org/all"),
            ("/[user]", "/", "bob"),
            ("[user]", ".", "bob"),
            ("/var/mail/all", "/var/mail", "all"),
            ("all", ".", "all"),
            ("~/all", "~", "all"),
        ):
            self.assertEqual(MaildirPath(path).root, root)
            self.assertEqual(place(path, "bob@example.org"), expected)

    def test_case_does_not_count(self) -> None:
        self.assertEqual(place("/m/[host]/[user]", "BOB@Example.ORG"), "example.org/bob")
        self.assertEqual(place("/m/[user]", '"Bob"@example.org'), "bob")

    def test_names_that_are_fit(self) -> None:
        for user in ("a.b", "bob+tag", "prvs=1=bob", "bob_x-y", "007", "+49123", "böb", "बॉब"):
            self.assertEqual(place("/m/[user]", f"{user}@example.org"), user)

    def test_two_spellings_are_one_name(self) -> None:
        """Composed and decomposed look the same, and on some file systems they are."""
        self.assertEqual(user_name("BO\u0308B"), "b\xf6b")

    def test_names_that_are_not_fit(self) -> None:
        for user in (
            *('".."', '"."', '".bob"', "-rf", '"a/b"', '"../b"', '"/etc"', '"a b"', '" "', '""'),
            *("a/b", "/etc", "~", "a:b".join('""'), "a*b", "$HOME", "`id`", "o'b", "{a}", "a|b"),
            *("a\u2044b", "\u2025", "a\u200cb", "\u20ac", "\U0001f600"),
        ):
            self.assertEqual(place("/m/[user]", f"{user}@example.org"), "", user)

    def test_names_that_are_not_needed_may_be_odd(self) -> None:
        self.assertEqual(place("/m/[host]", '"../b"@example.org'), "example.org")

    def test_address_literals(self) -> None:
        for host, expected in (
            ("[192.0.2.1]", "192.0.2.1"),
            ("[IPv6:2001:DB8:0::1]", "2001:db8::1"),
            ("[IPv6:::1]", "::1"),
        ):
            self.assertEqual(place("/m/[host]/[user]", f"bob@{host}"), f"{expected}/bob")

    def test_international_domain(self) -> None:
        self.assertEqual(place("/m/[host]", "bob@B\xfccher.example"), "xn--bcher-kva.example")

    def test_hosts_that_are_none(self) -> None:
        for host in ("", "..", "a/b", "a b", "a\0", "\u2025", "xn\xad"):
            self.assertEqual(host_name(Address("bob", host)), "")
        self.assertEqual(host_name(Address("bob", "::1", ip_address("::1"))), "::1")

    def test_too_long_for_a_directory(self) -> None:
        host = ".".join(["x" * 59] * 4)
        self.assertTrue(place("/m/[user]@[host].mail", f"bobbybobby@{host}"))
        self.assertEqual(place("/m/[user]@[host].mail", f"bobbybobby1@{host}"), "")


class HostileNameTests(SynchronousTestCase):
    """Addresses as no parser of ours lets them pass."""

    @given(user=st.text(max_size=70), host=st.text(max_size=70))
    def test_none_leaves_the_root(self, user: str, host: str) -> None:
        for path in ("/m/[host]/[user]", "/m/[user]", "/m/x[user]y/[host]z"):
            mailbox = Mailboxes(MaildirPath(path), {}).find(Address(user, host))
            if mailbox is None:
                continue
            self.assertEqual(len(mailbox.directories), len(PurePosixPath(path).parts) - 2)
            for name in mailbox.directories:
                self.assertNotIn(name, (b"", b".", b".."))
                self.assertTrue(1 <= len(name) <= 255)
                self.assertFalse(set(b"/\0\n\\") & set(name))
                self.assertFalse(name.startswith(b"."))

    @given(user=st.text(max_size=70))
    def test_a_name_stays_what_it_is(self, user: str) -> None:
        name = user_name(user)
        self.assertEqual(user_name(name), name)


class UserMapTests(SynchronousTestCase):
    def test_owners(self) -> None:
        self.assertEqual(
            parse_user_map("test=1002:2003, Guerrilla=-1:-1,a=b=0:4294967294 "),
            {
                "test": Owner(1002, 2003),
                "guerrilla": Owner(-1, -1),
                "a=b": Owner(0, 4294967294),
            },
        )
        self.assertEqual(parse_user_map(""), {})
        self.assertEqual(parse_user_map("  "), {})

    def test_only_these_users_exist(self) -> None:
        users = "test=1002:2003,guerrilla=1001:1001"
        self.assertEqual(place("/m/[user]", "TEST@example.org", users), "test")
        self.assertEqual(place("/m/[user]", "bob@example.org", users), "")
        self.assertEqual(place("/m/all", "bob@example.org", "test=1:1"), "")
        self.assertEqual(place("/m/all", '""@example.org', "test=1:1"), "")

    def test_mistakes(self) -> None:
        for text, record in (
            ("test", "'test'"),
            ("test=1", "'test=1'"),
            ("test=1:2:3", "'test=1:2:3'"),
            ("test=x:1", "'test=x:1'"),
            ("test=-2:1", "'test=-2:1'"),
            ("test=1:", "'test=1:'"),
            ("test=1:4294967295", "'test=1:4294967295'"),
            ("test=\u0661:1", "'test=\u0661:1'"),
            ("=1:1", "'=1:1'"),
            ("../b=1:1", "'../b=1:1'"),
            (".b=1:1", "'.b=1:1'"),
            ("test=1:1,", "''"),
            ("test=1:1;bob=1:1", "'test=1:1;bob=1:1'"),
        ):
            with self.assertRaises(ConfigError) as caught:
                parse_user_map(text)
            expected = f"maildir_user_map: {record} is not user=uid:gid"
            self.assertEqual(str(caught.exception), expected)
        with self.assertRaisesRegex(ConfigError, "'test' is there twice"):
            parse_user_map("test=1:1,Test=2:2")


class PathMistakeTests(SynchronousTestCase):
    def test_mistakes(self) -> None:
        for path, cause in (
            ("", "is not the path of a Maildir"),
            ("/", "is not the path of a Maildir"),
            ("~", "is not the path of a Maildir"),
            ("~/", "is not the path of a Maildir"),
            ("/m/../[user]", "is not the path of a Maildir"),
            ("/m/[user]/..", "is not the path of a Maildir"),
            ("/m/\0", "is not the path of a Maildir"),
            ("/m/\ud800", "is not the path of a Maildir"),
            ("~bob/[user]", "knows ~ alone, not the home of others"),
            ("/m/[User]", "knows [user] and [host] only"),
            ("/m/[domain]/[user]", "knows [user] and [host] only"),
            ("/m/[user", "knows [user] and [host] only"),
        ):
            with self.assertRaises(ConfigError) as caught:
                MaildirPath(path)
            self.assertEqual(str(caught.exception), f"maildir_path: {cause}", path)

    def test_users_of_different_owners_share_no_mailbox(self) -> None:
        for path in ("/m/all", "/m/[host]"):
            with self.assertRaisesRegex(ConfigError, r"maildir_path: needs \[user\]"):
                Mailboxes(MaildirPath(path), {"a": Owner(1, 1), "b": Owner(2, 1)})
            Mailboxes(MaildirPath(path), {"a": Owner(1, 1), "b": Owner(1, 1)})
