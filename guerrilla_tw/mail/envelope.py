"""One message on its way: its envelope and its body."""

from __future__ import annotations

import os
from io import BytesIO
from typing import BinaryIO

from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.headers import Headers, header_block


class Body:
    """
    The octets of one message: written piece by piece, then read any number of times.

    A message that comes as one piece is kept as that object, without a copy.
    """

    __slots__ = ("_buffer", "_piece", "_size")

    def __init__(self) -> None:
        self._piece = b""
        # Pieces may be an octet each: from the second on they share one buffer.
        self._buffer: BytesIO | None = None
        self._size = 0

    def write(self, piece: bytes) -> None:
        """
        Append a piece of the message.

        :param piece: the next octets, dot-unstuffed.
        """
        if self._buffer is not None:
            self._buffer.write(piece)
        elif not self._size:
            self._piece = piece
        else:
            self._buffer = BytesIO()
            self._buffer.write(self._piece)
            self._buffer.write(piece)
            self._piece = b""
        self._size += len(piece)

    @property
    def size(self) -> int:
        """The number of octets written."""
        return self._size

    @property
    def data(self) -> bytes:
        """All octets written."""
        return self._piece if self._buffer is None else self._buffer.getvalue()

    def open(self) -> BinaryIO:
        """Open what was written for reading, from its start. Each reader has its own position."""
        return BytesIO(self.data)


class Envelope:
    """
    One message and what is known of it. It is new for each transaction.

    The fields are those of go-guerrilla's ``mail.Envelope``.

    :param remote_ip: the IP address of the client.
    :param helo: what the client called itself in HELO or EHLO; the front lets few characters pass.
    :param tls: True if the message came over TLS.
    :param esmtp: True if the client said EHLO.

    .. attribute:: mail_from

        The reverse-path of MAIL, the null path until then.

    .. attribute:: rcpt_to

        The accepted recipients in order. In a recipient check the last one is the one to check.

    .. attribute:: subject

        The Subject field, decoded; empty before :meth:`parse_headers` and if there is none.

    .. attribute:: header

        The header fields; empty before :meth:`parse_headers`.

    .. attribute:: values

        What processors leave for later ones, by name.

    .. attribute:: hashes

        One hash for each recipient, in hex, made by the Hasher.

    .. attribute:: delivery_header

        Header lines in ASCII that go before the message where it is stored, with their CRLF.

    .. attribute:: queued_id

        The id of the message in logs, and in the reply if no store has one of its own: 128 random
        bits in hex, so it is unique over connections, processes and restarts. It never changes.

    .. attribute:: stored_as

        The id that a store keeps the message under, for the reply; empty if none has one.

    .. attribute:: body

        The message as received, a :class:`Body`.
    """

    __slots__ = (
        "body",
        "delivery_header",
        "esmtp",
        "hashes",
        "header",
        "helo",
        "mail_from",
        "queued_id",
        "rcpt_to",
        "remote_ip",
        "stored_as",
        "subject",
        "tls",
        "values",
    )

    def __init__(
        self, remote_ip: str = "", helo: str = "", *, tls: bool = False, esmtp: bool = False
    ) -> None:
        self.remote_ip = remote_ip
        self.helo = helo
        self.tls = tls
        self.esmtp = esmtp
        self.mail_from = Address(null_path=True)
        self.rcpt_to: list[Address] = []
        self.subject = ""
        self.header = Headers()
        self.values: dict[str, object] = {}
        self.hashes: list[str] = []
        self.delivery_header = ""
        self.queued_id = os.urandom(16).hex()
        self.stored_as = ""
        self.body = Body()

    @property
    def data(self) -> bytes:
        """The message as received, dot-unstuffed, without the delivery header."""
        return self.body.data

    @property
    def size(self) -> int:
        """The octets of :attr:`data`."""
        return self.body.size

    def open(self) -> BinaryIO:
        """Open the message as received for reading."""
        return self.body.open()

    @property
    def delivered_data(self) -> bytes:
        """The delivery header followed by the message: what a store writes."""
        return self.delivery_header.encode("ascii", "replace") + self.body.data

    def parse_headers(self) -> None:
        """Set :attr:`header` and :attr:`subject` from the body, which is complete by then."""
        self.header = Headers(header_block(self.body.data))
        self.subject = self.header.get("Subject") or ""

    def snapshot(self) -> Envelope:
        """
        Copy the envelope for the check of its last recipient.

        :returns: an envelope of the same queue id, with recipients, values and hashes of its own
            and an empty body: a later RCPT does not change it.
        """
        copy = Envelope.__new__(Envelope)
        for name in Envelope.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.rcpt_to = self.rcpt_to.copy()
        copy.values = self.values.copy()
        copy.hashes = self.hashes.copy()
        copy.body = Body()
        return copy
