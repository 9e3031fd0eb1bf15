"""Every kind of change of a configuration, good and bad."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.daemon_process import free_port
from tests.smtp.certificates import issue

HOST = "127.0.0.1"
_SQL = "HeadersParser|Hasher|Header|Sql"
_WORKERS = 10


class Configuration:
    """
    The configuration of a daemon, and what can be done to it.

    :param directory: where it runs.
    :param chance: decides what a change is like.
    :param processes: how many serve.

    :ivar changes: what changes something, by the name of the kind.
    :ivar faults: what makes it unusable, by the name of the kind, and what a refusal must say then.
    """

    def __init__(self, directory: Path, chance: random.Random, processes: int) -> None:
        self.directory = directory
        self.smtp, self.smtps, self.moving, self.visited, self._other = (
            free_port() for _ in range(5)
        )
        self.lmtp = str(directory / "lmtp.sock")
        self._chance = chance
        self._serial = 0
        self._identities = [self._write_identity(name) for name in ("one", "two")]
        self._taken = socket.create_server((HOST, 0))
        self.stores: dict[str, dict[str, Any]] = {
            name: {
                "save_process": _SQL,
                "sql_driver": "sqlite3",
                "sql_dsn": f"{name}.sqlite3",
                "mail_table": "new_mail",
                "save_workers_size": _WORKERS,
            }
            for name in ("first", "second")
        }
        self.stores["maildir"] = {
            "save_process": "HeadersParser|Hasher|Header|MailDir",
            "maildir_path": "mail/[user]",
            "save_workers_size": _WORKERS,
        }
        self.stores["slow"] = {
            **self.stores["first"],
            "save_process": f"Debugger|{_SQL}",
            "sleep_seconds": 0.02,
        }
        self.whole: dict[str, Any] = {
            "log_file": "main.log",
            "log_level": "info",
            "allowed_hosts": ["example.com"],
            "pid_file": "one.pid",
            "processes": processes,
            "backend_config": dict(self.stores["first"]),
        }
        self.staying = self._server(f"{HOST}:{self.smtp}", self._tls("start_tls_on"))
        self.secret = self._server(f"{HOST}:{self.smtps}", self._tls("tls_always_on"))
        self.local = self._server(f"unix:{self.lmtp}", {})
        self.local["protocol"] = "lmtp"
        self.mover = self._server(f"{HOST}:{self.moving}", {})
        #: None where it is not in the configuration.
        self.visitors: dict[str, Any] | None = self._server(f"{HOST}:{self.visited}", {})
        self.changes: dict[str, Callable[[], None]] = {
            "nothing": lambda: None,
            "server added or removed": self._add_or_remove,
            "server enabled or disabled": self._enable_or_disable,
            "server moved": self._move,
            "server moved to a place that overlaps": self._move_over,
            "allowed_hosts": self._allow,
            "limits": self._limit,
            "max_clients": self._max_clients,
            "other certificates": self._identify,
            "certificates changed on the disk": self._renew,
            "log_file": self._log_to,
            "log_level": lambda: self._turn("log_level", "info", "debug"),
            "log_format": lambda: self._turn("log_format", "json", "text"),
            "log_file of a server": self._log_server_to,
            "pid_file": lambda: self._turn("pid_file", "one.pid", "two.pid", ""),
            "spill_size": lambda: self._turn("spill_size", 1000, 0),
            "workers": self._work,
            "SQLite": lambda: self._store("first", "second"),
            "SQL to MailDir": lambda: self._store("maildir"),
            "slow chain": lambda: self._store("slow"),
            "all at once": self._all_at_once,
        }
        if processes != 1:
            # All of them would have to let the one place go before one of them may have the other.
            del self.changes["server moved to a place that overlaps"]
        self.faults: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
            "broken JSON": (lambda bad: None, "not JSON"),
            "unknown setting": (lambda bad: bad.update(max_siez=1), "max_siez: unknown setting"),
            "port in use": (self._take_port, "Address already in use"),
            "certificate that does not fit": (self._misfit, "is not the key of the first"),
            "store that cannot be opened": (self._no_store, "Sql: "),
            "log file that cannot be opened": (
                lambda bad: bad.update(log_file="no/such/directory/log"),
                "log_file: ",
            ),
            "pid file that cannot be written": (
                lambda bad: bad.update(pid_file="no/such/directory/pid"),
                "pid_file: ",
            ),
        }

    def close(self) -> None:
        """Let go of the port that faults ask for."""
        self._taken.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self.directory / "test.json"

    @property
    def takes_visitors(self) -> bool:
        """Whether the server that comes and goes is there, and may have more clients."""
        server = self.visitors
        return server is not None and server["is_enabled"] and server.get("max_clients") != 1

    def current(self) -> dict[str, Any]:
        """:returns: a copy of all."""
        servers = [self.staying, self.secret, self.local, self.mover]
        if self.visitors is not None:
            # Also the places in the list change.
            servers.insert(self._chance.randrange(len(servers) + 1), self.visitors)
        copied: dict[str, Any] = json.loads(json.dumps({**self.whole, "servers": servers}))
        return copied

    def write(self) -> None:
        """Write the file, as it should be done: in one piece."""
        self._write(json.dumps(self.current(), indent=1))

    def spoil(self, fault: str) -> None:
        """Write a file that has changes, and cannot be used."""
        bad = self.current()
        bad["allowed_hosts"] = ["nobody.example"]
        bad["pid_file"] = "bad.pid"
        bad["log_file"] = "main-bad.log"
        bad["backend_config"] = {**self.stores["second"], "save_workers_size": _WORKERS + 1}
        bad["servers"] = [
            {**server, "max_clients": 1} for server in bad["servers"] if server != self.mover
        ]
        bad["servers"].append(self._server(f"{HOST}:{self._other}", {}))
        self.faults[fault][0](bad)
        text = json.dumps(bad)
        self._write(text[:-1] if fault == "broken JSON" else text)

    def _write(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    # Changes

    def _turn(self, name: str, *values: object) -> None:
        """The next of some values."""
        now = self.whole.get(name, values[-1])
        self.whole[name] = values[(values.index(now) + 1) % len(values)]

    def _add_or_remove(self) -> None:
        self.visitors = (
            self._server(f"{HOST}:{self.visited}", {}) if self.visitors is None else None
        )

    def _enable_or_disable(self) -> None:
        if self.visitors is None:
            self._add_or_remove()
        else:
            self.visitors["is_enabled"] = not self.visitors["is_enabled"]

    def _move(self) -> None:
        self.visited, self._other = self._other, self.visited
        self.visitors = self._server(f"{HOST}:{self.visited}", {})

    def _move_over(self) -> None:
        hosts = {HOST: "0.0.0.0", "0.0.0.0": HOST}
        now = self.mover["listen_interface"].partition(":")[0]
        self.mover["listen_interface"] = f"{hosts[now]}:{self.moving}"

    def _allow(self) -> None:
        self.whole["allowed_hosts"] = self._chance.choice(
            [["example.com"], ["."], ["*.com"], ["other.example", "example.com"]]
        )

    def _limit(self) -> None:
        for server in (self.staying, self.secret, self.local):
            server["timeout"] = self._chance.randrange(60, 120)
            server["max_size"] = self._chance.randrange(2**20, 2**22)
            server["max_recipients"] = self._chance.randrange(100, 200)
            server["max_messages"] = self._chance.choice([0, 1000])
            server["host_name"] = self._chance.choice(["one.example", "two.example"])

    def _max_clients(self) -> None:
        for server in (self.staying, self.secret, self.local):
            server["max_clients"] = self._chance.randrange(100, 1000)
        if self.visitors is not None:
            # Below what is there: nobody is thrown out.
            self.visitors["max_clients"] = self._chance.choice([1, 10])

    def _identify(self) -> None:
        self._identities.reverse()
        self.staying["tls"].update(self._identities[0])
        self.secret["tls"].update(self._identities[0])

    def _renew(self) -> None:
        self._write_identity(Path(self._identities[0]["public_key_file"]).stem)

    def _log_to(self) -> None:
        self._turn("log_file", "main.log", "main-other.log", "stderr")

    def _log_server_to(self) -> None:
        self.staying["log_file"] = self._chance.choice(["", "off", "stdout", "server.log"])

    def _work(self) -> None:
        self.whole["backend_config"]["save_workers_size"] = self._chance.randrange(1, _WORKERS)

    def _store(self, *names: str) -> None:
        backend = self.whole["backend_config"]
        choices = [name for name in names if self.stores[name] != backend]
        self.whole["backend_config"] = dict(self.stores[self._chance.choice(choices or names)])

    def _all_at_once(self) -> None:
        for change in list(self.changes.values())[:-1]:
            change()

    # Faults

    def _take_port(self, bad: dict[str, Any]) -> None:
        """The last of them, so that all the others are there already."""
        bad["servers"].append(self._server(f"{HOST}:{self._taken.getsockname()[1]}", {}))

    def _misfit(self, bad: dict[str, Any]) -> None:
        other = self._identities[1]["public_key_file"]
        for server in bad["servers"]:
            if server.get("tls"):
                server["tls"]["public_key_file"] = other

    def _no_store(self, bad: dict[str, Any]) -> None:
        bad["backend_config"] = {**self.stores["first"], "sql_dsn": "no/such/directory/sqlite3"}

    # What it is made of

    def _server(self, interface: str, tls: dict[str, Any]) -> dict[str, Any]:
        return {"is_enabled": True, "listen_interface": interface, "timeout": 60, "tls": tls}

    def _tls(self, kind: str) -> dict[str, Any]:
        return {kind: True, **self._identities[0]}

    def _write_identity(self, name: str) -> dict[str, str]:
        self._serial += 1
        identity = issue(f"{name}-{self._serial}.example")
        written = {}
        for setting, content in (
            ("private_key_file", identity.key_pem()),
            ("public_key_file", identity.certificate_pem),
        ):
            file = self.directory / f"{name}.{'key' if 'private' in setting else 'pem'}"
            new = self.directory / "new.pem"
            new.write_bytes(content)
            os.replace(new, file)
            written[setting] = str(file)
        return written
