"""Settings as somebody wrote them, made typed values; and errors that say what is wrong where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from guerrilla_tw.config.durations import Duration, parse_duration

T = TypeVar("T")

_WORDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "null": "null",
    "object": "an object",
    "str": "a string",
}
# A domain or an address literal, or empty.
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]{0,253}|\[[A-Za-z0-9.:]{1,64}\]")
_LONGEST_PART: Final = 200
_LONGEST_NAME: Final = 64


class ConfigError(ValueError):
    """
    A configuration that cannot be used, in one printable line: file, setting and cause.

    It is a ValueError because msgspec lets only those tell it what is wrong with an object.

    :param cause: what is wrong. It never holds a value that may be a secret.
    :param path: where, such as ``servers[1].max_size``; empty for the whole file.
    :param name: the file's name; empty while it is not known.
    """

    def __init__(self, cause: str, path: str = "", name: str = "") -> None:
        super().__init__(cause, path, name)
        self.cause = cause
        self.path = path
        self.name = name

    def __str__(self) -> str:
        return ": ".join(_printable(part) for part in (self.name, self.path, self.cause) if part)

    def below(self, path: str) -> ConfigError:
        """
        Say the same of a setting inside a larger one.

        :param path: where the larger one is.
        """
        dot = "." if path and self.path and not self.path.startswith("[") else ""
        return type(self)(self.cause, f"{path}{dot}{self.path}", self.name)

    def in_file(self, name: str) -> ConfigError:
        """
        Say the same with the name of the file.

        :param name: the file's name.
        """
        return type(self)(self.cause, self.path, name)


def _printable(text: str) -> str:
    """Escape what could break the line, and shorten what would fill the screen."""
    shown = text if len(text) <= _LONGEST_PART else text[:_LONGEST_PART] + "..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def convert(value: object, kind: type[T], path: str = "") -> T:
    """
    Make a typed object of JSON values; no type is guessed from another.

    :param value: what JSON held.
    :param kind: the type wanted, usually a ``msgspec.Struct``. Keys unknown to it are left out.
    :param path: where ``value`` is in the configuration.
    :raises ConfigError: a wrong type, or a value that ``kind`` refuses.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise _explain(error).below(path) from None


def _decode(kind: type[Any], value: object) -> object:
    if kind is not Duration:
        raise NotImplementedError(f"{kind.__name__} cannot be the type of a setting")
    if isinstance(value, Duration):
        return value
    if not isinstance(value, str):
        raise ValueError('expected a duration with its unit, such as "30s", in quotes')
    # Empty is "not set", as 0 is for a number; see set_default.
    return parse_duration(value) if value else Duration(0)


def _explain(error: msgspec.ValidationError) -> ConfigError:
    """Put msgspec's ``Expected `int`, got `str` - at `$.servers[0].timeout``` into our words."""
    message, at, where = str(error).rpartition(" - at `$")
    if not at:
        message, where = where, ""
    path = where.rstrip("`").removeprefix(".")
    if isinstance(error.__cause__, ConfigError):
        return error.__cause__.below(path)
    missing = re.fullmatch(r"Object missing required field `(.*)`", message)
    if missing:
        return ConfigError("is missing", missing[1]).below(path)
    cause = re.sub(r"`([^`]*)`", _in_words, message)
    return ConfigError(cause[:1].lower() + cause[1:], path)


def _in_words(types: re.Match[str]) -> str:
    return " or ".join(_WORDS.get(name, name) for name in types[1].split(" | "))


def set_default(settings: msgspec.Struct, name: str, default: object) -> None:
    """
    Replace an empty setting, in a ``__post_init__`` only: elsewhere a frozen object stays frozen.

    :param settings: a ``msgspec.Struct``.
    :param name: the setting; go-guerrilla takes 0, "" and an empty list for "not set".
    :param default: what it means.
    """
    if not getattr(settings, name):
        msgspec.structs.force_setattr(settings, name, default)


def set_choice(settings: msgspec.Struct, name: str, choices: Sequence[str]) -> None:
    """
    Check a setting that is one of several words, in a ``__post_init__`` only.

    :param settings: a ``msgspec.Struct``.
    :param name: the setting.
    :param choices: the words; the first is the default.
    :raises ConfigError: it is none of them.
    """
    set_default(settings, name, choices[0])
    if getattr(settings, name) not in choices:
        raise ConfigError(f"is none of {', '.join(choices)}", name)


def check_host_name(settings: msgspec.Struct, name: str) -> None:
    """
    Refuse a setting that is neither empty nor fit for a host name in a header or a reply.

    :param settings: a ``msgspec.Struct``.
    :param name: the setting.
    :raises ConfigError: it is a name with odd characters, or no name.
    """
    if not _HOST_NAME.fullmatch(getattr(settings, name)):
        raise ConfigError("is not a host name", name)


def setting_names(config_type: type[Any]) -> frozenset[str]:
    """
    Name the settings that a type holds.

    :param config_type: a ``msgspec.Struct``.
    """
    names: tuple[str, ...] = config_type.__struct_encode_fields__
    return frozenset(names)


def convert_settings(settings: Mapping[str, object], config_type: type[T]) -> T:
    """
    Pick one processor's settings out of the ``backend_config``, which all processors share.

    :param settings: the ``backend_config``.
    :param config_type: a ``msgspec.Struct`` whose fields are the settings' names and types;
        a :class:`.Duration` is read from a Go duration string, or taken as it is.
    :raises ConfigError: a setting is missing or wrong; its path is ``backend_config.<name>``.
    """
    return convert(settings, config_type, "backend_config")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """
    Guess which name somebody meant.

    :param name: what he wrote.
    :param known: the names that there are.
    :returns: the guess as the end of a sentence; empty if none is much like it.
    """
    if len(name) > _LONGEST_NAME:
        return ""
    lowered = {other.lower(): other for other in sorted(known)}
    close = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f" (did you mean {lowered[close[0]]}?)" if close else ""


def unknown_setting(path: str, name: str, known: Iterable[str]) -> ConfigError:
    """
    Say that there is no such setting, and which may have been meant.

    :param path: the object that holds it; empty for the whole file.
    :param name: the setting's name as written.
    :param known: the names that there are.
    """
    return ConfigError("unknown setting" + did_you_mean(name, known), name).below(path)


def unknown_settings(settings: Mapping[str, object], known: Iterable[str]) -> list[str]:
    """
    List what no processor asked for. Only a warning: it may belong to one not in the chain.

    :param settings: the ``backend_config``.
    :param known: every setting that the gateway and the processors know.
    :returns: a line for each unknown one.
    """
    names = frozenset(known)
    cause = "no processor of the chain has this setting"
    return [
        str(ConfigError(cause + did_you_mean(name, names), name).below("backend_config"))
        for name in settings
        if name not in names
    ]
