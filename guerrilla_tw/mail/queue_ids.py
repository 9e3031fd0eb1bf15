"""The ids of messages: 128 random bits, so that no two are the same anywhere, ever."""

from __future__ import annotations

import os
from collections import deque

# Octets of an id.
_SIZE = 16
# How many are drawn at once. Each time is a call of the system, which costs half an envelope.
_DRAWN = 64


class QueueIds:
    """
    Where queue ids are from. May be used by every thread; after a fork the child draws its own.
    """

    def __init__(self) -> None:
        # Adding and taking is atomic.
        self._drawn: deque[str] = deque()
        os.register_at_fork(after_in_child=self._drawn.clear)

    def new(self) -> str:
        """:returns: an id, in hex."""
        while True:
            try:
                return self._drawn.popleft()
            except IndexError:
                octets = os.urandom(_SIZE * _DRAWN)
                starts = range(0, len(octets), _SIZE)
                self._drawn.extend(octets[at : at + _SIZE].hex() for at in starts)
