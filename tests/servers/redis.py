"""redis-server, alone and as a Sentinel, and a few words of its protocol to ask it with."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import closing
from typing import Any, BinaryIO

from tests.integration.daemon_process import free_port, wait_until
from tests.integration.programs import DEADLINE, find_program
from tests.servers.process import PrivateServer

HOST = "127.0.0.1"


class RedisServer(PrivateServer):
    """
    A redis-server on a free port and on a UNIX socket.

    :param options: of its command line, such as ``--requirepass``, ``secret``.
    """

    def __init__(self, *options: str) -> None:
        super().__init__()
        self.options = list(options)
        self.port = free_port()
        self.socket_path = self.directory / "redis.sock"

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{HOST}:{self.port}"

    def command(self) -> Sequence[str]:
        return [
            find_program("redis-server"),
            *("--bind", HOST, "--port", str(self.port)),
            *("--unixsocket", str(self.socket_path)),
            *("--dir", str(self.directory), "--save", ""),
            # It would wait for more replicas than the first.
            *("--repl-diskless-sync-delay", "0"),
            *self.options,
        ]

    def is_ready(self) -> bool:
        try:
            self.ask("PING")
        except OSError:
            return False
        except RedisRefusal as refusal:
            return not str(refusal).startswith("LOADING")
        return True

    def connect(self) -> socket.socket:
        """:returns: a connection by the UNIX socket, which speaks no TLS."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(DEADLINE)
        connection.connect(str(self.socket_path))
        return connection

    def ask(self, *command: str | int) -> Any:
        """
        Do what another program may do.

        :param command: with its arguments; after ``--requirepass`` it logs in before it.
        :returns: what Redis has: octets, a number, a list of these, or None.
        :raises RedisRefusal: Redis said no.
        """
        with closing(self.connect()) as connection, connection.makefile("rb") as replies:
            if "--requirepass" in self.options:
                password = self.options[self.options.index("--requirepass") + 1]
                _send(connection, ("AUTH", password))
                _read_reply(replies)
            _send(connection, command)
            return _read_reply(replies)


class SentinelServer(RedisServer):
    """
    A Sentinel that decides alone.

    :param master: what it watches, under the name ``mail``.
    """

    def __init__(self, master: RedisServer) -> None:
        super().__init__()
        self._master = master

    def command(self) -> Sequence[str]:
        # It writes its own state there too.
        configuration = self.directory / "sentinel.conf"
        configuration.write_text(
            f"bind {HOST}\nport {self.port}\ndir {self.directory}\n"
            f"sentinel monitor mail {HOST} {self._master.port} 1\n"
            "sentinel down-after-milliseconds mail 500\n"
            "sentinel failover-timeout mail 5000\n"
        )
        return [find_program("redis-server"), str(configuration), "--sentinel"]

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), DEADLINE)

    def knows_a_replica(self) -> bool:
        """:returns: whether there is one to make the master of."""
        return bool(self.ask("SENTINEL", "REPLICAS", "mail"))


def start_replica(master: RedisServer, replica: RedisServer) -> None:
    """Start ``replica``, and wait until it has all that ``master`` has."""
    replica.options += ["--replicaof", f"{HOST} {master.port}"]
    replica.start()

    def in_step() -> bool:
        info = replica.ask("INFO", "replication")
        return b"master_link_status:up" in info

    wait_until(in_step)


class RedisRefusal(Exception):
    """What Redis answered, without the ``-`` in front."""


def _send(connection: socket.socket, command: Sequence[str | int]) -> None:
    words = [str(word).encode() for word in command]
    octets = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    connection.sendall(b"*%d\r\n%s" % (len(words), octets))


def _read_reply(replies: BinaryIO) -> Any:
    line = replies.readline()
    if not line:
        raise ConnectionResetError("closed")
    kind, rest = line[:1], line[1:].rstrip()
    if kind == b"-":
        raise RedisRefusal(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else replies.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [_read_reply(replies) for _ in range(int(rest))]
    return rest
