"""A PostgreSQL of a test's own."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pg8000.dbapi  # type: ignore[import-untyped]

from tests.integration.daemon_process import free_port, wait_until
from tests.integration.programs import DEADLINE, missing
from tests.servers.process import PrivateServer

DATABASE = "gmail_mail"
PASSWORD = "ok"


def _program(name: str) -> str:
    """Debian keeps them where more than one version has room."""
    found = shutil.which(name)
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(versions[-1]) if versions else missing("PostgreSQL"))


@cache
def _fresh_data() -> Path:
    """:returns: a new server's data directory, made once, for copies."""
    initdb = _program("initdb")
    directory = Path(tempfile.mkdtemp(prefix="guerrilla-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    (directory / "password").write_text(PASSWORD)
    user = None
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody").pw_uid
        os.chown(directory, user, -1)
        os.chown(directory / "password", user, -1)
    command = [initdb, "-D", f"{directory}/data", "-U", "postgres", "-A", "scram-sha-256"]
    command += [f"--pwfile={directory}/password", "--no-sync", "-E", "UTF8", "--locale=C"]
    made = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE, user=user, cwd=directory
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return directory / "data"


def _is_running(pid: int) -> bool:
    # One that has ended and was not waited for has no program any more.
    return Path(f"/proc/{pid}/exe").exists()


class PostgreSql(PrivateServer):
    """
    A PostgreSQL with a database; ``postgres`` may do everything.

    :param fsync: whether a commit is on the disk when it returns.
    :param options: ``name=value`` of more settings.
    """

    def __init__(self, *options: str, fsync: bool = True) -> None:
        self._program = _program("postgres")
        data = _fresh_data()
        super().__init__()
        # With its owner.
        subprocess.run(["cp", "-a", str(data), str(self.directory / "data")], check=True)
        self.port = free_port()
        self.socket = self.directory / f".s.PGSQL.{self.port}"
        self._options = (
            *("listen_addresses=127.0.0.1", f"port={self.port}", "shared_buffers=16MB"),
            *(f"unix_socket_directories={self.directory}", f"fsync={'on' if fsync else 'off'}"),
            *options,
        )

    def command(self) -> Sequence[str]:
        """See :meth:`PrivateServer.command`."""
        settings = [part for option in self._options for part in ("-c", option)]
        return (self._program, "-D", f"{self.directory}/data", *settings)

    def user(self) -> int | None:
        """See :meth:`PrivateServer.user`."""
        return self.unprivileged_user()

    def terminate(self) -> None:
        """End it without waiting for its clients, who would keep their connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(DEADLINE)
        self._process = None

    def kill(self) -> None:
        """See :meth:`PrivateServer.kill`."""
        children = self._children()
        super().kill()
        # The next one needs their shared memory to be gone.
        wait_until(lambda: not any(map(_is_running, children)))

    def _signal(self, number: int) -> None:
        """Each session of it is a process group of its own."""
        # It makes no more of them while it is stopped.
        super()._signal(signal.SIGSTOP)
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, number)
        super()._signal(number)

    def _children(self) -> list[int]:
        assert self._process is not None
        pid = self._process.pid
        with suppress(FileNotFoundError):
            return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        return []

    def is_ready(self) -> bool:
        """See :meth:`PrivateServer.is_ready`."""
        try:
            connection = self.connect(database="postgres")
        except (pg8000.dbapi.InterfaceError, pg8000.dbapi.DatabaseError):
            return False
        with closing(connection):
            cursor = connection.cursor()
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if not cursor.fetchall():
                cursor.execute(f"CREATE DATABASE {DATABASE}")
        return True

    def connect(self, **changes: Any) -> Any:
        """:returns: a connection as postgres, which commits what it does at once."""
        given = {"user": "postgres", "password": PASSWORD, "database": DATABASE, **changes}
        connection = pg8000.dbapi.connect(unix_sock=str(self.socket), **given)
        connection.autocommit = True
        return connection

    def execute(self, statement: str, *values: object) -> list[Any]:
        """Do something as postgres."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
