"""Compressor: offers later processors the message in less space."""

from __future__ import annotations

import zlib

from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.interfaces import IBackendService, Task
from guerrilla_tw.mail.envelope import Envelope

#: Where in ``envelope.values`` the compressed message is, under go-guerrilla's name.
COMPRESSED = "zlib-compressor"


class CompressedMessage:
    """Delivery header and message, compressed when they are first asked for, and only once."""

    def __init__(self) -> None:
        self._data: bytes | None = None

    def data(self, envelope: Envelope) -> bytes:
        """
        Compress the message.

        :param envelope: of the message. It is not kept here: it refers to this object, and in a
            cycle the body would stay in memory until the garbage collector comes by.
        :returns: zlib's format (RFC 1950), at its fastest level, as go-guerrilla has it.
        """
        if self._data is None:
            compress = zlib.compressobj(zlib.Z_BEST_SPEED)
            pieces = [compress.compress(piece) for piece in envelope.delivered_pieces()]
            self._data = b"".join([*pieces, compress.flush()])
        return self._data


def compressor(svc: IBackendService) -> Decorator:
    """
    Offer later processors the message in less space (go-guerrilla: ``Compressor``).

    Sets ``envelope.values["zlib-compressor"]`` to a :class:`CompressedMessage`. A store that finds
    it there keeps the message compressed. Whoever asks first does the work, on his own thread.
    """
    return process_with(svc, _offer, nonblocking=True)


def _offer(envelope: Envelope, task: Task) -> None:
    if task is Task.SAVE_MAIL:
        envelope.values[COMPRESSED] = CompressedMessage()
