"""The spool of real daemons: the store goes away and comes back, and processes are killed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

from guerrilla_tw.spool.scanning import waiting_in
from tests.integration.client import Client
from tests.integration.daemon_process import ROOT, DaemonTestCase, Process, wait_until
from tests.integration.programs import DEADLINE

_COMMAND = (sys.executable, "-m", "guerrilla_tw", "spool")
_TOKEN = re.compile(rb"Subject: (m[0-9]+-[0-9]+)\r\n")


def message(token: str) -> bytes:
    return f"Subject: {token}\r\n\r\nHello.\r\n".encode("ascii")


class Sender(Thread):
    """
    Sends one message after the other, and remembers which were taken.

    :param name: in the tokens.
    :param ports: of daemons, of which one is chosen each time.
    """

    def __init__(self, name: int, ports: list[int]) -> None:
        super().__init__()
        self.taken: list[str] = []
        self.refused: Counter[str] = Counter()
        self.stopped = Event()
        self._number = name
        self._ports = ports

    def run(self) -> None:
        count = 0
        while not self.stopped.is_set():
            try:
                with Client(random.choice(self._ports)) as client:
                    client.hello()
                    for _ in range(5):
                        count += 1
                        token = f"m{self._number}-{count}"
                        reply = client.deliver(message(token))
                        if reply[:3] == "250":
                            self.taken.append(token)
                        elif not reply:
                            break
                        else:
                            self.refused[reply[:9]] += 1
            except OSError:
                # The daemon is killed just now.
                self.stopped.wait(0.02)


class SpoolTestCase(DaemonTestCase):
    store = "HeadersParser|Hasher|Header|Sql"

    def setUp(self) -> None:
        super().setUp()
        self.spool = self.directory / "spool"

    def config(self, mode: str = "fallback", **settings: object) -> dict[str, object]:
        return {
            "save_process": self.store,
            "save_workers_size": 4,
            "gw_save_timeout": "2s",
            "sql_driver": "sqlite3",
            "sql_dsn": "mail.sqlite3",
            "mail_table": "new_mail",
            "maildir_path": str(self.directory / "mail" / "[user]"),
            "spool_dir": str(self.spool),
            "spool_mode": mode,
            "spool_min_free": 1,
            **settings,
        }

    @contextmanager
    def locked_store(self) -> Iterator[None]:
        """Nobody can write to the database meanwhile."""
        path = self.directory / "mail.sqlite3"
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            yield

    def deliver(self, process: Process, *tokens: str) -> list[str]:
        with Client(process.port()) as client:
            client.hello()
            return [client.deliver(message(token)) for token in tokens]

    def wait_for_empty_spool(self) -> None:
        wait_until(lambda: waiting_in(str(self.spool)) == 0)

    def tokens(self) -> Counter[str]:
        """:returns: how often the store has each message."""
        with closing(sqlite3.connect(self.directory / "mail.sqlite3")) as database:
            mails = [mail for (mail,) in database.execute("SELECT mail FROM new_mail")]
        return Counter(_TOKEN.search(mail)[1].decode() for mail in mails)  # type: ignore[index]

    def command(self, name: str, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [*_COMMAND, name, "--config", "test.json", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout if not status else done.stderr


class StoreAwayTests(SpoolTestCase):
    def test_stored_once_when_it_is_back(self) -> None:
        process = self.start(backend_config=self.config())
        with self.locked_store():
            replies = self.deliver(process, "m1-1", "m1-2")
            self.assertEqual([reply[:3] for reply in replies], ["250", "250"])
            self.assertEqual(waiting_in(str(self.spool)), 2)
        self.wait_for_empty_spool()
        self.assertEqual(self.tokens(), {"m1-1": 1, "m1-2": 1})
        # The ids of the replies are in the log, with what became of the messages.
        for reply in replies:
            process.wait_for(f"{reply[-32:]}: delivered from the spool")

    def test_ids_and_dates_are_those_of_the_first_try(self) -> None:
        process = self.start(backend_config=self.config())
        with self.locked_store():
            self.deliver(process, "m1-1")
            name = os.listdir(self.spool / "queue")[0]
        self.wait_for_empty_spool()
        with closing(sqlite3.connect(self.directory / "mail.sqlite3")) as database:
            [(hash_, mail, date)] = database.execute("SELECT hash, mail, date FROM new_mail")
        self.assertIn(f"id {hash_}@example.com;".encode(), mail)
        received = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(int(name[:14]) / 1000))
        self.assertEqual(date[:19], received)

    def test_end_and_start(self) -> None:
        """What is in the spool at the end is delivered after the next start."""
        process = self.start(backend_config=self.config())
        with self.locked_store():
            self.deliver(process, "m1-1")
            process.terminate()
            self.assertEqual(process.finish(), -signal.SIGTERM)
            self.assertEqual(waiting_in(str(self.spool)), 1)
        process = self.start(backend_config=self.config())
        process.wait_for("1 messages to deliver")
        self.wait_for_empty_spool()
        self.assertEqual(self.tokens(), {"m1-1": 1})

    def leave_one(self, process: Process) -> None:
        """Have a message in the spool that is not tried soon."""
        with self.locked_store():
            self.deliver(process, "m1-1")
            for name in os.listdir(self.spool / "queue"):
                os.utime(self.spool / "queue" / name, (time.time() + 300,) * 2)

    def test_a_reload_takes_it_over(self) -> None:
        process = self.start(backend_config=self.config())
        self.leave_one(process)
        self.write_config(backend_config=self.config(save_workers_size=2))
        os.kill(process.pid, signal.SIGHUP)
        process.wait_for("has finished its work")
        self.assertEqual(self.command("retry", "--all"), "1 to be delivered now\n")
        self.wait_for_empty_spool()
        self.assertEqual(self.tokens(), {"m1-1": 1})

    def test_a_reload_without_it_warns(self) -> None:
        process = self.start(backend_config=self.config())
        self.leave_one(process)
        self.write_config(backend_config=self.config(spool_dir=""))
        os.kill(process.pid, signal.SIGHUP)
        process.wait_for("#warn. 1 messages are left in the spool")


class KillTests(SpoolTestCase):
    """SIGKILL under load, several times; the store is away half of the time."""

    rounds = 4

    def load(self, mode: str, daemons: int = 1) -> None:
        changes = {"backend_config": self.config(mode)}
        running = [self.start(**changes) for _ in range(daemons)]
        ports = [process.port() for process in running]
        senders = [Sender(number, ports) for number in range(6)]
        for sender in senders:
            sender.start()
        try:
            for number in range(self.rounds):
                if number % 2:
                    with self.locked_store():
                        self._some_more(senders, running)
                        index = self._kill(running)
                else:
                    self._some_more(senders, running)
                    index = self._kill(running)
                running[index] = self.start(**changes)
                ports[index] = running[index].port()
            self._some_more(senders, running)
        finally:
            for sender in senders:
                sender.stopped.set()
            for sender in senders:
                sender.join(DEADLINE)
        self.wait_for_empty_spool()
        for process in running:
            process.terminate()
            process.finish()
        stored = self.tokens()
        taken = [token for sender in senders for token in sender.taken]
        self.assertEqual([token for token in taken if token not in stored], [])
        self.assertEqual({token: count for token, count in stored.items() if count > 1}, {})
        self.assertEqual(os.listdir(self.spool / "dead"), [])
        self.assertEqual(os.listdir(self.spool / "damaged"), [])
        self.assertGreater(len(taken), 30)

    def _some_more(self, senders: list[Sender], running: list[Process]) -> None:
        def count() -> int:
            return sum(len(sender.taken) for sender in senders)

        enough = count() + 20
        try:
            wait_until(lambda: count() >= enough)
        except AssertionError:
            refused = [sender.refused for sender in senders]
            ends = [f"{each.running}\n{each.output[-3000:]}" for each in running]
            self.fail("\n".join([f"no more are taken: {refused}", *ends]))

    def _kill(self, running: list[Process]) -> int:
        """:returns: which was killed."""
        index = random.randrange(len(running))
        running[index].kill()
        return index

    def test_fallback(self) -> None:
        self.load("fallback")

    def test_always(self) -> None:
        self.load("always")

    def test_two_daemons_share_a_spool(self) -> None:
        self.load("fallback", daemons=2)

    def test_two_daemons_always(self) -> None:
        self.load("always", daemons=2)


class MaildirTests(SpoolTestCase):
    """A store that knows a message by its file's name."""

    store = "HeadersParser|Hasher|Header|MailDir"

    def test_killed_between_storing_and_forgetting(self) -> None:
        process = self.start(backend_config=self.config("always"))
        self.deliver(process, "m1-1")
        self.wait_for_empty_spool()
        process.kill()
        [name] = os.listdir(self.directory / "mail" / "b" / "new")
        queued_id = re.search("Q([0-9a-f]{32})", name)
        assert queued_id is not None
        # As if the kill had come before the removal; and a reader has seen the message meanwhile.
        self._spool_again(queued_id[1], name)
        mail = self.directory / "mail" / "b"
        os.rename(mail / "new" / name, mail / "cur" / f"{name}:2,S")
        process = self.start(backend_config=self.config("always"))
        self.wait_for_empty_spool()
        self.assertEqual(os.listdir(mail / "new"), [])
        self.assertEqual(len(os.listdir(mail / "cur")), 1)

    def _spool_again(self, queued_id: str, name: str) -> None:
        from guerrilla_tw.mail.address import Address
        from guerrilla_tw.mail.envelope import Envelope
        from guerrilla_tw.spool.records import Original
        from guerrilla_tw.spool.spool import Spool

        envelope = Envelope("127.0.0.1", "client.example.com", esmtp=True)
        envelope.queued_id = queued_id
        envelope.rcpt_to = [Address("b", "example.com")]
        envelope.body.write(message("m1-1"))
        seconds, microseconds = re.findall("[0-9]+", name)[:2]
        received_at = int(seconds) + (int(microseconds) + 0.5) / 10**6
        spool = Spool(str(self.spool), 2**30, 1)
        spool.open()
        spool.write(Original(envelope, received_at))


