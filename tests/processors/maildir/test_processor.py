"""MailDir: what is in which mailbox, whose it is, and who has one."""

from __future__ import annotations

import mailbox
import os
import re
import socket
import stat
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.errors import StoreError
from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.results import NO_SUCH_USER, STORE_UNAVAILABLE, RecipientResults
from guerrilla_tw.config import ConfigError
from guerrilla_tw.interfaces import IResult, Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.processors.maildir.delivery import file_host_name, with_lf
from tests.processors.support import Chain, make_envelope

DATA = b"Subject: hello\r\n\r\n.body\r\n"
THREE = (b"<a@example.org>", b"<b@example.org>", b"<c@example.org>")


def files(maildir: Path, part: str = "new") -> list[bytes]:
    """:returns: the content of each file in a part of a Maildir."""
    return [file.read_bytes() for file in sorted((maildir / part).iterdir())]


class MaildirTestCase(SynchronousTestCase):
    """
    :ivar root: a directory for mailboxes.
    """

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()

    def make(self, path: str = "[user]", chain: str = "MailDir", **settings: object) -> Chain:
        """
        Make a chain.

        :param path: of mailboxes, below the root.
        """
        return Chain(self, chain, maildir_path=f"{self.root}/{path}", **settings)

    def open(self, path: str = "[user]", chain: str = "MailDir", **settings: Any) -> Chain:
        """As :meth:`make`, and open it."""
        opened = self.make(path, chain, **settings)
        opened.open()
        return opened

    def refusal(self, path: str = "[user]", **settings: Any) -> str:
        """:returns: why a chain cannot be opened."""
        (service,) = self.make(path, **settings).services
        (initializer,) = service.initializers
        opened = maybeDeferred(initializer.initialize, service.config)
        return str(self.failureResultOf(opened, StoreError, ConfigError).value)

    def open_for(self, users: str, path: str = "[user]", **settings: Any) -> Chain:
        """Open a chain for users whose mailboxes are this process's own."""
        user_map = ",".join(f"{user}=-1:-1" for user in users.split())
        return self.open(path, maildir_user_map=user_map, **settings)

    def below_root(self) -> list[str]:
        """:returns: all directories and files."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))

    def all_files(self) -> list[Path]:
        """:returns: the files in all mailboxes."""
        return [path for path in self.root.rglob("*") if path.is_file()]


class SaveTests(MaildirTestCase):
    def test_read_by_the_standard_library(self) -> None:
        self.open().save(make_envelope(DATA))
        (message,) = mailbox.Maildir(self.root / "bob", create=False)
        self.assertEqual(message["Subject"], "hello")
        self.assertEqual(message.get_payload(), ".body\n")
        self.assertEqual(message.get_subdir(), "new")

    def test_delivery_header_comes_first(self) -> None:
        envelope = self.open(chain="Hasher|Header|MailDir").save(make_envelope(DATA))
        expected = envelope.delivered_data.replace(b"\r\n", b"\n")
        self.assertTrue(expected.startswith(b"Delivered-To: bob@example.org\nReceived: "))
        self.assertEqual(files(self.root / "bob"), [expected])

    def test_line_ends_may_be_kept(self) -> None:
        self.open(maildir_crlf=True).save(make_envelope(DATA))
        self.assertEqual(files(self.root / "bob"), [DATA])

    def test_a_large_message(self) -> None:
        data = b"x\r\n" * 100_000
        self.open().save(make_envelope(data))
        self.assertTrue(files(self.root / "bob") == [b"x\n" * 100_000])

    def test_an_empty_message(self) -> None:
        self.open().save(make_envelope(b""))
        self.assertEqual(files(self.root / "bob"), [b""])

    def test_a_copy_for_each_mailbox(self) -> None:
        self.open().save(make_envelope(DATA, (*THREE, b"<B@example.com>", b"<a@example.org>")))
        for user in "abc":
            self.assertEqual(len(files(self.root / user)), 1)

    def test_one_mailbox_for_everybody(self) -> None:
        chain = self.open("all")
        self.assertEqual(self.below_root(), ["all", "all/cur", "all/new", "all/tmp"])
        chain.save(make_envelope(DATA, (b"<a@example.org>", b'<"../b"@example.org>')))
        self.assertEqual(len(files(self.root / "all")), 1)

    def test_nothing_is_left_in_tmp(self) -> None:
        self.open().save(make_envelope(recipients=THREE))
        self.assertEqual([files(self.root / user, "tmp") for user in "abc"], [[], [], []])

    def test_goes_on_with_the_chain(self) -> None:
        envelope = make_envelope()
        result = self.open().process(envelope)
        self.assertEqual(result.text, f"OK: queued as {envelope.queued_id}")

    def test_a_recipient_check_writes_nothing(self) -> None:
        chain = self.open()
        self.assertEqual(chain.process(make_envelope(), Task.VALIDATE_RCPT).code, 250)
        self.assertEqual(self.below_root(), [])


class FileTests(MaildirTestCase):
    def deliver(self, count: int) -> list[Path]:
        chain = self.open()
        for _ in range(count):
            chain.save(make_envelope(DATA))
        return list((self.root / "bob" / "new").iterdir())

    def test_names(self) -> None:
        """By Maildir's rules, with the size as Dovecot reads it."""
        with mock.patch("time.time_ns", return_value=1_700_000_000_123_456_789):
            paths = self.deliver(20)
        self.assertEqual(len(paths), 20)
        size = len(DATA.replace(b"\r\n", b"\n"))
        host = re.escape(file_host_name(socket.gethostname()))
        pattern = rf"1700000000\.M123456P{os.getpid()}Q\d+R[0-9a-f]{{16}}\.{host},S={size}"
        for path in paths:
            self.assertRegex(path.name, rf"\A{pattern}\Z")
            self.assertEqual(path.stat().st_size, size)

    def test_host_names_that_no_file_name_can_hold(self) -> None:
        for host, expected in (
            ("mx.example.org", "mx.example.org"),
            ("a/b:c", "a\\057b\\072c"),
            ("a,S=1 \xe4", "a\\054S\\0751\\040\\303\\244"),
            ("", "localhost"),
            ("x" * 300, "x" * 64),
        ):
            self.assertEqual(file_host_name(host), expected)

    def test_modes(self) -> None:
        for umask in (0, 0o077):
            self.root = Path(self.mktemp()).absolute()
            before = os.umask(umask)
            try:
                self.open("m/[host]/[user]/Maildir").save(make_envelope())
            finally:
                os.umask(before)
            own = self.root / "m" / "example.org" / "bob"
            (file,) = (own / "Maildir" / "new").iterdir()
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
            for part in (".", "Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp"):
                self.assertEqual(stat.S_IMODE((own / part).stat().st_mode), 0o700, part)
            for shared in (self.root, self.root / "m", self.root / "m" / "example.org"):
                self.assertEqual(stat.S_IMODE(shared.stat().st_mode), 0o711)


