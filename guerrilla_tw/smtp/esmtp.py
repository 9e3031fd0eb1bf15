"""One session: its commands, and the state that they change."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar

import msgspec

from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.smtp import journal, replies
from guerrilla_tw.smtp.commands import (
    CommandError,
    parse_host_name,
    parse_mail,
    parse_rcpt,
    refuse_argument,
    split_command,
)
from guerrilla_tw.smtp.receiving import ReceivingConnection
from guerrilla_tw.smtp.transaction import Transaction
from guerrilla_tw.smtp.xclient import XClient, parse_xclient

# Commands that exist, so that 500 would be wrong.
_NOT_IMPLEMENTED = frozenset([b"AUTH", b"ETRN", b"EXPN", b"SAML", b"SEND", b"SOML", b"TURN"])
# A browser was made to speak to us, or a body comes where we read commands.
_IS_HTTP_OR_HEADER = re.compile(
    rb"(?:GET|POST|PUT|HEAD|DELETE|OPTIONS|CONNECT|TRACE|PATCH|PRI) |[!-9;-~]+:"
).match


# What a command costs with an address that is not ASCII, up to milliseconds, in simple commands.
_UTF8_EFFORT = 15
# What a session knows of its client where no proxy said anything.
_NOTHING_SAID = XClient()


class GuerrillaESMTP(ReceivingConnection):
    """
    An ESMTP session.

    Verbs are looked up in a table: what is not in it cannot be reached by a client, whatever
    Twisted's class offers. So its IMessageDelivery hooks and AUTH are switched off.

    :param server: whose client this is.
    :param remote_ip: the client's address; empty if it has none.
    """

    # What the client called itself; empty before HELO and EHLO.
    _said_name = ""
    _extended = False
    # What a proxy said of its client, and whether it may be the client that speaks now.
    _client: XClient | None = None
    _is_handed_over = False
    # Whether a message may come that nobody waits for, until there is a new transaction.
    _was_refused_data = False

    def command_received(self, line: bytes) -> None:
        """Carry out a command, or refuse it."""
        if not line.isascii():
            self.effort += _UTF8_EFFORT
        verb, argument = split_command(line)
        command = self.commands.get(verb)
        transaction = self.transaction
        try:
            if command is None:
                self._not_a_command(verb, line)
            elif transaction is not None and self.server.clock.seconds() > transaction.deadline:
                self.dismiss(replies.TOO_SLOW, journal.TOO_SLOW)
            else:
                command(self, argument)
        except CommandError as error:
            self.refuse_command(verb, argument, error.reply, error.cause)

    def _not_a_command(self, verb: bytes, line: bytes) -> None:
        if verb in _NOT_IMPLEMENTED:
            raise CommandError(replies.NOT_IMPLEMENTED)
        # No mail client, or none that listens: it gets no word more.
        if _IS_HTTP_OR_HEADER(line):
            self.close(journal.NOT_MAIL, "it sends HTTP or a message in place of commands")
        elif self._was_refused_data:
            self.close(journal.NOT_MAIL, "it sends a message after DATA was refused")
        else:
            self.refuse_command(journal.UNKNOWN_COMMAND, b"", replies.UNKNOWN_COMMAND)

    def log_refusal(
        self,
        verb: bytes,
        argument: bytes,
        reply: bytes,
        *,
        rcpt_to: Sequence[Address] = (),
        cause: str = "",
    ) -> None:
        """As the parent; what follows a refused DATA may be a message that looks like commands."""
        said = b"" if self._was_refused_data else argument
        super().log_refusal(verb, said, reply, rcpt_to=rcpt_to, cause=cause)

    def _start_anew(self) -> None:
        """As after the greeting (RFC 3207 section 4.2)."""
        self._said_name = ""
        self._extended = False
        self.transaction = None

    def do_HELO(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.1, old form."""
        self._hello(argument, extended=False)
        self.reply(self.settings.hello)

    def do_EHLO(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.1."""
        self._hello(argument, extended=True)
        self.reply(
            self.settings.extended_hello(self._offers_starttls(), self._xclient_refusal() is None)
        )

    def _hello(self, argument: bytes, extended: bool) -> None:
        self._said_name = parse_host_name(argument)
        self._extended = extended
        self.transaction = None
        self._was_refused_data = False
        # What follows may be the proxied client's own words.
        self._is_handed_over = self._client is not None

    def do_STARTTLS(self, argument: bytes) -> None:
        """RFC 3207 section 4."""
        refuse_argument(argument)
        if self.secret:
            raise CommandError(replies.TLS_ACTIVE)
        if self._client is not None:
            # What was said in plain text must not count within TLS, and who spoke since may be the
            # proxied client, which is not to begin anew as the proxy.
            raise CommandError(replies.TLS_AFTER_XCLIENT)
        if not self._offers_starttls():
            raise CommandError(replies.NOT_IMPLEMENTED)
        self.reply(replies.READY_FOR_TLS)
        # What somebody put behind it in plain text is not said by the client within TLS.
        self.take_input()
        self._start_anew()
        self.start_tls()

    def _offers_starttls(self) -> bool:
        return self.settings.config.tls.start_tls_on and not self.secret and self._client is None

    def do_XCLIENT(self, argument: bytes) -> None:
        """As Postfix has it: a proxy tells whom it speaks for, and the session starts anew."""
        refusal = self._xclient_refusal()
        if refusal is not None:
            raise CommandError(refusal)
        if self.transaction is not None:
            raise CommandError(replies.IN_TRANSACTION)
        said = msgspec.structs.asdict(parse_xclient(argument))
        known = self._client or _NOTHING_SAID
        self._client = msgspec.structs.replace(
            known, **{name: value for name, value in said.items() if value is not None}
        )
        if self._client.ip is not None:
            self.proxy_ip = self.remote_ip
        self._start_anew()
        self.server.log.debug(
            "{host_name}: {remote_ip} speaks for {client}",
            host_name=self.settings.config.host_name,
            remote_ip=self.remote_ip,
            client=self._client,
        )
        self.reply(self.settings.greeting)

    def _xclient_refusal(self) -> bytes | None:
        if not self.settings.config.xclient_on:
            return replies.NOT_IMPLEMENTED
        is_trusted = self.is_known and self.settings.trusted_proxies.trusts(self.remote_ip)
        return None if is_trusted and not self._is_handed_over else replies.NO_XCLIENT

    def do_MAIL(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.2."""
        if not self._said_name:
            raise CommandError(replies.NO_HELLO)
        if self.transaction is not None:
            raise CommandError(replies.IN_TRANSACTION)
        config = self.settings.config
        if config.max_messages and self.messages >= config.max_messages:
            self.dismiss(replies.TOO_MANY_MESSAGES, journal.TOO_MANY_MESSAGES)
            return
        mail = parse_mail(argument, config.max_size)
        envelope = self._new_envelope(mail.utf8)
        envelope.mail_from = mail.address
        deadline = self.server.clock.seconds() + config.message_timeout
        self.transaction = Transaction(envelope, mail.size, mail.binary, deadline)
        self._was_refused_data = False
        self.reply(replies.SENDER_OK)

    @property
    def client_ip(self) -> str:
        """The address of the client as far as it is known; empty if there is none."""
        client = self._client
        return self.remote_ip if client is None or client.ip is None else client.ip

    @property
    def helo(self) -> str:
        """What the client called itself; empty before it did."""
        said = self._client or _NOTHING_SAID
        return said.helo or self._said_name

    def _new_envelope(self, utf8: bool) -> Envelope:
        said = self._client or _NOTHING_SAID
        return Envelope(
            self.client_ip,
            self.helo,
            tls=self.secret,
            esmtp=self._extended if said.extended is None else said.extended,
            utf8=utf8,
            lmtp=self.is_lmtp,
            body=self.server.shared.storage.new_body(),
        )

    def do_RCPT(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.3."""
        transaction = self.transaction
        if transaction is None:
            raise CommandError(replies.NO_MAIL)
        if transaction.has_chunks:
            raise CommandError(replies.IN_MESSAGE)
        envelope = transaction.envelope
        try:
            address = self._recipient(argument, envelope)
        except CommandError as error:
            transaction.recipient_refused(error.reply)
            raise
        if not address.host:
            address = msgspec.structs.replace(address, host=self.settings.config.host_name)
        elif not self.server.shared.allowed_hosts.allows(address):
            self._refuse_recipient(transaction, argument, address, replies.NOT_OUR_HOST)
            return
        envelope.rcpt_to.append(address)
        then = partial(self._recipient_checked, transaction, argument)
        self.ask(then, self.server.shared.backend.validate_rcpt, envelope)

    def _recipient(self, argument: bytes, envelope: Envelope) -> Address:
        """:raises CommandError: it is malformed, or one too many."""
        if len(envelope.rcpt_to) >= self.settings.config.max_recipients:
            raise CommandError(replies.TOO_MANY_RECIPIENTS)
        return parse_rcpt(argument, envelope.utf8)

    def _recipient_checked(
        self, transaction: Transaction, argument: bytes, result: IResult | None
    ) -> None:
        if self._closing:
            return
        reply = replies.from_result(result)
        if replies.accepts(reply):
            self.reply(reply)
        else:
            address = transaction.envelope.rcpt_to.pop()
            self._refuse_recipient(transaction, argument, address, reply)

    def _refuse_recipient(
        self, transaction: Transaction, argument: bytes, address: Address, reply: bytes
    ) -> None:
        """It is well-formed; so it is no error of the client's."""
        transaction.recipient_refused(reply)
        self.log_refusal(b"RCPT", argument, reply, rcpt_to=[address])
        self.reply(reply)

    def do_DATA(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.4."""
        try:
            refuse_argument(argument)
            self.receive_data()
        except CommandError:
            # Who does not wait for the answer has sent a message behind it.
            self._was_refused_data = True
            raise

    def do_BDAT(self, argument: bytes) -> None:
        """RFC 3030 section 2."""
        self.receive_chunk(argument)

    def do_RSET(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.5."""
        refuse_argument(argument)
        self.transaction = None
        self.reply(replies.OK)

    def do_NOOP(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.9."""
        self.reply(replies.OK)

    def do_VRFY(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.6, without telling who has a mailbox here."""
        self.reply(replies.CANNOT_VERIFY)

    def do_HELP(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.8."""
        refused = {
            *([] if self._offers_starttls() else [b"STARTTLS"]),
            *([b"XCLIENT"] if self._xclient_refusal() else []),
        }
        self.reply(replies.help_with(verb for verb in self.commands if verb not in refused))

    def do_QUIT(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.10."""
        refuse_argument(argument)
        self.reply(replies.GOODBYE)
        self.close(journal.QUIT, linger=self.has_input)

    commands: ClassVar[Mapping[bytes, Callable[[GuerrillaESMTP, bytes], None]]] = {
        b"HELO": do_HELO,
        b"EHLO": do_EHLO,
        b"STARTTLS": do_STARTTLS,
        b"XCLIENT": do_XCLIENT,
        b"MAIL": do_MAIL,
        b"RCPT": do_RCPT,
        b"DATA": do_DATA,
        b"BDAT": do_BDAT,
        b"RSET": do_RSET,
        b"NOOP": do_NOOP,
        b"VRFY": do_VRFY,
        b"HELP": do_HELP,
        b"QUIT": do_QUIT,
    }
