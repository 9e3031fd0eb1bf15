"""The stores of a run: each is started once, and used by many rounds."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.integration.store_under_test import StoreUnderTest
from tests.integration.stores import STORES

_NEEDS_SMALL_DISK = "disk full"


class Arena:
    """
    Has them. Use as a context manager.

    :param directory: for all files; a temporary one by default.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._cleanup = ExitStack()
        self._directory = directory
        self._stores: dict[tuple[str, bool], StoreUnderTest] = {}
        self._rounds = 0

    def __enter__(self) -> Arena:
        if self._directory is None:
            temporary = tempfile.TemporaryDirectory(prefix="guerrilla-")
            self._directory = Path(self._cleanup.enter_context(temporary))
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def store(self, name: str, fault: str) -> StoreUnderTest:
        """
        :param name: of the store.
        :param fault: that it has to have.
        :returns: the store; it runs, and is empty.
        :raises SkipTest: it cannot be had here.
        """
        key = name, fault == _NEEDS_SMALL_DISK
        if key not in self._stores:
            directory = self._make(f"{name}-small" if key[1] else name)
            store = STORES[name](directory, network=True, small=key[1])
            self._cleanup.callback(store.close)
            self._stores[key] = store
        self._stores[key].clear()
        return self._stores[key]

    def make_directory(self) -> Path:
        """:returns: a directory for the daemon of a round."""
        self._rounds += 1
        return self._make(f"round{self._rounds}")

    def _make(self, name: str) -> Path:
        assert self._directory is not None
        directory = self._directory / name
        directory.mkdir(parents=True)
        return directory
