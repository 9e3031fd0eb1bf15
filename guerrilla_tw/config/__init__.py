"""
The configuration: go-guerrilla's JSON to frozen, checked objects.

Nothing here listens, and no file is read but the one named.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from copy import deepcopy
from os.path import normpath
from typing import Any, Final

import msgspec

from guerrilla_tw.config.durations import Duration, parse_duration
from guerrilla_tw.config.listen import overlap
from guerrilla_tw.config.old_settings import rename_old_settings
from guerrilla_tw.config.server import ServerConfig, TLSConfig
from guerrilla_tw.config.settings import (
    ConfigError,
    check_host_name,
    convert,
    convert_settings,
    did_you_mean,
    set_choice,
    set_default,
    setting_names,
    unknown_setting,
    unknown_settings,
)
from guerrilla_tw.config.strict_json import read_json
from guerrilla_tw.reading import read_file

__all__ = [
    "Config",
    "ConfigError",
    "Duration",
    "LoadedConfig",
    "ServerConfig",
    "TLSConfig",
    "check_host_name",
    "convert_config",
    "convert_settings",
    "did_you_mean",
    "load_config",
    "parse_config",
    "parse_duration",
    "set_choice",
    "set_default",
    "setting_names",
    "unknown_settings",
]

# Setting: what 0 means.
_NUMBERS: Final = {"spill_size": 2**20, "max_inflight_bytes": 2**28}
# More than any machine has use for.
MAX_PROCESSES: Final = 256
LOG_LEVELS: Final = ("debug", "info", "warn", "error", "fatal", "panic")
LOG_FORMATS: Final = ("text", "json")


def _embedded_store() -> dict[str, Any]:
    return {
        "save_process": "HeadersParser|Debugger|Hasher|Header|Sql",
        "log_received_mails": True,
        "save_workers_size": 1,
        "sql_driver": "sqlite3",
        "sql_dsn": "guerrilla.sqlite3",
        "mail_table": "new_mail",
    }


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """
    The whole configuration. The settings are go-guerrilla's; what is empty means the default.

    ``Config()`` is what runs without a file: a server on 127.0.0.1:2525 and an embedded store.

    :param log_file: a path, ``stderr``, ``stdout`` or ``off``.
    :param log_level: one of :data:`LOG_LEVELS`, in any case.
    :param log_format: ``text``, the default, or ``json``, an object a line.
    :param allowed_hosts: hosts whose mail is taken; by default this host's name.
    :param pid_file: a path, or empty for none.
    :param processes: how many processes serve; 1 by default, and 0 for one for each processor that
        this one may run on. It is ``twistd guerrilla`` and :class:`.Supervisor` that have several.
    :param shutdown_timeout: how long clients may take to finish the command in hand at the end; 30
        seconds by default.
    :param spill_size: octets of a message that are kept in memory while it is here, at most; what
        is larger is kept in a file. 1 MiB by default.
    :param spill_dir: where such files are made; by default where the system has temporary files.
    :param max_inflight_bytes: octets of messages that are kept in memory while they are here, at
        most, over all clients; 256 MiB by default. Beyond it each is kept in a file.
    :param backend_config: settings of the gateway and of every processor, as JSON values.
    :param servers: by default, an enabled one on 127.0.0.1:2525.
    :raises ConfigError: a value is out of range, two servers would listen in the same place, or
        none is enabled.
    """

    log_file: str = ""
    log_level: str = ""
    log_format: str = ""
    allowed_hosts: tuple[str, ...] = ()
    pid_file: str = ""
    processes: int = 1
    shutdown_timeout: Duration = Duration(0)
    # 0: the default in _NUMBERS.
    spill_size: int = 0
    spill_dir: str = ""
    max_inflight_bytes: int = 0
    backend_config: Mapping[str, Any] = msgspec.field(default_factory=dict)
    servers: tuple[ServerConfig, ...] = ()

    def __post_init__(self) -> None:
        set_default(self, "log_file", "stderr")
        set_default(self, "log_level", "info")
        set_choice(self, "log_format", LOG_FORMATS)
        set_default(self, "shutdown_timeout", Duration(30))
        set_default(self, "allowed_hosts", (socket.gethostname(),))
        set_default(self, "backend_config", _embedded_store())
        set_default(self, "servers", (ServerConfig(is_enabled=True),))
        for name, default in _NUMBERS.items():
            if getattr(self, name) < 0:
                raise ConfigError("is below 0", name)
            set_default(self, name, default)
        for name in ("log_file", "pid_file", "spill_dir"):
            if not getattr(self, name).isprintable():
                raise ConfigError("holds a control character", name)
        if not 0 <= self.processes <= MAX_PROCESSES:
            raise ConfigError(f"is not from 0 to {MAX_PROCESSES}", "processes")
        self._check_log_level()
        self._check_allowed_hosts()
        self._check_servers()
        self._check_pid_file()

    def _check_log_level(self) -> None:
        level = self.log_level.lower()
        level = "warn" if level == "warning" else level
        if level not in LOG_LEVELS:
            raise ConfigError(f"is none of {', '.join(LOG_LEVELS)}", "log_level")
        msgspec.structs.force_setattr(self, "log_level", level)

    def _check_allowed_hosts(self) -> None:
        for index, host in enumerate(self.allowed_hosts):
            path = f"allowed_hosts[{index}]"
            if not host or " " in host or not host.isprintable():
                raise ConfigError("is not a host name or a pattern", path)
            if "@" in host:
                cause = "holds an @; it is hosts that are named here, not addresses"
                raise ConfigError(cause, path)

    def _check_servers(self) -> None:
        for index, server in enumerate(self.servers):
            path = f"servers[{index}]"
            for earlier, other in enumerate(self.servers[:index]):
                if overlap(server.interface, other.interface):
                    raise ConfigError(
                        f"servers[{earlier}] listens there already", f"{path}.listen_interface"
                    )
        if not any(server.is_enabled for server in self.servers):
            raise ConfigError("none is enabled; set is_enabled of one to true", "servers")

    def _check_pid_file(self) -> None:
        """A log that is there may be empty, as a pid file is that nobody has written yet."""
        logs = {"log_file": self.log_file}
        for index, server in enumerate(self.servers):
            logs[f"servers[{index}].log_file"] = server.log_file
        for path, log_file in logs.items():
            if log_file and self.pid_file and normpath(log_file) == normpath(self.pid_file):
                raise ConfigError(f"is the file of {path} already", "pid_file")


class LoadedConfig(msgspec.Struct, frozen=True):
    """
    What a file gave.

    :param config: the configuration.
    :param warnings: a line for each thing to be mended, without the file's name.
    """

    config: Config
    warnings: tuple[str, ...] = ()


def parse_config(text: bytes, name: str) -> LoadedConfig:
    """
    Read a configuration.

    :param text: JSON in UTF-8.
    :param name: the file's name, for errors.
    :raises ConfigError: it cannot be used; one line with file, setting and cause.
    """
    try:
        return convert_config(read_json(text))
    except ConfigError as error:
        raise error.in_file(name) from None


def convert_config(raw: Mapping[str, Any]) -> LoadedConfig:
    """
    Make a configuration of the JSON object that holds one.

    :param raw: as ``json.loads`` gives it. It is left as it is.
    :raises ConfigError: it cannot be used; one line with setting and cause.
    """
    settings = deepcopy(dict(raw))
    warnings = rename_old_settings(settings)
    _refuse_unknown(settings)
    return LoadedConfig(convert(settings, Config), tuple(warnings))


def _refuse_unknown(raw: Mapping[str, Any]) -> None:
    """Processors have settings of their own, so `backend_config` is not looked into."""
    levels: list[tuple[str, object, type[msgspec.Struct]]] = [("", raw, Config)]
    servers = raw.get("servers")
    for index, server in enumerate(servers if isinstance(servers, list) else ()):
        levels.append((f"servers[{index}]", server, ServerConfig))
        if isinstance(server, dict):
            levels.append((f"servers[{index}].tls", server.get("tls"), TLSConfig))
    for path, settings, kind in levels:
        known = setting_names(kind)
        for name in settings if isinstance(settings, dict) else ():
            if name not in known:
                raise unknown_setting(path, name, known)


def load_config(path: str) -> LoadedConfig:
    """
    Read a configuration file.

    :param path: the file.
    :raises ConfigError: it cannot be read, or :func:`parse_config` refuses it.
    """
    try:
        text = read_file(path)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", name=path) from None
    return parse_config(text, path)
