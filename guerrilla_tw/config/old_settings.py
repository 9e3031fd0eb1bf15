"""The names that go-guerrilla gave to its settings in earlier years."""

from __future__ import annotations

from typing import Any, Final

from guerrilla_tw.config.settings import ConfigError

_CHAINS: Final = {
    "process_stack": "save_process",
    "save_processors": "save_process",
    "validate_processors": "validate_process",
}
# Before there was a "tls" object, a server held these itself.
_TLS: Final = ("start_tls_on", "tls_always_on", "private_key_file", "public_key_file")
# Before there were processors, a backend did all the work.
_BACKENDS: Final = {
    "dummy": "HeadersParser|Debugger",
    "guerrilla-db-redis": "HeadersParser|Hasher|Header|GuerrillaRedisDB",
    "guerrilla-redis-db": "HeadersParser|Hasher|Header|GuerrillaRedisDB",
}


def rename_old_settings(raw: dict[str, Any]) -> list[str]:
    """
    Give older settings their present names, in place. What has a wrong type is left for others.

    :param raw: the whole configuration, as JSON values.
    :returns: a warning for each older name.
    :raises ConfigError: the older and the present name are both there.
    """
    warnings: list[str] = []
    backend = raw.get("backend_config")
    if isinstance(backend, dict):
        for old, new in _CHAINS.items():
            warnings += _move(backend, f"backend_config.{old}", backend, f"backend_config.{new}")
    warnings += _translate_backend_name(raw)
    servers = raw.get("servers")
    for index, server in enumerate(servers if isinstance(servers, list) else ()):
        if isinstance(server, dict):
            warnings += _move_tls(server, f"servers[{index}]")
    return warnings


def _move_tls(server: dict[str, Any], path: str) -> list[str]:
    warnings: list[str] = []
    for name in _TLS:
        if name in server and isinstance(server.setdefault("tls", {}), dict):
            warnings += _move(server, f"{path}.{name}", server["tls"], f"{path}.tls.{name}")
    return warnings


def _move(
    source: dict[str, Any], old_path: str, target: dict[str, Any], new_path: str
) -> list[str]:
    old, new = old_path.rpartition(".")[2], new_path.rpartition(".")[2]
    if old not in source:
        return []
    if new in target:
        raise ConfigError(f"is an older name of {new_path}, which is there too", old_path)
    target[new] = source.pop(old)
    return [f"{old_path}: older name of {new_path}"]


def _translate_backend_name(raw: dict[str, Any]) -> list[str]:
    if "backend_name" not in raw:
        return []
    backend = raw.setdefault("backend_config", {})
    name = raw.pop("backend_name")
    if not isinstance(backend, dict):
        return []
    if "save_process" in backend:
        return ["backend_name: ignored, since backend_config.save_process is there"]
    if not isinstance(name, str) or name not in _BACKENDS:
        raise ConfigError(
            f"is none of {', '.join(_BACKENDS)}; name processors in backend_config.save_process",
            "backend_name",
        )
    backend["save_process"] = _BACKENDS[name]
    return [f"backend_name: older setting, taken as backend_config.save_process {_BACKENDS[name]}"]
