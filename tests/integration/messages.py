"""Messages of which each is known by its octets."""

from __future__ import annotations

import random
import re

_LINE_ENDS = b"\r\n"


def message(token: str) -> bytes:
    """
    Make a message that is like no other: 200 octets to 4 KB, one in fifty 100 KB, any octets.

    :param token: what names it. The same token makes the same message.
    """
    chance = random.Random(token)
    size = 100_000 if chance.random() < 0.02 else chance.randrange(200, 4000)
    lines = [f"Subject: {token}".encode(), b"", token.encode()]
    while size > 0:
        # Short, so that some begin with a dot.
        line = chance.randbytes(chance.randrange(78)).translate(None, _LINE_ENDS)
        lines.append(line)
        size -= len(line) + 2
    return b"".join(line + b"\r\n" for line in lines)


def stuffed(octets: bytes) -> bytes:
    """:returns: what DATA has for a message, without the end."""
    return re.sub(rb"(?m)^\.", b"..", octets)


def token_of(stored: bytes) -> str | None:
    """:returns: the token of a message without its delivery header; None if it has none."""
    match = re.match(rb"Subject: ([\w-]+)\r\n", stored)
    return match and match[1].decode()
