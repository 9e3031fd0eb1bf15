"""The names of the spool's files: by them messages are in order, and known."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2s
from typing import Final

_QUEUE_ID: Final = re.compile("[0-9a-f]{32}")
# Milliseconds since 1970, up to the year 5138.
_NAME: Final = re.compile(r"([0-9]{14})-([0-9a-f]{32})(?:-[0-9a-f]{8})?")


def new_name(queued_id: str, received_at: float) -> str:
    """
    Make a name. The older message is before the younger one in their order.

    :param queued_id: of the message.
    :param received_at: seconds of the epoch.
    :raises ValueError: it is no queue id of ours, and so nothing for a file's name.
    """
    if not _QUEUE_ID.fullmatch(queued_id):
        raise ValueError("the queue id is not of 32 hexadecimal digits")
    return f"{max(0, int(received_at * 1000)):014d}-{queued_id}"


def part_name(name: str, recipients: Iterable[str]) -> str:
    """
    Make the name of a file for some of a message's recipients: always the same one.

    :param name: of the message's file.
    :param recipients: for whom it is.
    """
    digest = blake2s("\0".join(recipients).encode("utf-8"), digest_size=4).hexdigest()
    match = _NAME.fullmatch(name)
    assert match is not None
    return f"{match[1]}-{match[2]}-{digest}"


def is_name(name: str) -> bool:
    """:returns: whether a file can be a message."""
    return _NAME.fullmatch(name) is not None


def queue_id_of(name: str) -> str:
    """:returns: the queue id of the message; empty if the name is not of ours."""
    match = _NAME.fullmatch(name)
    return match[2] if match else ""


def age_of(name: str, now: float) -> float:
    """:returns: how many seconds ago the message was received; never below 0."""
    return max(0.0, now - int(name[:14]) / 1000)
