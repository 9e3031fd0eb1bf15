"""Chains compose: those of the documentation, and those in an order that makes no sense."""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Decorator, Registry
from guerrilla_tw.config import ConfigError
from guerrilla_tw.interfaces import IBackendService, Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors import BUILTIN
from tests.processors.support import Chain, make_envelope

ROOT = Path(__file__).resolve().parent.parent

MYSQL = {
    "mysql_db": "gmail_mail",
    "mysql_host": "127.0.0.1:3306",
    "mysql_pass": "ok",
    "mysql_user": "root",
    "mail_table": "new_mail",
}
SQL = {
    "sql_driver": "mysql",
    "sql_dsn": "root:ok@tcp(127.0.0.1:3306)/gmail_mail?readTimeout=10s&writeTimeout=10s",
    "mail_table": "new_mail",
}
REDIS = {"redis_interface": "127.0.0.1:6379", "redis_expire_seconds": 7200}
MAILDIR = {
    "maildir_path": "/home/[user]/Maildir",
    "maildir_user_map": "test=1002:2003,guerrilla=1001:1001,flashmob=1000:1000",
}
FASTCGI = {
    "fcgi_script_filename_save": "/home/path/to/save.php",
    "fcgi_script_filename_validate": "/home/path/to/validate.php",
    "fcgi_connection_type": "unix",
    "fcgi_connection_address": "/tmp/php-fpm.sock",
}
# As the documentation has them.
SETTINGS: dict[str, dict[str, object]] = {
    "debugger": {"log_received_mails": True},
    "fastcgi": {**FASTCGI},
    "guerrilladbredis": {**MYSQL, **REDIS},
    "guerrillaredisdb": {**MYSQL, **REDIS},
    "header": {"primary_mail_host": "sharklasers.com"},
    "maildir": {**MAILDIR},
    "mysql": {**MYSQL},
    "redis": {**REDIS},
    "sql": {**SQL},
    "wildcard": {"wildcard_recipients": ["*@example.org"]},
}
# In go-guerrilla's documentation, its tests, and its processors' documentation: save_process and
# validate_process.
STORING = (
    ("HeadersParser|Debugger|Hasher|Header|Compressor|Redis|MySql", ""),
    ("HeadersParser|Debugger|Hasher|Header|Compressor|Redis|Sql", ""),
    ("HeadersParser|Header|Hasher|Debugger|Compressor|Redis|Sql", ""),
    ("HeadersParser|Header|Hasher|Debugger|Compressor|Sql", ""),
    ("HeadersParser|Hasher|Header|GuerrillaRedisDB", ""),
    ("HeadersParser|Hasher|Header|GuerrillaDbRedis", ""),
    ("GuerrillaRedisDB", ""),
    ("Hasher|Redis", ""),
    ("HeadersParser|Debugger|Hasher|Header|MailDir", "MailDir"),
    ("HeadersParser|Debugger|MailDir", "MailDir"),
    ("HeadersParser|Debugger|FastCGI", "FastCGI"),
    ("HeadersParser|Debugger|Hasher|Header|FastCGI", "FastCGI"),
    ("HeadersParser|Debugger|Hasher|Header|MailDir|FastCGI", "MailDir|FastCGI"),
)
NOT_STORING = ("HeadersParser|Debugger", "HeadersParser|Header|Hasher|Debugger")


def settings_of(*chains: str) -> dict[str, object]:
    """:returns: what the processors of some chains need."""
    settings: dict[str, object] = {}
    for name in re.split(r"\s*\|\s*", "|".join(chains).strip().lower()):
        settings.update(SETTINGS.get(name, {}))
    return settings


def documented_files() -> Iterator[tuple[str, str]]:
    """:returns: the name and the text of each file that shows how something is done."""
    files = [ROOT / "README.rst", *(ROOT / "docs").glob("*.rst")]
    files += [file for file in (ROOT / "examples").rglob("*.*") if file.suffix != ".pyc"]
    for file in filter(Path.is_file, files):
        yield file.name, file.read_text(encoding="utf-8", errors="replace")


# The processors that they add.
ADDED = {
    name for _, text in documented_files() for name in re.findall(r'add_processor\("(\w+)"', text)
}


def stand_in(svc: IBackendService) -> Decorator:
    """A processor of somebody's own, which may store."""
    svc.declare_store()
    return process_with(svc, lambda envelope, task: None)