class LimitTests(SpoolTestCase):
    def test_full(self) -> None:
        """452, and nothing that was answered 250 is lost."""
        process = self.start(backend_config=self.config("always", spool_max_bytes=3000))
        with self.locked_store():
            replies = self.deliver(process, *(f"m1-{number}" for number in range(5)))
        kinds = [reply[:9] for reply in replies]
        self.assertEqual(kinds, ["250 2.0.0"] * 3 + ["452 4.3.1"] * 2)
        self.wait_for_empty_spool()
        self.assertEqual(len(self.tokens()), 3)

    def test_disk_is_full(self) -> None:
        small = self.directory / "small"
        small.mkdir(mode=0o700)
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", str(small)]
        if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
            self.skipTest("a small disk takes root's rights to make")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(small)], check=True)
        self.spool = small / "spool"
        process = self.start(backend_config=self.config("always"))
        with self.locked_store():
            replies = self.deliver(process, *(f"m1-{number}" for number in range(30)))
        kinds = Counter(reply[:9] for reply in replies)
        self.assertEqual(set(kinds), {"250 2.0.0", "452 4.3.1"})
        self.wait_for_empty_spool()
        self.assertEqual(len(self.tokens()), kinds["250 2.0.0"])
        self.assertNotIn("Traceback", process.output)


