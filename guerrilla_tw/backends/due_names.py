"""The names of messages of the spool that are to be tried, in order."""

from __future__ import annotations

import heapq


class DueNames:
    """
    The oldest first; but those that have failed since the store took a message come after all
    others: if it was their own fault, another message shows that the store is there. And so do
    those, for good, that a processor has raised for.
    """

    def __init__(self) -> None:
        # Two heaps, and all that is in them.
        self._first: list[str] = []
        self._last: list[str] = []
        self._names: set[str] = set()
        # Of those that have failed since the store took a message.
        self._failed: set[str] = set()
        # Of those that had failed before it did.
        self._suspects: set[str] = set()
        # Of those that a processor has raised for.
        self._raised: set[str] = set()

    def __len__(self) -> int:
        return len(self._names)

    @property
    def first(self) -> int:
        """How many of them are not for the end."""
        return len(self._first)

    @property
    def last(self) -> frozenset[str]:
        """Names of those that come last for good, also of those that are not to be tried now."""
        return frozenset(self._raised)

    def add(self, name: str) -> None:
        """:param name: is to be tried; it may be known already."""
        if name not in self._names:
            self._names.add(name)
            self._push(name)

    def pop(self, *, youngest: bool) -> str:
        """
        Take a name that is there.

        :param youngest: whether it is the youngest of the next ones, and not the oldest.
        """
        heap = self._first or self._last
        if youngest:
            name = max(heap)
            heap.remove(name)
            heapq.heapify(heap)
        else:
            name = heapq.heappop(heap)
        self._names.discard(name)
        return name

    def failed(self, name: str) -> bool:
        """
        Take it that a message was not taken, by the system's fault or its own.

        :returns: whether it may be the system's. It is not if the message had failed before, and
            the store has taken others since.
        """
        self._failed.add(name)
        return name not in self._suspects

    def raised(self, name: str) -> None:
        """Take it that a processor has raised for a message."""
        self._raised.add(name)

    def forget(self, name: str) -> None:
        """Take it that a message is no more."""
        self._raised.discard(name)
        self._failed.discard(name)
        self._suspects.discard(name)

    def succeeded(self, *, is_back: bool) -> None:
        """
        Take it that the store has taken a message.

        :param is_back: whether it was away before. What has failed meanwhile is tried at once then,
            for that was no fault of theirs; unless it fails again and again.
        """
        if not self._failed:
            return
        innocent = self._failed - self._suspects
        self._suspects |= self._failed
        self._failed.clear()
        last, self._last = self._last, []
        for name in last:
            self._push(name)
        if is_back:
            for name in innocent:
                self.add(name)

    def _push(self, name: str) -> None:
        is_last = name in self._failed or name in self._raised
        heapq.heappush(self._last if is_last else self._first, name)
