"""A MariaDB of a test's own."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pymysql  # type: ignore[import-untyped]

from tests.integration.daemon_process import free_port
from tests.integration.programs import DEADLINE, find_program
from tests.servers.process import PrivateServer

DATABASE = "gmail_mail"


@cache
def _fresh_data() -> Path:
    """:returns: a new server's data directory, made once, for copies."""
    install = find_program("mariadb-install-db")
    directory = Path(tempfile.mkdtemp(prefix="guerrilla-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    command = [install, "--no-defaults", f"--datadir={directory}/data", "--skip-test-db"]
    command += ["--auth-root-authentication-method=normal", *_user()]
    made = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert made.returncode == 0, made.stdout + made.stderr
    return directory / "data"


def _user() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []


class MariaDb(PrivateServer):
    """
    A MariaDB with a database; ``root`` has no password.

    :param fsync: whether a commit is on the disk when it returns.
    :param options: more of mariadbd's.
    """

    def __init__(self, *options: str, fsync: bool = True) -> None:
        self._program = find_program("mariadbd")
        data = _fresh_data()
        super().__init__()
        shutil.copytree(data, self.directory / "data")
        self.port = free_port()
        self.socket = self.directory / "s"
        self._options = (*options, f"--innodb-flush-log-at-trx-commit={int(fsync)}")

    def command(self) -> Sequence[str]:
        """See :meth:`PrivateServer.command`."""
        return (
            *(self._program, "--no-defaults", *_user()),
            *(f"--datadir={self.directory}/data", f"--socket={self.socket}"),
            *("--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve"),
            *("--innodb-buffer-pool-size=32M", "--innodb-log-file-size=32M", *self._options),
        )

    def is_ready(self) -> bool:
        """See :meth:`PrivateServer.is_ready`."""
        try:
            connection = self.connect(database=None)
        except pymysql.err.OperationalError:
            return False
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        return True

    def connect(self, **changes: Any) -> Any:
        """:returns: a connection as root, which commits what it does at once."""
        given = {"user": "root", "database": DATABASE, "autocommit": True, **changes}
        return pymysql.connect(unix_socket=str(self.socket), charset="utf8mb4", **given)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Do something as root."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())
