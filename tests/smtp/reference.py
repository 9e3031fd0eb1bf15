"""
A slow reader of whole SMTP conversations, line by line, plain enough to be right at sight.

It is written from RFC 5321, RFC 3030 and the rules of ``docs/architecture.rst``, and shares nothing
with the server but the grammar of addresses. Tests compare the server with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from guerrilla_tw.mail.address import Address, AddressError, parse_forward_path, parse_reverse_path
from tests.smtp.reference_parts import (
    Message,
    Refused,
    is_header_field,
    is_host_name,
    is_parameter,
    mail_parameters,
    read_data,
    read_text,
)

_HTTP_VERBS = b"GET POST PUT HEAD DELETE OPTIONS CONNECT TRACE PATCH PRI".split()
_NOT_BUILT = b"AUTH ETRN EXPN SAML SEND SOML TURN".split()
_TLS_HANDSHAKE = b"\x16"


@dataclass(frozen=True)
class Rules:
    """The settings of a server that a conversation depends on."""

    max_size: int = 10 * 2**20
    max_errors: int = 5
    max_messages: int = 0
    max_recipients: int = 100
    max_command_line: int = 2048
    max_text_line: int = 2**20
    normalize: bool = False
    lmtp: bool = False


class HangUp(Exception):
    """The server closes the connection."""


class EndOfStream(Exception):
    """The client has not said more."""


@dataclass
class Transaction:
    """From MAIL to the end of the message."""

    mail_from: Address
    utf8: bool
    binary: bool
    rcpt_to: list[Address] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    # The chunks so far; None before the first.
    chunks: bytes | None = None
    failure: str | None = None

    @property
    def has_chunks(self) -> bool:
        """Whether there was a chunk, be it refused."""
        return self.chunks is not None or self.failure is not None


@dataclass(frozen=True)
class Envelope:
    """What the backend gets."""

    mail_from: str
    rcpt_to: tuple[str, ...]
    data: bytes


class Conversation:
    """
    All that comes of what a client says.

    The server takes mail for example.com and *.example.org. Its backend says yes to every message,
    and no to recipients: those that begin with ``no`` do not exist, the mailboxes of those that
    begin with ``full`` are full.

    :param stream: what the client says, from its first octet to its last.

    .. attribute:: replies

        The reply codes with their enhanced codes, the greeting not among them.

    .. attribute:: envelopes

        What the backend gets to save.

    .. attribute:: closed

        Whether the server closes the connection.
    """

    def __init__(self, stream: bytes, rules: Rules) -> None:
        self.replies: list[str] = []
        self.envelopes: list[Envelope] = []
        self.closed = False
        self._rules = rules
        self._unread = stream
        self._said_hello = False
        self._transaction: Transaction | None = None
        self._refused_data = False
        self._errors = 0
        self._messages = 0
        self._verbs: dict[bytes, Callable[[bytes], None]] = {
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"BDAT": self._bdat,
            b"RSET": self._rset,
            b"NOOP": lambda argument: self.replies.append("250 2.0.0"),
            b"VRFY": lambda argument: self.replies.append("252 2.5.0"),
            b"HELP": lambda argument: self.replies.append("214 2.0.0"),
            b"QUIT": self._quit,
            b"STARTTLS": self._starttls,
            b"XCLIENT": self._switched_off,
        }
        for verb in [b"LHLO"] if rules.lmtp else [b"HELO", b"EHLO"]:
            self._verbs[verb] = self._hello
        try:
            self._converse()
        except HangUp:
            self.closed = True
        except EndOfStream:
            pass

    def _converse(self) -> None:
        if self._unread[:1] == _TLS_HANDSHAKE:
            raise HangUp
        while True:
            try:
                self._obey(self._take_line())
            except Refused as refused:
                self._refuse(str(refused))

    def _refuse(self, reply: str) -> None:
        self.replies.append(reply)
        code, enhanced = reply.split()
        if code in ("500", "501", "502", "503", "504", "555") and enhanced.startswith("5.5."):
            self._errors += 1
        if self._errors > self._rules.max_errors:
            self.replies.append("421 4.7.0")
            raise HangUp

    def _take_line(self) -> bytes:
        line, end, rest = self._unread.partition(b"\r\n")
        self._unread = rest
        if not end:
            # It may go on, but is it a bad line already? Then that is said now.
            if b"\n" in line or len(line) >= self._rules.max_command_line:
                raise Refused("500 5.5.2")
            raise EndOfStream
        if len(line) + 2 > self._rules.max_command_line:
            raise Refused("500 5.5.2")
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise Refused("500 5.5.2")
        return line

    def _take_octets(self, size: int) -> bytes:
        if len(self._unread) < size:
            raise EndOfStream
        octets, self._unread = self._unread[:size], self._unread[size:]
        return octets

    def _obey(self, line: bytes) -> None:
        verb, blank, argument = line.partition(b" ")
        known = verb.strip(b"\t").upper()
        if known in self._verbs:
            self._verbs[known](argument.strip(b" \t"))
        elif known in _NOT_BUILT:
            raise Refused("502 5.5.1")
        elif (blank and verb in _HTTP_VERBS) or is_header_field(line) or self._refused_data:
            raise HangUp
        else:
            raise Refused("500 5.5.2")

    def _hello(self, argument: bytes) -> None:
        name = argument.split(b" ")[0]
        if not is_host_name(name):
            raise Refused("501 5.5.4")
        self._said_hello = True
        self._transaction = None
        self._refused_data = False
        self.replies.append("250")

    def _mail(self, argument: bytes) -> None:
        if not self._said_hello or self._transaction is not None:
            raise Refused("503 5.5.1")
        if self._rules.max_messages and self._messages >= self._rules.max_messages:
            self.replies.append("421 4.7.0")
            raise HangUp
        if argument[:5].upper() != b"FROM:":
            raise Refused("501 5.5.4")
        try:
            address, rest = parse_reverse_path(argument[5:])
        except AddressError:
            raise Refused("501 5.1.7") from None
        parameters = mail_parameters(rest)
        if int(parameters.get(b"SIZE", b"0")) > self._rules.max_size:
            raise Refused("552 5.3.4")
        utf8 = b"SMTPUTF8" in parameters
        if not (utf8 or argument.isascii()):
            raise Refused("553 5.6.7")
        binary = parameters.get(b"BODY", b"").upper() == b"BINARYMIME"
        self._transaction = Transaction(address, utf8, binary)
        self._refused_data = False
        self.replies.append("250 2.1.0")

    def _rcpt(self, argument: bytes) -> None:
        transaction = self._transaction
        if transaction is None or transaction.has_chunks:
            raise Refused("503 5.5.1")
        try:
            transaction.rcpt_to.append(self._recipient(transaction, argument))
        except Refused as refused:
            transaction.refusals.append(str(refused))
            raise
        self.replies.append("250 2.1.5")

    def _recipient(self, transaction: Transaction, argument: bytes) -> Address:
        if len(transaction.rcpt_to) >= self._rules.max_recipients:
            raise Refused("452 4.5.3")
        if argument[:3].upper() != b"TO:":
            raise Refused("501 5.5.4")
        try:
            address, rest = parse_forward_path(argument[3:])
        except AddressError:
            raise Refused("501 5.1.3") from None
        if rest:
            # None is known.
            raise Refused("555 5.5.4" if is_parameter(rest.split(b" ")[0]) else "501 5.5.4")
        if not (transaction.utf8 or argument.isascii()):
            raise Refused("553 5.6.7")
        host = address.host.lower()
        if host not in ("", "example.com") and not host.endswith(".example.org"):
            raise Refused("550 5.7.1")
        if address.user.startswith("no"):
            raise Refused("550 5.1.1")
        if address.user.startswith("full"):
            raise Refused("452 4.2.2")
        return address

    def _ready_transaction(self) -> Transaction:
        if self._transaction is None:
            raise Refused("503 5.5.1")
        refusals = self._transaction.refusals
        if not self._transaction.rcpt_to:
            if self._rules.lmtp or not refusals:
                raise Refused("503 5.5.1")
            # Who was refused for now may be accepted later.
            later = any(refusal.startswith("4") for refusal in refusals)
            raise Refused("451 4.5.1" if later else "554 5.5.1")
        return self._transaction

    def _data(self, argument: bytes) -> None:
        try:
            if argument:
                raise Refused("501 5.5.4")
            transaction = self._ready_transaction()
            if transaction.has_chunks or transaction.binary:
                raise Refused("503 5.5.1")
        except Refused:
            # A message may follow that nobody asked for, until there is a new transaction.
            self._refused_data = True
            raise
        self.replies.append("354")
        found = read_data(self._unread)
        if found is None:
            raise EndOfStream
        text, self._unread = found
        self._end_message(transaction, text)

    def _bdat(self, argument: bytes) -> None:
        size, _, last = argument.partition(b" ")
        if not (
            1 <= len(size) <= 20 and size.isdigit() and last.strip(b" ").upper() in (b"", b"LAST")
        ):
            self.replies.append("501 5.5.4")
            raise HangUp
        octets = self._take_octets(int(size))
        try:
            transaction = self._ready_transaction()
            if transaction.failure is not None:
                raise Refused(transaction.failure)
        except Refused as refused:
            self._refuse_chunk(str(refused), bool(last))
            return
        transaction.chunks = (transaction.chunks or b"") + octets
        if last:
            self._end_message(transaction, transaction.chunks)
            return
        # Whether a CR at the end is bare is known when the next chunk comes.
        settled = transaction.chunks
        if settled.endswith(b"\r") and not transaction.binary:
            settled = settled[:-1]
        transaction.failure, _ = self._judge(transaction, settled)
        self.replies.append(transaction.failure or "250 2.0.0")

    def _refuse_chunk(self, reply: str, last: bool) -> None:
        """What follows has the same reply, and the last chunk ends the transaction all the same."""
        transaction = self._transaction
        replies = 1
        if transaction is not None:
            transaction.failure = reply
            if last:
                self._transaction = None
                replies = max(len(transaction.rcpt_to), 1) if self._rules.lmtp else 1
        for _ in range(replies):
            self._refuse(reply)

    def _end_message(self, transaction: Transaction, text: bytes) -> None:
        self._transaction = None
        self._messages += 1
        fault, data = self._judge(transaction, text)
        if fault is None:
            recipients = tuple(_written(address) for address in transaction.rcpt_to)
            self.envelopes.append(Envelope(_written(transaction.mail_from), recipients, data))
        replies = len(transaction.rcpt_to) if self._rules.lmtp else 1
        self.replies += [fault or "250 2.0.0"] * replies

    def _judge(self, transaction: Transaction, text: bytes) -> tuple[str | None, bytes]:
        """:returns: what is wrong with a message, and how it is to be stored."""
        message = Message(text)
        if not transaction.binary:
            message = read_text(text, self._rules.max_text_line, self._rules.normalize)
        fault = None
        if message.line_too_long:
            fault = "554 5.6.0"
        if message.bare_newline:
            fault = "550 5.6.0"
        if len(message.data) > self._rules.max_size:
            fault = "552 5.3.4"
        return fault, message.data

    def _rset(self, argument: bytes) -> None:
        if argument:
            raise Refused("501 5.5.4")
        self._transaction = None
        self.replies.append("250 2.0.0")

    def _starttls(self, argument: bytes) -> None:
        if argument:
            raise Refused("501 5.5.4")
        self._switched_off(argument)

    def _switched_off(self, argument: bytes) -> None:
        raise Refused("502 5.5.1")

    def _quit(self, argument: bytes) -> None:
        if argument:
            raise Refused("501 5.5.4")
        self.replies.append("221 2.0.0")
        raise HangUp


def _written(address: Address) -> str:
    """:returns: a path as the backend sees it; ``<postmaster>`` has the server's host there."""
    if address.user and not address.host:
        return f"{address.user}@mx.example.com"
    return str(address)