def check(save_process: str, validate_process: str = "", **settings: object) -> Sequence[str]:
    """:returns: what is warned of at the start."""
    chains = {"save_process": save_process, "validate_process": validate_process}
    registry = Registry(BUILTIN)
    for name in ("MyFoo", *ADDED):
        registry.add(name, stand_in)
    gateway = Gateway(registry, Clock(), Logger("test"))  # type: ignore[arg-type]
    return gateway.check({**chains, **settings_of(*chains.values()), **settings})


def documented_chains() -> list[tuple[str, str, str]]:
    """:returns: a file of ours, its save_process, its validate_process."""
    found = []
    for name, text in documented_files():
        for block in re.findall(r'[{][^{}]*"save_process"[^{}]*[}]', text):
            chains = dict(re.findall(r'"(save_process|validate_process)": *"([^"]*)"', block))
            # docs/embedding.rst has one that is misspelt on purpose.
            if chains.get("save_process", "HeadersParser|Sqll") != "HeadersParser|Sqll":
                found.append((name, chains["save_process"], chains.get("validate_process", "")))
    return found


class DocumentedTests(SynchronousTestCase):
    def test_chains_of_go_guerrilla(self) -> None:
        for save_process, validate_process in STORING:
            self.assertEqual(check(save_process, validate_process), [], save_process)

    def test_timeouts_without_a_unit(self) -> None:
        """Go's driver wants one, but the documentation has none."""
        dsn = "root:ok@tcp(127.0.0.1:3306)/gmail_mail?readTimeout=10&writeTimeout=10"
        self.assertEqual(check("HeadersParser|Hasher|Header|Sql", sql_dsn=dsn), [])

    def test_chains_of_go_guerrilla_that_store_nothing(self) -> None:
        for chain in NOT_STORING:
            (warning,) = check(chain)
            self.assertIn("NO PROCESSOR STORES MAIL", warning)

    def test_our_own(self) -> None:
        chains = documented_chains()
        self.assertGreater(len(chains), 5)
        for file, save_process, validate_process in chains:
            self.assertEqual(check(save_process, validate_process), [], (file, save_process))


class SpellingTests(SynchronousTestCase):
    def test_names_in_any_case_with_blanks_around_them(self) -> None:
        self.assertEqual(check("  headersparser | HASHER|\theader|\nsQl "), [])

    def test_empty_name(self) -> None:
        for chain in ("HeadersParser||Sql", "Sql|", "|Sql", "|", "HeadersParser| |Sql"):
            error = self.assertRaises(ConfigError, check, chain, **SETTINGS["sql"])
            self.assertEqual(str(error), "backend_config.save_process: unknown processor ''")
            error = self.assertRaises(ConfigError, check, "Sql", chain)
            self.assertEqual(str(error), "backend_config.validate_process: unknown processor ''")

    def test_other_separator(self) -> None:
        error = self.assertRaises(ConfigError, check, "HeadersParser,Sql")
        self.assertIn("unknown processor 'HeadersParser,Sql'", str(error))

    def test_no_name_at_all(self) -> None:
        for chain in ("", " "):
            error = self.assertRaises(ConfigError, check, chain)
            self.assertEqual(error.path, "backend_config.save_process")
        self.assertEqual(check("HeadersParser|Hasher|Sql", " "), [])