class CommandTests(SpoolTestCase):
    store = "HeadersParser|Hasher|Header|Sql"

    def test_while_the_daemon_runs(self) -> None:
        """The dead are shown, tried again and deleted."""
        settings = self.config("always", maildir_user_map="somebody=-1:-1")
        maildir = {**settings, "save_process": "HeadersParser|Hasher|Header|MailDir"}
        process = self.start(backend_config=maildir)
        self.deliver(process, "m1-1", "m1-2")
        process.wait_for("(?s)given up.*given up")
        listed = [json.loads(line) for line in self.command("list", "--json").splitlines()]
        self.assertEqual([entry["state"] for entry in listed], ["dead", "dead"])
        self.assertEqual(listed[0]["reason"], "550 5.1.1 no such user")
        first, second = (entry["queued_id"] for entry in listed)
        self.assertIn("Subject: m1-1", self.command("show", first))
        self.assertEqual(self.command("show", "--raw", first), "Subject: m1-1\n\nHello.\n")
        self.assertEqual(json.loads(self.command("stats", "--json"))["dead"], 2)

        self.write_config(backend_config=settings)
        os.kill(process.pid, signal.SIGHUP)
        process.wait_for("reloaded")
        self.assertEqual(self.command("retry", first), "1 to be delivered now\n")
        process.wait_for(f"{first}: delivered from the spool")
        self.assertEqual(self.tokens(), {"m1-1": 1})

        self.assertIn(second, self.command("list", "--dead"))
        self.assertEqual(self.command("delete", second), "1 deleted\n")
        self.assertEqual(self.command("list"), "")
        self.assertIn("not in the spool", self.command("delete", second, status=1))


class RefusalTests(SpoolTestCase):
    def refusal(self) -> str:
        process = self.launch("--config", self.write_config(backend_config=self.config()))
        self.assertEqual(process.finish(), 1)
        return process.output

    def test_others_can_write(self) -> None:
        self.spool.mkdir()
        self.spool.chmod(0o777)
        self.assertIn("test.json: backend_config.spool_dir: ", self.refusal())
        self.assertIn(f"everybody can write to {self.spool}", self.refusal())

    def test_check_makes_nothing(self) -> None:
        name = self.write_config(backend_config=self.config())
        process = self.launch("--config", name, "--check")
        self.assertEqual(process.finish(), 0)
        self.assertFalse(self.spool.exists())
        Path(self.spool).write_text("no directory")
        self.assertIn("is not a directory", self.refusal())
