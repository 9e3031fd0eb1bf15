"""Sql and MySql: messages in a table, a row for each recipient."""
