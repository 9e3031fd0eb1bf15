"""The settings of the spool."""

from __future__ import annotations

import msgspec

from guerrilla_tw.config import ConfigError, Duration, set_choice, set_default

_DAY = 24 * 3600.0
_MODES = ("fallback", "always")
MAX_WORKERS = 1000


class SpoolConfig(msgspec.Struct, frozen=True):
    """
    The spool's part of ``backend_config``; what is empty or 0 means the default.

    :param spool_dir: a directory for messages that the store cannot take now; empty for no spool.
    :param spool_mode: ``fallback`` for those that the chain fails to store, ``always`` for all.
    :param spool_lifetime: how long delivery is tried.
    :param spool_max_bytes: octets of all files in the spool together, at most.
    :param spool_min_free: octets of the disk that the spool leaves free.
    :param spool_workers: how many messages of the spool are in the chain at once, at most; by
        default 2, and with ``always`` as many as ``save_workers_size``.
    :raises ConfigError: a value is out of range.
    """

    spool_dir: str = ""
    spool_mode: str = ""
    spool_lifetime: Duration = Duration(0)
    spool_max_bytes: int = 0
    spool_min_free: int = 0
    spool_workers: int = 0

    def __post_init__(self) -> None:
        set_choice(self, "spool_mode", _MODES)
        set_default(self, "spool_lifetime", Duration(5 * _DAY))
        set_default(self, "spool_max_bytes", 2**30)
        set_default(self, "spool_min_free", 2**28)
        for name in ("spool_max_bytes", "spool_min_free"):
            if getattr(self, name) < 0:
                raise ConfigError("is below 0", name)
        if not 0 <= self.spool_workers <= MAX_WORKERS:
            raise ConfigError(f"is not from 1 to {MAX_WORKERS}", "spool_workers")

    @property
    def always(self) -> bool:
        """Whether every message is written first, and processed after its client was answered."""
        return self.spool_mode == "always"

    def workers(self, save_workers: int) -> int:
        """
        Say how many messages of the spool may be in the chain at once.

        :param save_workers: how many of clients may.
        """
        return self.spool_workers or (save_workers if self.always else 2)
