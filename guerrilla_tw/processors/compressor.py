"""Compressor: offers later processors the message in less space."""

from __future__ import annotations

import zlib
from functools import cached_property

from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.interfaces import IBackendService, Task
from guerrilla_tw.mail.envelope import Envelope

#: Where in ``envelope.values`` the compressed message is, under go-guerrilla's name.
COMPRESSED = "zlib-compressor"


class CompressedMessage:
    """
    Delivery header and message, compressed when it is first asked for, and only once.

    :param envelope: of the message.
    """

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    @cached_property
    def data(self) -> bytes:
        """The octets in zlib's format (RFC 1950), at its fastest level, as go-guerrilla has it."""
        return zlib.compress(self._envelope.delivered_data, zlib.Z_BEST_SPEED)


def compressor(svc: IBackendService) -> Decorator:
    """
    Make the processor (go-guerrilla: ``Compressor``). No settings.

    Sets ``envelope.values["zlib-compressor"]`` to a :class:`CompressedMessage`. A store that finds
    it there keeps the message compressed. Whoever asks first does the work, on his own thread.
    """
    return process_with(svc, _offer, nonblocking=True)


def _offer(envelope: Envelope, task: Task) -> None:
    if task is Task.SAVE_MAIL:
        envelope.values[COMPRESSED] = CompressedMessage(envelope)
