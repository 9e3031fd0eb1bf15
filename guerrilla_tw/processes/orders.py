"""A configuration on its way to another process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from guerrilla_tw.config import Config, ConfigError, Duration, convert_config
from guerrilla_tw.logs.elsewhere import Places

_PLAIN = frozenset({str, int, float, bool, type(None)})


class Order(msgspec.Struct, frozen=True):
    """
    What a worker is to be.

    :param settings: the configuration, as the JSON object that makes it.
    :param logs: where it logs.
    :param files: what keys and certificates hold, by path: it may not be able to read them.
    """

    settings: dict[str, Any]
    logs: Places
    files: dict[str, bytes]

    @property
    def config(self) -> Config:
        """The configuration."""
        return convert_config(self.settings).config


def make_order(
    config: Config,
    logs: Places,
    files: Mapping[str, bytes],
    processes: int,
) -> bytes:
    """
    Write down what each worker is to be.

    :param config: of the whole daemon. The memory for messages is shared out, and the number of
        processes is as it came out.
    :param logs: see :class:`Order`.
    :param files: see :class:`Order`.
    :param processes: how many workers there are.
    :raises ConfigError: a value cannot be handed to another process.
    """
    share = max(1, config.max_inflight_bytes // processes)
    own = msgspec.structs.replace(
        config, processes=processes, max_inflight_bytes=share, pid_file=""
    )
    try:
        return msgspec.msgpack.encode(Order(_plain(own, ""), logs, dict(files)))
    except (UnicodeEncodeError, OverflowError) as error:
        raise ConfigError(f"cannot be handed to another process: {error}") from None


def read_order(text: bytes) -> Order:
    """:returns: what :func:`make_order` wrote."""
    return msgspec.msgpack.decode(text, type=Order)


def _plain(value: object, path: str) -> Any:
    """:returns: a setting as JSON has it."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Duration):
        # Every digit of it, and no exponent, which Go does not know.
        return f"{Decimal(value):f}s"
    if isinstance(value, msgspec.Struct):
        names = value.__struct_encode_fields__
        value = {name: getattr(value, name) for name in names}
    if isinstance(value, Mapping):
        return {
            str(name): _plain(each, f"{path}.{name}" if path else str(name))
            for name, each in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return [_plain(each, f"{path}[{index}]") for index, each in enumerate(value)]
    raise ConfigError("cannot be handed to another process, as what JSON has can", path)
