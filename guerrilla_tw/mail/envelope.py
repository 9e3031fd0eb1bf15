"""One message on its way, and what is known of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import BinaryIO

from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.body import Body
from guerrilla_tw.mail.headers import MAX_HEADER_BLOCK, Headers, find_subject, header_block
from guerrilla_tw.mail.queue_ids import QueueIds

# Octets that are read at once of what is in a file.
_PIECE = 2**16
_new_id = QueueIds().new
# What a new envelope begins with. Nothing changes them.
_NULL_PATH = Address(null_path=True)
_NO_HEADERS = Headers()


class Envelope:
    """
    One message and what is known of it. It is new for each transaction.

    The fields are those of go-guerrilla's ``mail.Envelope``.

    :param remote_ip: the IP address of the client.
    :param helo: what the client called itself in HELO or EHLO; the front lets few characters pass.
    :param tls: True if the message came over TLS.
    :param esmtp: True if the client said EHLO.
    :param lmtp: True if the client said LHLO (RFC 2033).
    :param utf8: True if MAIL came with SMTPUTF8 (RFC 6531).
    :param body: where the message will be written; by default a body that stays in memory.

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

        Header lines that go before the message where it is stored, with their CRLF: ASCII, or
        UTF-8 in a message with UTF-8 addresses.

    .. attribute:: queued_id

        The id of the message in logs, and in the reply if no store has one of its own: 128 random
        bits in hex, so it is unique over connections, processes and restarts. It never changes.

    .. attribute:: stored_as

        The id that a store keeps the message under, for the reply; empty if none has one.

    .. attribute:: answer_by

        When the client is told to try again, whatever becomes of the message; in seconds of the
        reactor's clock. Infinity before a backend has it.

    .. attribute:: received_at

        When the message was received, in seconds of the epoch; None for now. One that comes out of
        the spool was received before.

    .. attribute:: may_be_stored

        Whether a store may have the message already: it was given to the chain before, and nobody
        knows what came of it. Such a message comes out of the spool.

    .. attribute:: body

        The message as received, a :class:`.Body`.
    """

    __slots__ = (
        "answer_by",
        "body",
        "delivery_header",
        "esmtp",
        "hashes",
        "header",
        "helo",
        "lmtp",
        "mail_from",
        "may_be_stored",
        "queued_id",
        "rcpt_to",
        "received_at",
        "remote_ip",
        "stored_as",
        "subject",
        "tls",
        "utf8",
        "values",
    )

    def __init__(
        self,
        remote_ip: str = "",
        helo: str = "",
        *,
        tls: bool = False,
        esmtp: bool = False,
        lmtp: bool = False,
        utf8: bool = False,
        body: Body | None = None,
    ) -> None:
        self.remote_ip = remote_ip
        self.helo = helo
        self.tls = tls
        self.esmtp = esmtp
        self.lmtp = lmtp
        self.utf8 = utf8
        self.mail_from = _NULL_PATH
        self.rcpt_to: list[Address] = []
        self.subject = ""
        self.header = _NO_HEADERS
        self.values: dict[str, object] = {}
        self.hashes: list[str] = []
        self.delivery_header = ""
        self.queued_id = _new_id()
        self.stored_as = ""
        self.answer_by = math.inf
        self.received_at: float | None = None
        self.may_be_stored = False
        self.body = Body() if body is None else body

    @property
    def protocol(self) -> str:
        """
        What the message came by, as Received names it behind "with".

        A keyword of RFC 5321 section 4.4, RFC 3848 or RFC 6531 section 4.3; and SMTPS, which is
        in none of them, for HELO over TLS.
        """
        if self.utf8:
            name = "UTF8LMTP" if self.lmtp else "UTF8SMTP"
        else:
            name = "LMTP" if self.lmtp else "ESMTP" if self.esmtp else "SMTP"
        return name + "S" if self.tls else name

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
        return self.delivery_header.encode("utf-8", "replace") + self.body.data

    def delivered_pieces(self) -> Iterator[bytes]:
        """
        Give :attr:`delivered_data` piece by piece, without loading a large message as a whole.

        :returns: pieces of 64 KiB at most; none is empty.
        """
        if self.delivery_header:
            yield self.delivery_header.encode("utf-8", "replace")
        with self.body.open() as reader:
            while piece := reader.read(_PIECE):
                yield piece

    def parse_headers(self) -> None:
        """Set :attr:`header` and :attr:`subject` from the body, which is complete by then."""
        # One octet more shows that the last line may not be whole.
        block = header_block(self.body.head(MAX_HEADER_BLOCK + 1))
        self.header = Headers(block)
        self.subject = find_subject(block)

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
