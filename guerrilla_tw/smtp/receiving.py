"""How a message comes in: DATA, BDAT, and what is answered at its end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from guerrilla_tw.interfaces import IRecipientResults, IResult, Task
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.commands import CommandError, parse_bdat
from guerrilla_tw.smtp.framing import ChunkReader, ChunkSkipper, DataReader
from guerrilla_tw.smtp.opening import OpeningConnection
from guerrilla_tw.smtp.server import Server
from guerrilla_tw.smtp.transaction import Pace, Transaction


class ReceivingConnection(OpeningConnection):
    """
    A connection that messages come in on.

    :param server: whose client this is.
    :param remote_ip: the client's address; empty if it has none.
    """

    is_lmtp = False
    # A client may ask for room as often as it likes.
    _has_warned_of_room = False
    # How many messages have come to their end.
    messages = 0
    # How fast a message or a chunk comes, and how much of the message came before the chunk.
    _pace: Pace | None = None
    _size_before = 0

    def __init__(self, server: Server, remote_ip: str) -> None:
        super().__init__(server, remote_ip)
        # None until MAIL; its envelope is handed over whole to the backend.
        self.transaction: Transaction | None = None
        # What takes the octets of a message or a chunk.
        self._reader: DataReader | ChunkReader | ChunkSkipper | None = None

    # DATA

    def receive_data(self) -> None:
        """
        Take the message that follows DATA.

        :raises CommandError: it cannot be taken now.
        """
        transaction = self._ready_transaction()
        if transaction.has_chunks:
            raise CommandError(replies.MIXED)
        if transaction.binary:
            raise CommandError(replies.BINARY_NEEDS_BDAT)
        self._check_room(transaction)
        reader = DataReader(transaction.envelope.body, *self._limits())
        self.reply(replies.START_DATA)
        self._receive(reader, partial(self._message_ended, reader))

    def _ready_transaction(self) -> Transaction:
        """:raises CommandError: there is no transaction, or no recipient in it."""
        transaction = self.transaction
        if transaction is None:
            raise CommandError(replies.NO_MAIL)
        if not transaction.envelope.rcpt_to:
            if self.is_lmtp or not (transaction.refused or transaction.deferred):
                raise CommandError(replies.NO_RECIPIENTS)
            # What may pass is no reason to give the message up.
            raise CommandError(
                replies.RECIPIENTS_DEFERRED if transaction.deferred else replies.NO_VALID_RECIPIENTS
            )
        return transaction

    def _check_room(self, transaction: Transaction) -> None:
        """:raises CommandError: neither memory nor disk has room for the message."""
        if not self.server.shared.storage.has_room(transaction.size):
            self._warn_of_room("refused a message: no room (max_inflight_bytes, spill_dir)")
            raise CommandError(replies.NO_ROOM)

    def _limits(self) -> tuple[int, int, bool]:
        """:returns: octets of a message, octets of a line, whether newlines are normalized."""
        config = self.settings.config
        return config.max_size, config.max_text_line, config.bare_newline == "normalize"

    def _warn_of_room(self, event: str, **values: object) -> None:
        if not self._has_warned_of_room:
            self._has_warned_of_room = True
            self.warn(event, **values)

    # BDAT

    def receive_chunk(self, argument: bytes) -> None:
        """
        Take the chunk that follows BDAT. Where it is refused, its octets are read all the same:
        they are no commands.

        :param argument: of BDAT.
        """
        try:
            size, last = parse_bdat(argument)
        except CommandError as error:
            # Where the chunk ends is not known, so nothing behind it can be trusted.
            self.dismiss(error.reply)
            return
        try:
            chunks = self._chunks()
        except CommandError as error:
            then = partial(self._chunk_refused, last, error.reply)
            self._receive_chunk(ChunkSkipper(size), size, then)
            return
        chunks.begin(size)
        ended = self._last_chunk_ended if last else self._chunk_ended
        self._receive_chunk(chunks, size, partial(ended, chunks))

    def _receive_chunk(
        self, reader: ChunkReader | ChunkSkipper, size: int, then: Callable[[], None]
    ) -> None:
        if size:
            self._receive(reader, then)
        else:
            then()

    def _chunks(self) -> ChunkReader:
        """:raises CommandError: no chunk can be taken now."""
        transaction = self._ready_transaction()
        if transaction.failure is not None:
            raise CommandError(transaction.failure)
        if transaction.chunks is None:
            self._check_room(transaction)
            transaction.chunks = ChunkReader(
                transaction.envelope.body, *self._limits(), transaction.binary
            )
        return transaction.chunks

    def _chunk_refused(self, last: bool, reply: bytes) -> None:
        transaction = self.transaction
        if transaction is None or not last:
            self.refuse(reply)
        else:
            self.transaction = None
            self.refuse_message(max(len(transaction.envelope.rcpt_to), 1), reply)
        if transaction is not None:
            transaction.failure = reply

    def _chunk_ended(self, chunks: ChunkReader) -> None:
        assert self.transaction is not None
        self.transaction.failure = self._fault(chunks)
        self.reply(self.transaction.failure or replies.OK)

    def _last_chunk_ended(self, chunks: ChunkReader) -> None:
        chunks.finish()
        self._message_ended(chunks)

    # Both

    def _receive(
        self, reader: DataReader | ChunkReader | ChunkSkipper, then: Callable[[], None]
    ) -> None:
        self._reader = reader
        self._pace = None
        self._size_before = reader.size
        self.read(reader.feed, partial(self._received, then))

    def _received(self, then: Callable[[], None]) -> None:
        # It holds on to the body, and the client may stay for long.
        self._reader = None
        then()

    def piece_received(self) -> None:
        """Give a client that goes on sending more time, unless it crawls."""
        if self._reader is None:
            return
        config = self.settings.config
        now = self.server.clock.seconds()
        if self._pace is None:
            deadline = (
                self.transaction.deadline if self.transaction else now + config.message_timeout
            )
            self._pace = Pace(now, deadline, config.timeout, config.min_data_rate)
        if self._pace.is_too_slow(now, self._reader.size - self._size_before):
            self.dismiss(replies.TOO_SLOW)
        else:
            self.resetTimeout()

    def _message_ended(self, reader: DataReader | ChunkReader) -> None:
        """Hand the message over. The transaction is over, whatever comes of it."""
        transaction, self.transaction = self.transaction, None
        assert transaction is not None
        self.messages += 1
        envelope = transaction.envelope
        recipients = len(envelope.rcpt_to)
        fault = self._fault(reader)
        if fault is not None:
            self.refuse_message(recipients, fault)
            return
        self.ask(
            partial(self.answer_message, recipients),
            self.server.shared.backend.process,
            envelope,
            Task.SAVE_MAIL,
        )

    def _fault(self, reader: DataReader | ChunkReader) -> bytes | None:
        """:returns: why a message cannot be taken, or None."""
        if reader.too_large:
            return replies.TOO_LARGE
        if reader.bare_newline:
            return replies.BARE_NEWLINE
        if reader.line_too_long:
            return replies.TEXT_LINE_TOO_LONG
        if reader.sink_error is not None:
            self._warn_of_room("refused a message: {cause} (spill_dir)", cause=reader.sink_error)
            return replies.NO_ROOM
        return None

    def answer_message(self, recipients: int, result: IResult | None) -> None:
        """
        Say what became of a message.

        :param recipients: how many it had.
        :param result: the backend's; None if it failed.
        """
        if IRecipientResults.providedBy(result) and len(result.recipients) != recipients:
            self.server.log.error(
                "{host_name}: {results} results for {recipients} recipients; the client is told "
                "to try again",
                host_name=self.settings.config.host_name,
                results=len(result.recipients),
                recipients=recipients,
            )
            result = None
        self.tell_result(recipients, result)

    def tell_result(self, recipients: int, result: IResult | None) -> None:
        """
        Say what became of a message, in the words of the protocol.

        :param recipients: how many it had.
        :param result: the backend's; None if it failed.
        """
        self.reply(replies.from_result(result))

    def refuse_message(self, recipients: int, reply: bytes) -> None:
        """
        Say why a message was not taken.

        :param recipients: how many it had.
        """
        self.refuse(reply)
