"""How a message comes in: DATA, BDAT, and what is answered at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from guerrilla_tw.interfaces import IRecipientResults, IResult, Task
from guerrilla_tw.mail.address import Address
from guerrilla_tw.smtp import journal, replies
from guerrilla_tw.smtp.commands import CommandError, parse_bdat
from guerrilla_tw.smtp.framing import ChunkReader, ChunkSkipper, DataReader
from guerrilla_tw.smtp.journal import Arrival
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

    @property
    def mail_from(self) -> Address | None:
        """The sender of the transaction; None if there is no transaction."""
        return None if self.transaction is None else self.transaction.envelope.mail_from

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
        self._receive(reader, self._data_ended)

    def _data_ended(self) -> None:
        # It holds on to the body, and the client may stay for long.
        reader, self._reader = self._reader, None
        assert isinstance(reader, DataReader)
        self._message_ended(reader)

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
            raise CommandError(replies.NO_ROOM, "max_inflight_bytes is reached, spill_dir is full")

    def _limits(self) -> tuple[int, int, bool]:
        """:returns: octets of a message, octets of a line, whether newlines are normalized."""
        config = self.settings.config
        return config.max_size, config.max_text_line, config.bare_newline == "normalize"

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
            self.log_refusal(b"BDAT", argument, error.reply)
            self.dismiss(error.reply, journal.MALFORMED_BDAT)
            return
        try:
            chunks = self._chunks()
        except CommandError as error:
            # Its traceback would hold on to the message, and so to its body.
            refused = partial(self._chunk_refused, argument, last, error.with_traceback(None))
            self._receive_chunk(ChunkSkipper(size), size, refused)
            return
        chunks.begin(size)
        ended = self._last_chunk_ended if last else partial(self._chunk_ended, argument)
        self._receive_chunk(chunks, size, partial(ended, chunks))

    def _receive_chunk(
        self, reader: ChunkReader | ChunkSkipper, size: int, then: Callable[[], None]
    ) -> None:
        if size:
            self._receive(reader, partial(self._received, then))
        else:
            then()

    def _received(self, then: Callable[[], None]) -> None:
        self._reader = None
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

    def _chunk_refused(self, argument: bytes, last: bool, error: CommandError) -> None:
        transaction = self.transaction
        if transaction is None:
            self.refuse_command(b"BDAT", argument, error.reply)
            return
        if not last:
            self.refuse_command(b"BDAT", argument, error.reply, error.cause)
        else:
            self._last_chunk_refused(transaction, argument, error)
        transaction.failure = error.reply

    def _last_chunk_refused(
        self, transaction: Transaction, argument: bytes, error: CommandError
    ) -> None:
        # Where there was no recipient, there was no message.
        if transaction.has_chunks and transaction.envelope.rcpt_to:
            size = transaction.chunks.size if transaction.chunks else 0
            self.log_message(self._arrival(transaction, size), error.reply)
        else:
            self.log_refusal(b"BDAT", argument, error.reply, cause=error.cause)
        self.transaction = None
        self.refuse_message(max(len(transaction.envelope.rcpt_to), 1), error.reply)

    def _chunk_ended(self, argument: bytes, chunks: ChunkReader) -> None:
        assert self.transaction is not None
        fault = self.transaction.failure = _fault(chunks)
        if fault is None:
            self.reply(replies.OK)
        else:
            self.log_refusal(b"BDAT", argument, fault, cause=_cause(chunks))
            self.reply(fault)

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
        self.read(reader.feed, then)

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
            self.dismiss(replies.TOO_SLOW, journal.TOO_SLOW)
        else:
            self.resetTimeout()

    def _message_ended(self, reader: DataReader | ChunkReader) -> None:
        """Hand the message over. The transaction is over, whatever comes of it."""
        transaction, self.transaction = self.transaction, None
        assert transaction is not None
        self.messages += 1
        arrival = self._arrival(transaction, reader.size)
        fault = _fault(reader)
        if fault is not None:
            self.log_message(arrival, fault, cause=_cause(reader))
            self.refuse_message(arrival.recipients, fault)
            return
        self.ask(
            partial(self._answer_message, arrival),
            self.server.shared.backend.process,
            transaction.envelope,
            Task.SAVE_MAIL,
        )

    def _arrival(self, transaction: Transaction, size: int) -> Arrival:
        return Arrival(transaction.envelope, size, self.server.clock.seconds())

    def _answer_message(self, arrival: Arrival, result: IResult | None) -> None:
        """Say what became of a message, and log it, also when nobody is there to be told."""
        try:
            answers = _answers(result)
        except Exception:
            self.server.log.failure("the backend failed")
            answers, result = [], None
        cause = ""
        if answers and len(answers) != arrival.recipients:
            cause = f"{len(answers)} results for {arrival.recipients} recipients"
            answers, result = [], None
        reply = replies.from_result(result)
        if result is not None and reply is replies.LOCAL_ERROR:
            cause = f"no reply can be made of what the backend answered: {type(result).__name__}"
        is_known = result is not None or not self._closing
        self.log_message(arrival, reply if is_known else None, answers, cause)
        if not self._closing:
            self.tell_result(arrival.recipients, reply, answers)

    def tell_result(self, recipients: int, reply: bytes, answers: Sequence[bytes]) -> None:
        """
        Say what became of a message, in the words of the protocol.

        :param recipients: how many it had.
        :param reply: for the message as a whole.
        :param answers: for each recipient, where there are such.
        """
        self.reply(reply)

    def refuse_message(self, recipients: int, reply: bytes) -> None:
        """
        Say why a message was not taken.

        :param recipients: how many it had.
        """
        self.refuse(reply)


def _fault(reader: DataReader | ChunkReader) -> bytes | None:
    """:returns: why a message cannot be taken, or None."""
    if reader.too_large:
        return replies.TOO_LARGE
    if reader.bare_newline:
        return replies.BARE_NEWLINE
    if reader.line_too_long:
        return replies.TEXT_LINE_TOO_LONG
    return None if reader.sink_error is None else replies.NO_ROOM


def _cause(reader: DataReader | ChunkReader) -> str:
    """:returns: what an operator should know of a fault, if anything."""
    return "" if reader.sink_error is None else f"{reader.sink_error} (spill_dir)"


def _answers(result: IResult | None) -> list[bytes]:
    """:returns: an answer for each recipient, if the result has such."""
    # Few have: to ask for an interface takes longer.
    if not hasattr(result, "recipients") or not IRecipientResults.providedBy(result):
        return []
    return [replies.from_result(each) for each in result.recipients]