class WarningTests(SynchronousTestCase):
    """Orders that make no sense, as far as they are told at the start."""

    def assert_warns(self, text: str, save_process: str, validate_process: str = "") -> None:
        (warning,) = check(save_process, validate_process)
        self.assertIn(text, warning)

    def test_redis_without_a_hasher_before_it(self) -> None:
        for chain in ("Redis|Hasher", "HeadersParser|Header|Redis", "Redis|Hasher|MySql", "Redis"):
            error = self.assertRaises(ConfigError, check, chain)
            self.assertIn("put Hasher before it", str(error))
        # Another chain's is no help.
        self.assertRaises(ConfigError, check, "Redis", "Hasher")

    def test_nothing_stores(self) -> None:
        nothing = "NO PROCESSOR STORES MAIL"
        self.assert_warns(nothing, "HeadersParser|Hasher|Header|Compressor|Debugger")
        self.assert_warns(nothing, "Wildcard", "Wildcard")

    def test_what_stores_is_in_the_other_chain(self) -> None:
        self.assert_warns("NO PROCESSOR STORES MAIL", "Debugger", "FastCGI")

    def test_sql_before_headers_parser(self) -> None:
        for chain in ("Hasher|Sql", "Hasher|Sql|HeadersParser", "Hasher|MySql|HeadersParser"):
            self.assert_warns("without HeadersParser before it", chain)

    def test_sql_before_hasher(self) -> None:
        for chain in ("HeadersParser|Sql", "HeadersParser|Header|MySql|Hasher"):
            self.assert_warns("without Hasher before it", chain)

    def test_sql_before_redis(self) -> None:
        """Both then keep the whole message, so there is nothing to warn of."""
        for chain in (
            "HeadersParser|Hasher|Sql|Redis",
            "HeadersParser|Hasher|Compressor|MySql|Redis",
        ):
            self.assertEqual(check(chain), [])

    def test_wildcard_in_save_process_only(self) -> None:
        self.assert_warns("Wildcard: has no effect", "HeadersParser|Hasher|Wildcard|Sql")

    def test_maildir_in_save_process_only(self) -> None:
        self.assert_warns("MailDir: is not in validate_process", "HeadersParser|MailDir")

    def test_fastcgi_without_the_script_of_its_chain(self) -> None:
        for chains, setting in (
            (("FastCGI",), "fcgi_script_filename_save"),
            (("HeadersParser|FastCGI", "FastCGI"), "fcgi_script_filename_validate"),
            (("HeadersParser|Sql", "FastCGI"), "fcgi_script_filename_validate"),
        ):
            error = self.assertRaises(ConfigError, check, *chains, **{setting: ""})
            self.assertEqual(error.path, f"backend_config.{setting}")
        no_need = {"fcgi_script_filename_validate": ""}
        self.assertEqual(check("FastCGI", **no_need), [])


