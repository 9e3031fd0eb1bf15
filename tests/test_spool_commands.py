"""The commands of the spool, where clients or the daemon's user mean harm."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import msgspec
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.command import CommandError
from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.spool import records
from guerrilla_tw.spool.administration import Administration
from guerrilla_tw.spool.claims import open_claim
from guerrilla_tw.spool.records import Original
from guerrilla_tw.spool.spool import Spool
from guerrilla_tw.spool_commands import SpoolCommands
from guerrilla_tw.spool_listing import description
from tests.test_users import UserTestCase, forbid


def write(root: Path, envelope: Envelope) -> str:
    """:returns: the queue id of what is in the spool now."""
    spool = Spool(str(root), 2**22, 1)
    spool.open()
    spool.write(Original(envelope, 1.0)).release()
    return envelope.queued_id


def run(test: SynchronousTestCase, root: Path, *arguments: str, encoding: str = "utf-8") -> str:
    """
    Run one of the commands.

    :param encoding: of the operator's terminal.
    :returns: what it shows.
    """
    config = Path(test.mktemp()).absolute()
    config.parent.mkdir(parents=True, exist_ok=True)
    settings = {"save_process": "Debugger", "spool_dir": str(root)}
    config.write_text(json.dumps({"backend_config": settings, "servers": []}))
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    test.patch(sys, "stdout", terminal)
    options = SpoolCommands()
    options.parseOptions([arguments[0], "--config", str(config), *arguments[1:]])
    options.run()
    terminal.seek(0)
    return terminal.read()


class ClientTests(SynchronousTestCase):
    """What clients have said is shown."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.parent.mkdir(parents=True, exist_ok=True)
        envelope = Envelope("192.0.2.1", "client\x1b]0;x\x07", utf8=True)
        envelope.mail_from = Address("sénder\x9b2J", "a.example")
        envelope.rcpt_to = [Address("\u202ercpt", "b.example")]
        envelope.body.write("Subject: gr\u00fcn\x1b[2J\r\nX: \x9b2J\r\n\r\n".encode())
        self.queued_id = write(self.root, envelope)

    def test_nothing_in_it_does_anything_to_a_terminal(self) -> None:
        for arguments in (["list"], ["list", "--json"], ["show", self.queued_id]):
            shown = run(self, self.root, *arguments)
            self.assertIn("b.example", shown)
            self.assertEqual([c for c in shown if not c.isprintable() and c != "\n"], [])

    def test_a_terminal_that_has_no_such_characters(self) -> None:
        """One message keeps no operator from the others."""
        listed = run(self, self.root, "list", encoding="ascii")
        self.assertIn("<s\\xe9nder\\x9b2J@a.example>", listed)
        shown = run(self, self.root, "show", self.queued_id, encoding="ascii")
        self.assertIn("Subject: gr\\xfcn", shown)


def forge(path: Path, **changes: object) -> None:
    """Write another header into a file, with a digest that is right."""
    claim = open_claim(str(path), lock=False)
    assert claim is not None
    header = records.encode_header(msgspec.structs.replace(claim.header, **changes))
    parts = claim.parts
    prefix = records.encode_prefix(header, parts.body_size, parts.body_digest)
    path.write_bytes(prefix + header + path.read_bytes()[parts.body_start :])