class LineEndTests(SynchronousTestCase):
    def test_however_the_octets_are_divided(self) -> None:
        data = b"\r\na\r\r\n\n\rb\r\n\r\n\r"
        expected = data.replace(b"\r\n", b"\n")
        for size in range(1, len(data) + 1):
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            self.assertEqual(b"".join(with_lf(pieces)), expected, size)


class UserMapTests(MaildirTestCase):
    def test_mailboxes_are_made_at_the_start(self) -> None:
        self.open_for("test Guerrilla", "[user]/Maildir")
        for user in ("test", "guerrilla"):
            self.assertEqual(
                sorted(os.listdir(self.root / user / "Maildir")), ["cur", "new", "tmp"]
            )

    def test_a_second_start_finds_them(self) -> None:
        self.open_for("bob").save(make_envelope())
        self.open_for("bob").save(make_envelope())
        self.assertEqual(len(files(self.root / "bob")), 2)

    def test_only_these_users_exist(self) -> None:
        chain = self.open_for("alice bob")
        for recipient, expected in (
            (b"<BOB@example.org>", 250),
            (b"<mallory@example.org>", 550),
            (b'<"../bob"@example.org>', 550),
            (b"<postmaster@example.org>", 550),
        ):
            # Who was accepted before does not matter.
            envelope = make_envelope(recipients=(b"<mallory@example.org>", recipient))
            result = chain.process(envelope, Task.VALIDATE_RCPT)
            self.assertEqual(result.code, expected, recipient)
        self.assertEqual(result, NO_SUCH_USER)

    def test_with_a_host_in_the_path(self) -> None:
        """They cannot be known at the start."""
        chain = self.open_for("bob", "[host]/[user]")
        self.assertEqual(self.below_root(), [])
        chain.save(make_envelope(DATA, (b"<bob@Example.org>", b"<bob@[192.0.2.1]>")))
        self.assertEqual(len(files(self.root / "example.org" / "bob")), 1)
        self.assertEqual(len(files(self.root / "192.0.2.1" / "bob")), 1)

    def test_a_mailbox_that_has_gone_is_not_made_again(self) -> None:
        """Its file system may not be mounted, and what is written below would never be seen."""
        chain = self.open_for("bob")
        (self.root / "bob").rename(self.root / "away")
        self.assertEqual(chain.process(make_envelope(), Task.VALIDATE_RCPT), STORE_UNAVAILABLE)
        self.assertEqual(chain.process(make_envelope()), STORE_UNAVAILABLE)
        (self.root / "away").rename(self.root / "bob")
        self.assertEqual(chain.process(make_envelope(), Task.VALIDATE_RCPT).code, 250)
        chain.save(make_envelope())

    def test_a_root_that_has_gone(self) -> None:
        chain = self.open()
        self.root.rename(f"{self.root}.away")
        envelope = make_envelope()
        self.assertEqual(chain.process(envelope, Task.VALIDATE_RCPT), STORE_UNAVAILABLE)
        self.assertEqual(
            chain.lines(),
            [f"{envelope.queued_id}: cannot store in {self.root}/bob: No such file or directory"],
        )

    def test_root_may_give_mail_to_its_users(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can")
        user_map = "test=12345:23456,keep=-1:23456"
        self.open("[host]/[user]/Maildir", maildir_user_map=user_map).save(
            make_envelope(recipients=(b"<test@example.org>", b"<keep@example.org>"))
        )
        host = self.root / "example.org"
        self.assertEqual((host.stat().st_uid, host.stat().st_gid), (0, os.getegid()))
        for user, owner in (("test", (12345, 23456)), ("keep", (0, 23456))):
            own = [host / user, *(host / user).rglob("*")]
            self.assertEqual(len(own), 6)
            for path in own:
                self.assertEqual((path.stat().st_uid, path.stat().st_gid), owner, path)

    def test_others_may_not(self) -> None:
        uid, gid = os.geteuid() or 1000, os.getegid()
        with mock.patch("os.geteuid", return_value=uid):
            self.open(maildir_user_map=f"a={uid}:{gid},b=-1:-1")
            for owner in (f"{uid + 1}:-1", "-1:4294967294"):
                self.assertEqual(
                    self.refusal(maildir_user_map=f"a={owner}"),
                    f"maildir_user_map: only root can give mail to {owner}; -1:-1 leaves it ours",
                )


class StrangersTests(MaildirTestCase):
    """Recipients who are unknown when the message has come, since nobody asked before."""

    def save(self, lmtp: bool, *users: str) -> IResult:
        chain = self.open_for("alice bob")
        envelope = make_envelope(recipients=tuple(f"<{u}@example.org>".encode() for u in users))
        copy = Envelope("192.0.2.1", lmtp=lmtp, body=envelope.body)
        copy.rcpt_to = envelope.rcpt_to
        result = chain.process(copy)
        self.assertEqual(files(self.root / "alice") + files(self.root / "bob"), [])
        return result

    def test_smtp(self) -> None:
        """The one reply says for good that nobody got it, or the client would try for days."""
        self.assertEqual(self.save(False, "alice", "mallory", "bob"), NO_SUCH_USER)

    def test_lmtp(self) -> None:
        """Each recipient's reply is true of him, and the known ones can be tried again."""
        result = self.save(True, "alice", "mallory", "bob")
        assert isinstance(result, RecipientResults)
        codes = [f"{each.code} {each.enhanced}" for each in result.recipients]
        self.assertEqual(codes, ["451 4.3.0", "550 5.1.1", "451 4.3.0"])

    def test_all_unknown(self) -> None:
        result = self.save(True, "mallory", "mallet")
        assert isinstance(result, RecipientResults)
        self.assertEqual(result.recipients, (NO_SUCH_USER, NO_SUCH_USER))


class LinkTests(MaildirTestCase):
    """A user owns his mailbox, and may put links to what is not his there."""

    def assert_not_followed(self, chain: Chain, link: Path) -> None:
        """:param link: what is made one, to a whole Maildir elsewhere."""
        elsewhere = mailbox.Maildir(self.mktemp())
        target = Path(str(getattr(elsewhere, "_path")))  # noqa: B009
        link.rename(f"{link}.away")
        link.symlink_to((target / link.name if link.name in ("new", "tmp") else target).absolute())
        self.assertEqual(chain.process(make_envelope()), STORE_UNAVAILABLE)
        self.assertEqual([path for path in target.rglob("*") if path.is_file()], [])
        link.unlink()
        Path(f"{link}.away").rename(link)
        chain.save(make_envelope())

    def test_not_followed(self) -> None:
        for open_chain in (lambda: self.open("[user]/Maildir"), self.open_mapped):
            self.root = Path(self.mktemp()).absolute()
            chain = open_chain()
            chain.save(make_envelope())
            own = self.root / "bob"
            for link in (own, own / "Maildir", own / "Maildir" / "new", own / "Maildir" / "tmp"):
                self.assert_not_followed(chain, link)
            self.assertEqual(len(files(own / "Maildir")), 5)

    def open_mapped(self) -> Chain:
        return self.open_for("bob", "[user]/Maildir")

    def test_no_directories_are_made_through_a_link(self) -> None:
        elsewhere = Path(self.mktemp())
        elsewhere.mkdir()
        self.root.mkdir()
        (self.root / "bob").symlink_to(elsewhere.absolute())
        self.assertEqual(self.open("[user]/Maildir").process(make_envelope()), STORE_UNAVAILABLE)
        self.assertIn(
            "cannot store in", self.refusal("[user]/Maildir", maildir_user_map="bob=-1:-1")
        )
        self.assertEqual(os.listdir(elsewhere), [])

    def test_the_way_to_the_root_is_the_administrators(self) -> None:
        real = Path(self.mktemp()).absolute()
        real.mkdir()
        self.root.symlink_to(real)
        self.open().save(make_envelope())
        self.assertEqual(len(files(real / "bob")), 1)


class StartTests(MaildirTestCase):
    def test_a_file_in_the_place_of_the_root(self) -> None:
        self.root.write_bytes(b"")
        self.assertEqual(self.refusal(), f"cannot store in {self.root}: Not a directory")

    def test_a_file_in_the_place_of_a_mailbox(self) -> None:
        self.root.mkdir()
        (self.root / "bob").write_bytes(b"")
        for path, settings in (("[user]", {"maildir_user_map": "bob=-1:-1"}), ("bob", {})):
            cause = f"cannot store in {self.root}/bob: Not a directory"
            self.assertEqual(self.refusal(path, **settings), cause)

    def test_directories_that_cannot_be_written(self) -> None:
        self.open_for("bob")
        with mock.patch("os.access", return_value=False):
            cause = f"cannot store in {self.root}/bob: Permission denied"
            self.assertEqual(self.refusal(maildir_user_map="bob=-1:-1"), cause)
            self.assertEqual(self.refusal(), f"cannot store in {self.root}: Permission denied")

    def test_home_is_that_of_the_user_that_the_daemon_is(self) -> None:
        """Whatever ``$HOME`` says: twistd leaves root's there when it becomes somebody else."""
        for path, expected in (("~/mail/[user]", "mail/bob"), ("~/all", "all")):
            with mock.patch("pwd.getpwuid") as getpwuid:
                getpwuid.return_value.pw_dir = str(self.root)
                chain = Chain(self, "MailDir", maildir_path=path)
                chain.open()
            getpwuid.assert_called_once_with(os.geteuid())
            chain.save(make_envelope())
            self.assertEqual(len(files(self.root / expected)), 1)

    def test_relative_to_the_directory_of_the_start(self) -> None:
        chain = Chain(self, "MailDir", maildir_path=os.path.relpath(self.root / "[user]"))
        chain.open()
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir("/")
        chain.save(make_envelope())
        self.assertEqual(len(files(self.root / "bob")), 1)

    def test_constructor_touches_nothing(self) -> None:
        Chain(self, "MailDir", maildir_path=f"{self.root}/[user]", maildir_user_map="a=-1:-1")
        self.assertFalse(self.root.exists())


class CheckTests(SynchronousTestCase):
    def check(self, **settings: object) -> list[str]:
        gateway = Gateway(Registry(BUILTIN), mock.Mock(), mock.Mock())
        return list(gateway.check({"save_process": "Header|MailDir", **settings}))

    def test_stores(self) -> None:
        self.assertEqual(self.check(maildir_path="/m/[user]"), [])

    def test_mistakes_name_their_setting(self) -> None:
        for settings, expected in (
            ({}, "backend_config.maildir_path: is missing"),
            ({"maildir_path": "/m/[x]"}, "maildir_path: knows [user] and [host] only"),
            ({"maildir_user_map": "x"}, "maildir_user_map: 'x' is not user=uid:gid"),
            ({"maildir_user_map": "a=1:1,b=2:2", "maildir_path": "/m"}, "maildir_path: needs"),
        ):
            with self.assertRaises(ConfigError) as caught:
                self.check(**({"maildir_path": "/m/[user]"} | settings if settings else {}))
            self.assertIn(expected, str(caught.exception))
            self.assertTrue(str(caught.exception).startswith("backend_config.maildir_"))

    def test_a_map_that_is_not_asked_at_rcpt(self) -> None:
        settings = {"maildir_path": "/m/[user]", "maildir_user_map": "bob=-1:-1"}
        (warning,) = self.check(**settings)
        self.assertRegex(
            warning, "^backend_config.save_process: MailDir: is not in validate_process"
        )
        self.assertEqual(self.check(**settings, validate_process="Debugger | maildir"), [])
