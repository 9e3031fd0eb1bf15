"""What an experiment is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.contenders.contender import Contender
from bench.loads import Load

# A quick run has this part of the messages.
_QUICK = 10


@dataclass(frozen=True)
class Setting:
    """
    :param contenders: that take part, by name.
    :param loads: that are asked for; empty for what the experiment has by itself.
    :param chains: names that are asked for; empty for all.
    :param rounds: how often each is measured.
    :param quick: whether an impression is enough.
    :param log_level: of guerrilla_tw.
    :param store: for batching.
    """

    contenders: Mapping[str, Contender]
    loads: Sequence[Load]
    chains: Sequence[str]
    rounds: int
    quick: bool
    log_level: str
    store: str

    def messages(self, load: Load) -> int:
        """:returns: how many are sent; one from each client at least."""
        return max(load.messages // _QUICK if self.quick else load.messages, load.clients)