class ForgedTests(SynchronousTestCase):
    """The daemon's user has written a file that no daemon writes."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.parent.mkdir(parents=True, exist_ok=True)
        envelope = Envelope()
        envelope.rcpt_to = [Address("a", "b.example")]
        self.queued_id = write(self.root, envelope)
        (self.file,) = (self.root / "queue").iterdir()

    def check_damaged(self, reason: str) -> None:
        """It is shown as any other damaged file, and can be deleted."""
        for arguments in (["list"], ["show", self.queued_id]):
            shown = run(self, self.root, *arguments)
            self.assertRegex(shown, r"(?s)damaged\b.*" + reason)
        self.assertIn("damaged: 1\n", run(self, self.root, "stats"))
        self.assertEqual(run(self, self.root, "delete", self.queued_id), "1 deleted\n")

    def test_address_literal_that_is_none(self) -> None:
        path = records.Path("a", "\x1b[2J", is_literal=True)
        for changes in ({"mail_from": path}, {"rcpt_to": (path,)}):
            self.setUp()
            forge(self.file, **changes)
            self.check_damaged("its header has an address that is none")

    def test_absurd_time(self) -> None:
        for received_at in (1e300, 1e13, -1e300):
            self.setUp()
            forge(self.file, received_at=received_at)
            self.check_damaged("its header cannot be read")

    def test_absurd_time_of_a_file(self) -> None:
        """Some file systems have times that no calendar has."""
        (entry,) = Administration(str(self.root)).entries([("queue", str(self.file))])
        assert entry is not None
        for due in (2.0**62, -(2.0**62)):
            lines = list(description(msgspec.structs.replace(entry, due=due)))
            self.assertIn(f"due:      second {due:.0f}", lines)


class SetAsideTests(SynchronousTestCase):
    """An operator has put a file back into ``damaged/``, or a copy of one, that is whole."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.parent.mkdir(parents=True, exist_ok=True)
        envelope = Envelope()
        envelope.rcpt_to = [Address("a", "b.example")]
        write(self.root, envelope)
        (self.file,) = (self.root / "queue").iterdir()
        self.copy = self.root / "damaged" / "copy of a message"

    def test_a_name_that_is_none_of_ours(self) -> None:
        """Nobody would look at it in the queue."""
        self.file.rename(self.copy)
        self.assertEqual(run(self, self.root, "retry", "--all"), "1 to be delivered now\n")
        self.assertEqual(list((self.root / "queue").iterdir()), [self.file])
        self.assertFalse(self.copy.exists())

    def test_a_message_that_is_there(self) -> None:
        """It may be under way just now."""
        self.copy.write_bytes(self.file.read_bytes())
        before = self.file.stat().st_ino
        error = self.assertRaises(CommandError, run, self, self.root, "retry", "--all")
        self.assertIn("is in the queue already", str(error))
        self.assertEqual((self.file.stat().st_ino, self.copy.exists()), (before, True))

    def test_no_queue_id(self) -> None:
        self.file.rename(self.copy)
        forge(self.copy, queued_id="../usage")
        error = self.assertRaises(CommandError, run, self, self.root, "retry", "--all")
        self.assertIn("copy of a message: the queue id is not of 32", str(error))
        self.assertTrue(self.copy.exists())


class EmptyTests(SynchronousTestCase):
    """An operator names a message by a variable that is empty."""

    def test_nothing_is_chosen(self) -> None:
        root = Path(self.mktemp()).absolute()
        root.parent.mkdir(parents=True, exist_ok=True)
        envelope = Envelope()
        envelope.rcpt_to = [Address("a", "b.example")]
        queued_id = write(root, envelope)
        damaged = root / "damaged" / "a file without an id"
        damaged.touch()
        for command in ("delete", "retry", "show"):
            self.assertRaises(usage.UsageError, run, self, root, command, "")
        self.assertRaises(usage.UsageError, run, self, root, "delete", queued_id, "")
        self.assertTrue(damaged.exists())
        self.assertIn(queued_id, run(self, root, "list"))


class RootTests(UserTestCase):
    """Root does something to a spool of somebody who would like to be root."""

    def setUp(self) -> None:
        super().setUp()
        self.root = self.own / "spool"
        self.victim = self.directory / "victim"
        self.victim.mkdir(0o700)
        self.file = self.victim / "shadow"
        self.file.write_text("root:secret\n")
        envelope = Envelope()
        envelope.rcpt_to = [Address("a", "b.example")]
        with self.user.rights():
            self.queued_id = write(self.root, envelope)

    def replace(self, name: str, target: Path) -> None:
        """As the user may."""
        with self.user.rights():
            (self.root / name).rename(self.root / "before")
            (self.root / name).symlink_to(target)

    def test_works(self) -> None:
        self.assertIn(self.queued_id, run(self, self.root, "list"))
        self.assertEqual(run(self, self.root, "retry", "--all"), "1 to be delivered now\n")
        self.assertEqual(run(self, self.root, "delete", "--all"), "1 deleted\n")

    def test_root_that_may_not_become_another(self) -> None:
        forbid(self, "setegid")
        error = self.assertRaises(CommandError, run, self, self.root, "list")
        self.assertEqual(
            str(error), "cannot take the rights of user nobody: Operation not permitted"
        )

    def test_nothing_is_removed_where_a_link_leads(self) -> None:
        self.replace("damaged", self.victim)
        self.assertRaises(CommandError, run, self, self.root, "delete", "--all")
        self.assertTrue(self.file.exists())

    def test_nothing_is_listed_where_a_link_leads(self) -> None:
        self.replace("damaged", self.victim)
        self.assertRaises(CommandError, run, self, self.root, "list")

    def test_nothing_is_written_where_a_link_leads(self) -> None:
        self.replace("usage", self.file)
        run(self, self.root, "delete", "--all")
        self.assertEqual(self.file.read_text(), "root:secret\n")

    def test_a_spool_that_leads_to_roots(self) -> None:
        theirs = self.victim / "damaged"
        for name in ("queue", "dead", "damaged", "tmp"):
            (self.victim / name).mkdir()
        (theirs / "file").write_text("root's")
        self.root.rename(self.own / "before")
        with self.user.rights():
            self.root.symlink_to(self.victim)
        self.assertRaises(CommandError, run, self, self.root, "delete", "--all")
        self.assertTrue((theirs / "file").exists())
