"""The statement that writes rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import mysql, postgresql, sqlite
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import ConfigError
from guerrilla_tw.processors.sql.insert_statement import (
    RAW_VALUES,
    InsertStatement,
    check_raw_statement,
    insert_as_written,
    insert_into,
)
from guerrilla_tw.processors.sql.mail_table import mail_table

SQLITE: Any = sqlite.dialect()
MYSQL: Any = mysql.dialect(paramstyle="format")
POSTGRESQL: Any = postgresql.dialect(paramstyle="format")
MARKS = "(" + ", ".join("?" * 14) + ")"


class StatementTests(SynchronousTestCase):
    def test_names_are_quoted_as_each_database_has_it(self) -> None:
        table = mail_table("post.select")
        for dialect, text in (
            (SQLITE, 'INSERT INTO post."select" ("to", "hash") VALUES (?, ?), (?, ?)'),
            (MYSQL, "INSERT INTO post.`select` (`to`, `hash`) VALUES (%s, %s), (%s, %s)"),
            (POSTGRESQL, 'INSERT INTO post."select" ("to", "hash") VALUES (%s, %s), (%s, %s)'),
        ):
            statement = insert_into(table, ("to", "hash"), dialect)
            self.assertEqual(statement.text(2), text)
            rows: list[dict[str, Any]] = [
                {"to": "a", "hash": "1"},
                {"hash": "2", "to": "b", "more": 0},
            ]
            self.assertEqual(statement.parameters(rows), ("a", "1", "b", "2"))

    def test_go_guerrillas_own(self) -> None:
        statement = insert_as_written(mail_table("m"), "INSERT INTO x VALUES", "", POSTGRESQL)
        self.assertEqual(
            statement.text(1),
            "INSERT INTO x VALUES (CURRENT_TIMESTAMP, %s, %s, %s, %s, %s, 0, %s, %s, %s, FALSE,"
            " %s, %s, %s, %s, %s, %s)",
        )
        statement = insert_as_written(mail_table("m"), "", MARKS, MYSQL)
        self.assertTrue(statement.text(1).startswith("INSERT INTO m (`date`, `to`, `from`, "))
        self.assertEqual(statement.text(1).count("%s"), 14)
        row = {name: name for name in RAW_VALUES}
        self.assertEqual(statement.parameters([row]), RAW_VALUES)

    def test_what_is_in_quotes_is_no_mark(self) -> None:
        row = "('?', \"?\", `?`, '''?', ?, 5 % 2, '%s')"
        for dialect, text in (
            (SQLITE, row),
            (MYSQL, "('?', \"?\", `?`, '''?', %s, 5 %% 2, '%%s')"),
            # pg8000 looks into no quotes.
            (POSTGRESQL, "('?', \"?\", `?`, '''?', %s, 5 %% 2, '%s')"),
        ):
            self.assertEqual(InsertStatement("", row, ("to",), dialect).text(1).strip(), text)

    def test_rows_are_cut_by_number_and_by_size(self) -> None:
        statement = InsertStatement("INSERT INTO t VALUES", "(?)", ("mail",), SQLITE)

        def sizes(rows: list[dict[str, Any]], octets: int) -> list[int]:
            pieces = statement.cut(rows, octets)
            self.assertEqual([row for piece in pieces for row in piece], rows)
            return [len(piece) for piece in pieces]

        small: dict[str, Any] = {"mail": b"x"}
        large: dict[str, Any] = {"mail": b"x" * 1000}
        self.assertEqual(sizes([small] * 120, 2**20), [50, 50, 20])
        self.assertEqual(sizes([small, large, large, small, small], 1500), [1, 1, 1, 2])

    def test_octets_are_not_underestimated(self) -> None:
        """Binary is sent in hexadecimal digits, and any character may need an escape."""
        statement = InsertStatement("", "(?)", ("mail",), MYSQL)
        self.assertGreaterEqual(statement.octets({"mail": b"x" * 100}), len("_binary X''") + 200)
        self.assertGreaterEqual(statement.octets({"mail": "\U0001f600" * 9}), 36)
        self.assertGreaterEqual(statement.octets({"mail": "'" * 9}), 20)


class CheckTests(SynchronousTestCase):
    def test_good(self) -> None:
        check_raw_statement("", "")
        check_raw_statement("INSERT INTO t (`?`) VALUES", "")
        check_raw_statement("", MARKS)
        check_raw_statement("x", "('?', " + MARKS[1:])

    def test_wrong_number_of_marks(self) -> None:
        for sql_insert, sql_values, message in (
            ("", "(?)", "sql_values: has 1 ?, not 14"),
            ("", "('?')", "sql_values: has 0 ?, not 14"),
            ("", MARKS + "?", "sql_values: has 15 ?, not 14"),
            ("INSERT ?", "", "sql_insert: holds a ?; values belong to sql_values"),
        ):
            with self.assertRaises(ConfigError) as caught:
                check_raw_statement(sql_insert, sql_values)
            self.assertEqual(str(caught.exception), message)
