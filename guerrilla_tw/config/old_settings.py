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
# What go-guerrilla's own sample configuration names, and OpenSSL has no more.
_OLDEST_PROTOCOL: Final = "ssl3.0"
_OLD_CIPHERS: Final = ("_RC4_", "_3DES_")
# Go's name for the guard against downgrades, which OpenSSL always has.
_NO_CIPHER: Final = "TLS_FALLBACK_SCSV"


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
    if raw.pop("dashboard", None) is not None:
        # Of a branch of go-guerrilla, whose sample configuration has it.
        warnings.append("dashboard: there is none here, left out")
    servers = raw.get("servers")
    for index, server in enumerate(servers if isinstance(servers, list) else ()):
        if isinstance(server, dict):
            warnings += _move_tls(server, f"servers[{index}]")
            tls = server.get("tls")
            if isinstance(tls, dict):
                warnings += _replace_old_protocol(tls, f"servers[{index}].tls.protocols")
                warnings += _leave_out_old_ciphers(tls, f"servers[{index}].tls.ciphers")
    return warnings


def _move_tls(server: dict[str, Any], path: str) -> list[str]:
    warnings: list[str] = []
    for name in _TLS:
        if name in server and isinstance(server.setdefault("tls", {}), dict):
            warnings += _move(server, f"{path}.{name}", server["tls"], f"{path}.tls.{name}")
    return warnings


def _replace_old_protocol(tls: dict[str, Any], path: str) -> list[str]:
    protocols = tls.get("protocols")
    if not isinstance(protocols, list) or _OLDEST_PROTOCOL not in protocols:
        return []
    tls["protocols"] = ["tls1.0" if name == _OLDEST_PROTOCOL else name for name in protocols]
    return [f"{path}: {_OLDEST_PROTOCOL} is spoken no more, taken as tls1.0"]


def _leave_out_old_ciphers(tls: dict[str, Any], path: str) -> list[str]:
    ciphers = tls.get("ciphers")
    if not isinstance(ciphers, list):
        return []
    old = [
        name
        for name in ciphers
        if isinstance(name, str)
        and (name == _NO_CIPHER or any(part in name for part in _OLD_CIPHERS))
    ]
    left = [name for name in ciphers if name not in old]
    # Where nothing is left, an empty list would mean the default.
    if not old or not left:
        return []
    tls["ciphers"] = left
    return [f"{path}: left out, since OpenSSL has them no more: {', '.join(old)}"]


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
