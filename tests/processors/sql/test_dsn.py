"""The forms that a database's place may be written in."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import ConfigError
from guerrilla_tw.processors.sql.dsn import read_source
from guerrilla_tw.processors.sql.source import Source, mysql_source

SECRET = "s3cr3t"


class Reading(SynchronousTestCase):
    def assert_read(self, driver: str, dsn: str, **expected: object) -> Source:
        source = read_source(driver, dsn)
        found = {name: getattr(source, name) for name in expected}
        self.assertEqual(found, expected, dsn)
        if source.password:
            self.assertNotIn(source.password, source.where)
            self.assertNotIn(source.password, str(source.url))
        return source

    def assert_refused(self, driver: str, dsn: str, cause: str, setting: str = "sql_dsn") -> None:
        with self.assertRaises(ConfigError) as caught:
            read_source(driver, dsn)
        self.assertEqual((caught.exception.path, caught.exception.cause), (setting, cause), dsn)


class GoMySqlTests(Reading):
    """The form of go-sql-driver/mysql."""

    def test_whole(self) -> None:
        source = self.assert_read(
            "mysql",
            f"root:{SECRET}@tcp(127.0.0.1:3307)/gmail_mail?readTimeout=10s&writeTimeout=5s&loc=UTC",
            kind="mysql",
            user="root",
            password=SECRET,
            host="127.0.0.1",
            port=3307,
            socket="",
            database="gmail_mail",
            longest_wait=5.0,
            tls="off",
        )
        self.assertEqual(source.where, "mysql 127.0.0.1:3307 database gmail_mail")

    def test_parts_that_may_be_left_out(self) -> None:
        here = {"host": "127.0.0.1", "port": 3306, "database": "db"}
        self.assert_read("mysql", "/db", user="", password="", **here)
        self.assert_read("MySQL", "u@/db", user="u", password="", **here)
        self.assert_read("mysql", f"u:{SECRET}@tcp/db", user="u", password=SECRET, **here)
        self.assert_read("mysql", "u@tcp(db.example)/db", host="db.example", port=3306)
        self.assert_read("mysql", "u@/db?readTimeout=10&writeTimeout=9", longest_wait=9)
        self.assert_read("mysql", "u@tcp(db.example:1)/db?timeout=0", longest_wait=0, port=1)

    def test_passwords_need_no_escape(self) -> None:
        for password in ("p@ss", "a/b", "a:b", "(x)", "a?b=c", "%41", "@tcp(h)/"):
            self.assert_read("mysql", f"u:{password}@tcp(h)/db", password=password, host="h")

    def test_other_addresses(self) -> None:
        source = self.assert_read(
            "mysql", "u@tcp([2001:db8::1]:3306)/db", host="2001:db8::1", port=3306
        )
        self.assertIn("[2001:db8::1]:3306", source.where)
        source = self.assert_read(
            "mysql", "u@unix(/run/my.sock)/db?tls=true", socket="/run/my.sock", host="", tls="off"
        )
        self.assertIn("/run/my.sock", source.where)

    def test_tls(self) -> None:
        for value, tls in (
            ("true", "verified"),
            ("TRUE", "verified"),
            ("skip-verify", "unverified"),
            ("false", "off"),
            ("preferred", "preferred"),
        ):
            self.assert_read("mysql", f"u@tcp(h)/db?tls={value}", tls=tls)

    def test_refused(self) -> None:
        address = "the address is none of tcp(host:port), unix(/path)"
        for dsn, cause in (
            ("", "lacks the / before the database's name"),
            (SECRET, "lacks the / before the database's name"),
            (f"u:{SECRET}@tcp(h)/", "names no database"),
            (f"u:{SECRET}@udp(h)/db", address),
            (f"u:{SECRET}@tcp(h/db", address),
            (f"u:{SECRET}@unix(h)/db", address),
            (f"u:{SECRET}@unix/db", address),
            (f"u:{SECRET}@/db?tls=custom", "tls is none of true, skip-verify, preferred, false"),
            (f"u:{SECRET}@/db?timeout=5x", 'timeout: not a duration, such as "30s", "250ms"'),
            (f"u:{SECRET}@/db?passwd={SECRET}", "passwd is not known here"),
            (f"u:{SECRET}@/db?{SECRET}=1", "a parameter is not known here"),
        ):
            with self.assertRaises(ConfigError) as caught:
                read_source("mysql", dsn)
            self.assertTrue(str(caught.exception).startswith(f"sql_dsn: {cause}"), dsn)
            self.assertNotIn(SECRET, str(caught.exception))
        for host in ("a b", "h:x", "h:1:2", "[h]", ":1"):
            self.assert_refused(
                "mysql",
                f"u@tcp({host})/db",
                "the address is neither host:port nor the path of a socket",
            )

    def test_older_setting_is_named(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            mysql_source("a b", "db", "u", "", setting="mysql_host")
        self.assertEqual(caught.exception.path, "mysql_host")


class UrlTests(Reading):
    def test_mysql(self) -> None:
        for scheme in ("mysql", "mysql+pymysql", "mariadb", "MySQL"):
            self.assert_read(
                "",
                f"{scheme}://u:p%40%2F@db.example:3307/db?charset=utf8mb4&tls=true",
                kind="mysql",
                user="u",
                password="p@/",
                host="db.example",
                port=3307,
                database="db",
                tls="verified",
            )
        self.assert_read("mysql", "mysql://u@/db", host="127.0.0.1", port=3306)
        self.assert_read("", "mysql://u@[::1]:3/db", host="::1", port=3)
        self.assert_read("", "mysql://u@/db?unix_socket=/run/s", socket="/run/s", host="")

    def test_postgresql(self) -> None:
        for scheme in ("postgres", "postgresql", "postgresql+pg8000"):
            self.assert_read(
                "",
                f"{scheme}://u:p%40@db.example/db?sslmode=require&connect_timeout=7",
                kind="postgresql",
                user="u",
                password="p@",
                host="db.example",
                port=5432,
                database="db",
                tls="unverified",
                longest_wait=7,
            )
        for driver in ("postgres", "pgx", "PostgreSQL"):
            self.assert_read(driver, "postgres://u@h:1/", host="h", port=1, database="u")
        socket = "/run/postgresql/.s.PGSQL.5432"
        self.assert_read("", "postgres://u@/db?host=/run/postgresql", socket=socket, tls="off")

    def test_sqlite(self) -> None:
        self.assert_read("", "sqlite:///mail.db", kind="sqlite", database="mail.db")
        self.assert_read("sqlite3", "sqlite:////var/mail.db", database="/var/mail.db")

    def test_refused(self) -> None:
        self.assert_refused(
            "", "oracle://h/db", "the URL's scheme is none of sqlite, mysql, postgresql"
        )
        self.assert_refused(
            "mysql", "postgres://u@h/db", "is for another database than the URL", "sql_driver"
        )
        self.assert_refused("", "mysql+mysqldb://u@h/db", "the driver for mysql is pymysql")
        no_url = "is no URL; special characters in it are written %XX"
        self.assert_refused("", f"mysql://u:p@h:{SECRET}/db", no_url)
        self.assert_refused("", "sqlite://", "is not the path of a file")
        self.assert_refused("", "sqlite:///:memory:", "is not the path of a file")
        self.assert_refused("", "sqlite:///a?mode=ro", "mode is not known here")
        self.assert_refused("", "postgres://h/db", "names no user")


class KeywordTests(Reading):
    """The form of lib/pq."""

    def test_whole(self) -> None:
        source = self.assert_read(
            "postgres",
            "host=db.example port=5433 user=u password='p q' dbname=db sslmode=verify-full"
            " application_name=x",
            kind="postgresql",
            host="db.example",
            port=5433,
            user="u",
            password="p q",
            database="db",
            tls="verified",
        )
        self.assertEqual(source.where, "postgresql db.example:5433 database db")

    def test_parts_that_may_be_left_out(self) -> None:
        self.assert_read(
            "postgres", "user=u", host="localhost", port=5432, database="u", tls="preferred"
        )

    def test_values_are_quoted_as_libpq_has_it(self) -> None:
        for written, password in (
            ("abc", "abc"),
            ("''", ""),
            ("", ""),
            (r"a\'b\\c\ d", r"a'b\c d"),
            (r"'a\'b\\c d'", r"a'b\c d"),
            ('"a"b', '"a"b'),
            ("a'b", "a'b"),
            ("a=b#c", "a=b#c"),
            (r"'\n'", "n"),
        ):
            dsn = f"password = {written} user= u  host =h "
            if not written:
                dsn = "user=u host=h password="
            source = self.assert_read("postgres", dsn, user="u", host="h")
            self.assertEqual(source.password, password)

    def test_refused(self) -> None:
        form = "is neither a URL nor in the form host=... user=... dbname=..."
        for dsn, cause in (
            ("", form),
            ("db", form),
            (f"user=u {SECRET}", form),
            ("host=h", "names no user"),
            ("user=u port=x", "port is not from 1 to 65535"),
            ("user=u connect_timeout=1s", "connect_timeout is no number of seconds"),
            (f"user=u password='{SECRET}", form),
            (f"user=u password=a {SECRET}=", "a parameter is not known here"),
            ("user=u password=a\\", form),
            ("user=u" + " " * 100_000 + "x" * 100_000, form),
            ("user=u sslkey=x", "sslkey is not known here"),
            (
                "user=u sslmode=verify-ca",
                "sslmode is none of disable, allow, prefer, require, verify-full",
            ),
        ):
            self.assert_refused("postgres", dsn, cause)


class PathTests(Reading):
    def test_without_a_driver(self) -> None:
        for path in ("mail.sqlite3", "/a b/c@d.db", "x=1"):
            self.assert_read("", path, kind="sqlite", database=path)

    def test_that_is_somebody_elses_form(self) -> None:
        """A file of such a name would hold the password, and the mail."""
        for dsn in ("u:p@tcp(127.0.0.1)/db", "host=h user=u", "user=u dbname = db"):
            cause = "is missing; sql_dsn is no path of a file"
            self.assert_refused("", dsn, cause, "sql_driver")
