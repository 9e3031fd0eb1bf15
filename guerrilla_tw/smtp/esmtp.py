"""One session: its commands, and the state that they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import msgspec

from guerrilla_tw.interfaces import Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.commands import (
    CommandError,
    parse_host_name,
    parse_mail,
    parse_rcpt,
    refuse_argument,
    split_command,
)
from guerrilla_tw.smtp.connection import SMTPConnection
from guerrilla_tw.smtp.framing import DataReader

if TYPE_CHECKING:
    from guerrilla_tw.smtp.factory import GuerrillaESMTPFactory

# RFC 5321 section 4.5.3.1.8: at least 100.
MAX_RECIPIENTS = 100
# Commands that exist, so that 500 would be wrong.
_NOT_IMPLEMENTED = frozenset(
    [b"AUTH", b"BDAT", b"ETRN", b"EXPN", b"SAML", b"SEND", b"SOML", b"STARTTLS", b"TURN"]
)


class GuerrillaESMTP(SMTPConnection):
    """
    An ESMTP session.

    Verbs are looked up in a table: what is not in it cannot be reached by a client, whatever
    Twisted's class offers. So its IMessageDelivery hooks and AUTH are switched off.

    :param factory: gives the settings, the backend, the clock.
    :param remote_ip: the client's address; empty if it has none.
    """

    def __init__(self, factory: GuerrillaESMTPFactory, remote_ip: str) -> None:
        super().__init__(factory)
        self.remote_ip = remote_ip
        self._helo = ""
        self._extended = False
        # The transaction: None until MAIL, then handed over whole to the backend.
        self._envelope: Envelope | None = None

    def command_received(self, line: bytes) -> None:
        """Carry out a command, or refuse it."""
        verb, argument = split_command(line)
        command = self._commands.get(verb)
        try:
            if command is not None:
                command(self, argument)
            elif verb in _NOT_IMPLEMENTED:
                self.reply(replies.NOT_IMPLEMENTED)
            else:
                self.reply(replies.UNKNOWN_COMMAND)
        except CommandError as error:
            self.reply(error.reply)

    def data_ended(self, reader: DataReader) -> None:
        """Hand the message over. The transaction is over, whatever comes of it."""
        envelope, self._envelope = self._envelope, None
        if reader.too_large:
            self.reply(replies.TOO_LARGE)
        elif reader.bare_newline:
            self.reply(replies.BARE_NEWLINE)
        else:
            self.ask(self.reply, self.factory.backend.process, envelope, Task.SAVE_MAIL)

    def do_HELO(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.1, old form."""
        self._hello(argument, extended=False)
        self.reply(self.factory.hello)

    def do_EHLO(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.1."""
        self._hello(argument, extended=True)
        self.reply(self.factory.extended_hello)

    def _hello(self, argument: bytes, extended: bool) -> None:
        self._helo = parse_host_name(argument)
        self._extended = extended
        self._envelope = None

    def do_MAIL(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.2."""
        if not self._helo:
            raise CommandError(replies.NO_HELLO)
        if self._envelope is not None:
            raise CommandError(replies.NESTED_MAIL)
        mail_from = parse_mail(argument, self.factory.max_size)
        self._envelope = Envelope(self.remote_ip, self._helo, esmtp=self._extended)
        self._envelope.mail_from = mail_from
        self.reply(replies.SENDER_OK)

    def do_RCPT(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.3."""
        envelope = self._envelope
        if envelope is None:
            raise CommandError(replies.NO_MAIL)
        if len(envelope.rcpt_to) >= MAX_RECIPIENTS:
            raise CommandError(replies.TOO_MANY_RECIPIENTS)
        address = parse_rcpt(argument)
        if not address.host:
            address = msgspec.structs.replace(address, host=self.factory.host_name)
        elif not self.factory.allowed_hosts.allows(address):
            raise CommandError(replies.NOT_OUR_HOST)
        envelope.rcpt_to.append(address)
        self.ask(self._recipient_checked, self.factory.backend.validate_rcpt, envelope)

    def _recipient_checked(self, reply: bytes) -> None:
        if not replies.accepts(reply):
            assert self._envelope is not None
            self._envelope.rcpt_to.pop()
        self.reply(reply)

    def do_DATA(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.4."""
        refuse_argument(argument)
        if self._envelope is None:
            raise CommandError(replies.NO_MAIL)
        if not self._envelope.rcpt_to:
            raise CommandError(replies.NO_RECIPIENTS)
        self.read_data(DataReader(self._envelope.body, self.factory.max_size))
        self.reply(replies.START_DATA)

    def do_RSET(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.5."""
        refuse_argument(argument)
        self._envelope = None
        self.reply(replies.OK)

    def do_NOOP(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.9."""
        self.reply(replies.OK)

    def do_VRFY(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.6, without telling who has a mailbox here."""
        self.reply(replies.CANNOT_VERIFY)

    def do_HELP(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.8."""
        self.reply(self._help)

    def do_QUIT(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.10."""
        refuse_argument(argument)
        self.reply(replies.GOODBYE)
        self.close()

    _commands: ClassVar[Mapping[bytes, Callable[[GuerrillaESMTP, bytes], None]]] = {
        b"HELO": do_HELO,
        b"EHLO": do_EHLO,
        b"MAIL": do_MAIL,
        b"RCPT": do_RCPT,
        b"DATA": do_DATA,
        b"RSET": do_RSET,
        b"NOOP": do_NOOP,
        b"VRFY": do_VRFY,
        b"HELP": do_HELP,
        b"QUIT": do_QUIT,
    }
    _help = replies.help_with(_commands)
