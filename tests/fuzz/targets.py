"""What a target is, and what targets share."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, cast

NAMES: Final = ("framing", "commands", "addresses", "proxies", "headers", "session")

# Lines of 512 octets at most (RFC 5321 section 4.5.3.1.5), of one code within a reply.
_REPLIES = re.compile(rb"(?:([2-5][0-9]{2})(?:-[ -~]{0,506}\r\n\1)* [ -~]{1,506}\r\n)*")

# More of them cost more time than they are worth.
_PIECES: Final = 50


class Target(Protocol):
    """A module of this package that something is fuzzed by."""

    #: Inputs to begin with.
    SEEDS: Sequence[bytes]
    #: Words that mutations put in.
    TOKENS: Sequence[bytes]
    #: Octets of an input, at most.
    MAX_LENGTH: int

    def check(self, data: bytes) -> None:
        """
        Do it with one input.

        :raises Exception: whatever it is, something is wrong.
        """


def load(name: str) -> Target:
    """
    Import a target.

    :param name: one of :data:`NAMES`.
    """
    return cast(Target, importlib.import_module(f"tests.fuzz.{name}"))


def pieces(data: bytes, cuts: bytes) -> Iterator[bytes]:
    """
    Cut octets as the network might.

    :param cuts: the lengths of the first pieces, less one, over and over; all in one if there are
        none.
    """
    at = number = 0
    while at < len(data):
        size = cuts[number % len(cuts)] + 1 if cuts and number < _PIECES else len(data)
        yield data[at : at + size]
        at += size
        number += 1


def check_replies(said: bytes) -> None:
    """Check that it is made of whole replies, and that nothing of a client's ends a line."""
    assert _REPLIES.fullmatch(said), said