class ResultTests(SynchronousTestCase):
    """What becomes of a message in orders that make no sense, but are no error."""

    def setUp(self) -> None:
        self.database = self.mktemp()
        self.maildir = Path(self.mktemp()).absolute()

    def chain(self, expression: str, **settings: object) -> Chain:
        """:returns: an open chain whose stores are SQLite and Maildirs."""
        names = expression.lower().split("|")
        if "sql" in names:
            settings |= {"sql_dsn": self.database, "mail_table": "mail"}
        if "maildir" in names:
            settings |= {"maildir_path": f"{self.maildir}/[user]"}
        chain = Chain(self, expression, **settings)
        chain.open()
        return chain

    def rows(self) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.database)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM mail")]

    def files(self) -> list[Path]:
        """:returns: what is in Maildirs."""
        return [file for file in self.maildir.rglob("*") if file.is_file()]

    def test_the_order_that_does(self) -> None:
        """To compare with: what the others lack."""
        envelope = self.chain("HeadersParser|Hasher|Header|Compressor|Sql").save(make_envelope())
        (row,) = self.rows()
        self.assertEqual((row["subject"], row["body"]), ("hello", "gzip"))
        self.assertEqual(row["hash"], envelope.hashes[0])
        received, body = zlib.decompress(row["mail"]).split(b"Subject:")
        self.assertIn(f"id {row['hash']}@".encode(), received)
        self.assertEqual(body, b" hello\r\n\r\nbody\r\n")

    def test_sql_before_headers_parser(self) -> None:
        envelope = self.chain("Sql|HeadersParser").save(make_envelope())
        (row,) = self.rows()
        self.assertEqual((row["subject"], row["mail"]), ("", envelope.data))

    def test_sql_before_hasher(self) -> None:
        """The row has no hash, and the reply has the queue id."""
        envelope = make_envelope()
        result = self.chain("HeadersParser|Sql|Hasher").process(envelope)
        self.assertEqual(self.rows()[0]["hash"], "")
        self.assertIn(envelope.queued_id, result.text)

    def test_sql_before_header(self) -> None:
        envelope = self.chain("HeadersParser|Hasher|Sql|Header").save(make_envelope())
        self.assertEqual(self.rows()[0]["mail"], envelope.data)

    def test_compressor_after_the_store(self) -> None:
        self.chain("HeadersParser|Hasher|Header|Sql|Compressor").save(make_envelope())
        (row,) = self.rows()
        self.assertEqual(row["body"], "")
        self.assertTrue(row["mail"].endswith(b"body\r\n"))

    def test_compressor_before_header(self) -> None:
        """It compresses when a store asks, so it does not matter."""
        envelope = self.chain("HeadersParser|Compressor|Header|Sql").save(make_envelope())
        self.assertEqual(zlib.decompress(self.rows()[0]["mail"]), envelope.delivered_data)

    def hashes(self, expression: str, data: bytes) -> list[str]:
        envelope = make_envelope(data)
        # The same message again, or every hash is another.
        envelope.queued_id = "0" * 32
        return self.chain(expression).save(envelope).hashes

    def test_hasher_before_headers_parser(self) -> None:
        """Then the subject is not in the hash, which is unique all the same."""
        one, other = b"Subject: one\r\n\r\n", b"Subject: other\r\n\r\n"
        late, early = "HeadersParser|Hasher", "Hasher|HeadersParser"
        self.assertNotEqual(self.hashes(late, one), self.hashes(late, other))
        self.assertEqual(self.hashes(early, one), self.hashes(early, other))
        envelopes = [self.chain(early).save(make_envelope(one)) for _ in range(2)]
        self.assertNotEqual(envelopes[0].hashes, envelopes[1].hashes)

    def test_header_before_hasher(self) -> None:
        """Received then names the queue id."""
        envelope = self.chain("HeadersParser|Header|Hasher|Sql").save(make_envelope())
        (row,) = self.rows()
        self.assertIn(f"id {envelope.queued_id}@".encode(), row["mail"])
        self.assertEqual(row["hash"], envelope.hashes[0])

    def test_debugger_before_headers_parser(self) -> None:
        chain = self.chain("Debugger|HeadersParser", log_received_mails=True)
        chain.save(make_envelope())
        self.assertIn("subject ''", chain.lines()[0])

    def test_the_same_twice(self) -> None:
        """Whatever is only set is set again; what stores, stores again."""
        twice = "HeadersParser|HeadersParser|Hasher|Hasher|Header|Header|Compressor|Compressor"
        envelope = self.chain(twice + "|Sql|Sql").save(make_envelope())
        rows = self.rows()
        self.assertEqual([row["hash"] for row in rows], envelope.hashes * 2)
        for row in rows:
            mail = zlib.decompress(row["mail"])
            self.assertEqual(mail.count(b"Delivered-To: "), 1)
            self.assertEqual(mail, envelope.delivered_data)

    def test_two_stores(self) -> None:
        envelope = self.chain("HeadersParser|Hasher|Header|Sql|MailDir").save(make_envelope())
        (file,) = self.files()
        self.assertEqual(file.read_bytes(), envelope.delivered_data.replace(b"\r\n", b"\n"))
        self.assertEqual(self.rows()[0]["mail"], envelope.delivered_data)

    def test_what_refuses_after_a_store(self) -> None:
        """The client is told no, and yet there is a row: what can refuse goes before a store."""
        users = {"maildir_user_map": "alice=-1:-1"}
        result = self.chain("HeadersParser|Sql|MailDir", **users).process(make_envelope())
        self.assertEqual((result.code, len(self.rows()), self.files()), (550, 1, []))

    def test_maildir_in_save_process_only(self) -> None:
        """Nothing is lost in silence: an unknown user is refused when the message is there."""
        chain = self.chain("HeadersParser|MailDir", maildir_user_map="alice=-1:-1")
        for recipients in ((b"<bob@x.example>",), (b"<alice@x.example>", b"<bob@x.example>")):
            result = chain.process(make_envelope(recipients=recipients))
            self.assertEqual((result.code, result.enhanced, self.files()), (550, "5.1.1", []))

    def test_wildcard_in_save_process_only(self) -> None:
        chain = self.chain("HeadersParser|Wildcard|Sql", wildcard_recipients=["*@example.com"])
        chain.save(make_envelope(recipients=(b"<bob@elsewhere.example>",)))
        self.assertEqual(len(self.rows()), 1)

    def test_wildcard_and_maildir_check_recipients_together(self) -> None:
        chain = self.chain(
            "Wildcard|MailDir",
            wildcard_recipients=["*@x.example"],
            maildir_user_map="alice=-1:-1",
        )
        for path, code in (
            (b"<alice@x.example>", 250),
            (b"<bob@x.example>", 550),
            (b"<alice@y.example>", 550),
        ):
            envelope: Envelope = make_envelope(recipients=(path,))
            self.assertEqual(chain.process(envelope, Task.VALIDATE_RCPT).code, code)

    def test_what_only_saves_accepts_every_recipient(self) -> None:
        chain = self.chain("HeadersParser|Hasher|Header|Compressor|Debugger|Sql")
        self.assertEqual(chain.process(make_envelope(), Task.VALIDATE_RCPT).enhanced, "2.1.5")
        self.assertEqual(self.rows(), [])
