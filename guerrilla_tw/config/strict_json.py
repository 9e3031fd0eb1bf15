"""
JSON as RFC 8259 means it, for files that people write.

Python's own reader takes the last of two equal keys, and NaN; both are mistakes in a configuration.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final

from guerrilla_tw.config.settings import ConfigError

# Far more than any setting needs, and far below what would exhaust Python's stack.
_DEEPEST: Final = 100
_REPEATED: Final = object()
# What other formats have, and people write; around the place where the reader gave up.
_COMMENT: Final = re.compile(r"\s*(#|//|/\*)")
_LAST_COMMA: Final = re.compile(r"(,)\s*[}\]]")


def read_json(data: bytes) -> dict[str, Any]:
    """
    Read an object.

    :param data: the file's bytes.
    :raises ConfigError: it is empty, not UTF-8, not JSON (with line and column), not an object,
        nested deeper than 100 levels; or it has a key twice in one object, NaN or an infinity.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"line {line} is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise ConfigError("begins with a byte order mark; save it as UTF-8 without one")
    if not text.strip():
        raise ConfigError("the file is empty")
    value = _parse(text)
    if not isinstance(value, dict):
        raise ConfigError("the file must hold one JSON object")
    _check(value, "", 0)
    return value


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {_explain(error)}") from None
    except RecursionError:
        raise ConfigError("nested too deeply") from None
    except ValueError:
        # Python refuses to turn thousands of digits into an int.
        raise ConfigError("a number has too many digits") from None


def _explain(error: json.JSONDecodeError) -> str:
    """Name what is no JSON where it can be guessed; Python says what it expected in its place."""
    text = error.doc
    # Some versions of Python stop at the comma, others at the bracket behind it.
    before = text[: error.pos].rstrip()
    start = len(before) - 1 if before.endswith(",") else error.pos
    if comment := _COMMENT.match(text, error.pos):
        error = json.JSONDecodeError("JSON has no comments", text, comment.start(1))
    elif comma := _LAST_COMMA.match(text, start):
        cause = "a comma stands before a closing bracket"
        error = json.JSONDecodeError(cause, text, comma.start(1))
    return f"{error.msg} (line {error.lineno}, column {error.colno})"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Mark a repeated key, for `_check` to find: its path is not known here."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        result[key] = _REPEATED if key in result else value
    return result


def _check(value: object, path: str, depth: int) -> None:
    if value is _REPEATED:
        raise ConfigError("is there twice", path)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError("is not a finite number", path)
    if isinstance(value, str):
        _check_text(value, path)
    if depth > _DEEPEST:
        raise ConfigError("nested too deeply")
    children: Iterable[tuple[str, object]] = ()
    if isinstance(value, dict):
        for key in value:
            _check_text(key, path)
        children = ((f"{path}.{key}" if path else key, child) for key, child in value.items())
    elif isinstance(value, list):
        children = ((f"{path}[{index}]", child) for index, child in enumerate(value))
    for child_path, child in children:
        _check(child, child_path, depth + 1)


def _check_text(text: str, path: str) -> None:
    """JSON can write half a character (a lone surrogate), which no file and no reply can hold."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError("holds half a character (a lone surrogate)", path)
