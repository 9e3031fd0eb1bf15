"""
What is logged of clients: one line for each connection, each message and each refusal.

The names of the fields are for programs that read the log, and do not change; ``docs/logging.rst``
lists them. In the text of a line, what is ours comes before what a client wrote, which is quoted
and bounded: a pattern that is anchored at the beginning cannot be deceived.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import time
from typing import Any, Final, Protocol

from twisted.logger import Logger, LogLevel

from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.smtp.settings import SessionSettings

# How a connection ended: the values of ``ended``.
QUIT: Final = "quit"
#: The client closed the connection, or it broke.
LEFT: Final = "left"
IDLE: Final = "idle"
TOO_SLOW: Final = "too-slow"
TOO_MANY_ERRORS: Final = "too-many-errors"
TOO_MANY_MESSAGES: Final = "too-many-messages"
TOO_MANY_CLIENTS: Final = "too-many-clients"
MALFORMED_BDAT: Final = "malformed-bdat"
EARLY_TALKER: Final = "early-talker"
#: HTTP, TLS where there is none, a message in place of commands.
NOT_MAIL: Final = "not-mail"
TLS_FAILED: Final = "tls-failed"
NO_PROXY_HEADER: Final = "no-proxy-header"
SHUTDOWN: Final = "shutdown"

#: The ``command`` of what is none. Its text may be a password, or of a message.
UNKNOWN_COMMAND: Final = b"(unknown)"
#: Lines for the refusals of one connection: who sends many is known by then, and goes on sending.
MOST_REFUSALS: Final = 50

# All mail may be lost while nobody does anything about these.
_FOR_OPERATORS = frozenset([TOO_MANY_CLIENTS, NO_PROXY_HEADER])
# Of what a client wrote, in octets; a path is not longer by itself.
_LONGEST = 256
# Of recipients. How many there are in all is said beside them.
_MOST_RECIPIENTS = 20
# Of XCLIENT; words end at blanks only.
_LOGIN = re.compile(rb"(LOGIN=)[^ ]*", re.IGNORECASE)

_CLIENT = (
    "client_ip={client_ip} proxy_ip={proxy_ip} host_name={host_name} "
    "listen_interface={listen_interface} tls={tls} "
)
_REPLY = "code={code} enhanced={enhanced} text={text!r} cause={cause!r} "
_CONNECTION = (
    "{event} "
    + _CLIENT
    + "ended={ended} cause={cause!r} seconds={seconds} messages={messages} refusals={refusals} "
    "spoke_early={spoke_early} helo={helo!r}"
)
_MESSAGE = (
    "{event} "
    + _CLIENT
    + "queued_id={queued_id} stored_as={stored_as!r} told={told} "
    + _REPLY
    + "results={results} seconds={seconds} size={size} recipients={recipients} helo={helo!r} "
    "mail_from={mail_from!r} rcpt_to={rcpt_to}"
)
_REFUSAL = (
    "{event} "
    + _CLIENT
    + _REPLY
    + "helo={helo!r} mail_from={mail_from!r} rcpt_to={rcpt_to} command={command!r} "
    "argument={argument!r}"
)
_NO_MORE_REFUSALS = (
    "no further refusals of this connection are logged: " + _CLIENT + "helo={helo!r}"
)


class Session(Protocol):
    """
    A connection, as the journal sees it.

    :ivar settings: which server's it is.
    :ivar proxy_ip: the address of a proxy that said who the client is; empty if none did.
    :ivar tls_version: the version of TLS once hands are shaken; None before.
    :ivar ending: how it ended, one of the names above.
    :ivar cause: more of that in words, of which no client wrote any.
    :ivar taken: how many messages were taken.
    :ivar refusals: how many commands were refused.
    :ivar spoke_early: whether the client did not wait for the greeting.
    """

    settings: SessionSettings
    proxy_ip: str
    tls_version: str | None
    ending: str
    cause: str
    taken: int
    refusals: int
    spoke_early: bool

    @property
    def client_ip(self) -> str:
        """The client's address, as far as it is known."""

    @property
    def helo(self) -> str:
        """What the client called itself last."""

    @property
    def mail_from(self) -> Address | None:
        """The sender of the transaction; None if there is no transaction."""


class Arrival:
    """
    A message that came to its end, as it was before the backend had it.

    :param envelope: what the backend will do with it is up to the backend.
    :param size: octets that came, dots unstuffed.
    :param now: in seconds.
    """

    __slots__ = ("began", "envelope", "mail_from", "rcpt_to", "recipients", "size")

    def __init__(self, envelope: Envelope, size: int, now: float) -> None:
        self.envelope = envelope
        self.mail_from = envelope.mail_from
        self.rcpt_to = envelope.rcpt_to[:_MOST_RECIPIENTS]
        self.recipients = len(envelope.rcpt_to)
        self.size = size
        self.began = now


class Journal:
    """
    Writes the lines.

    :param log: where they go.
    :param enabled: whether anybody sees what is of level info. What an operator should act on is
        of level warn, and is written in any case.
    """

    def __init__(self, log: Logger, enabled: bool) -> None:
        self._observe = log.observer
        self._enabled = enabled
        # What a Logger puts into each event; it takes as long for that as all the rest.
        self._origin = {
            "log_logger": log,
            "log_namespace": log.namespace,
            "log_source": log.source,
        }

    def tells(self, cause: str) -> bool:
        """
        Ask whether a line would be written.

        :param cause: what an operator should know of it; empty if there is nothing.
        """
        return self._enabled or bool(cause)

    def connection(self, session: Session, seconds: float) -> None:
        """
        Tell of a connection that has ended.

        :param seconds: that it lasted.
        """
        is_urgent = session.ending in _FOR_OPERATORS
        if not (self._enabled or is_urgent):
            return
        event = self._event(_CONNECTION, session, is_urgent)
        event |= {
            "event": "connection",
            "ended": session.ending,
            "cause": session.cause,
            "seconds": _to_microseconds(seconds),
            "messages": session.taken,
            "refusals": session.refusals,
            "spoke_early": session.spoke_early,
        }
        self._observe(event)

    def message(
        self,
        session: Session,
        arrival: Arrival,
        reply: bytes | None,
        answers: Sequence[bytes] = (),
        *,
        seconds: float,
        told: bool,
        cause: str = "",
    ) -> None:
        """
        Tell what became of a message. It is the caller's to ask :meth:`tells` before.

        :param reply: the answer; None if the client left before there was one.
        :param answers: for each recipient, where there are such.
        :param seconds: that the answer took.
        :param told: whether the client was there to be told.
        :param cause: what an operator should know of it.
        """
        envelope = arrival.envelope
        code, enhanced, text = (None, None, None) if reply is None else _parts(reply)
        event = self._event(_MESSAGE, session, bool(cause))
        event |= {
            "event": "message",
            "queued_id": envelope.queued_id,
            "mail_from": str(arrival.mail_from),
            "rcpt_to": list(map(str, arrival.rcpt_to)),
            "recipients": arrival.recipients,
            "size": arrival.size,
            "seconds": _to_microseconds(seconds),
            "code": code,
            "enhanced": enhanced,
            "text": text,
            "results": [answer.decode("ascii").rstrip() for answer in answers[:_MOST_RECIPIENTS]],
            "stored_as": envelope.stored_as,
            "told": told,
            "cause": cause,
        }
        self._observe(event)

    def refusal(
        self,
        session: Session,
        command: bytes,
        argument: bytes,
        reply: bytes,
        *,
        rcpt_to: Sequence[Address] = (),
        cause: str = "",
    ) -> None:
        """
        Tell of a command that was refused. It is the caller's to ask :meth:`tells` before.

        :param command: its verb, :data:`UNKNOWN_COMMAND`, or empty for a malformed line.
        :param argument: what came after the verb.
        :param reply: the answer.
        :param rcpt_to: whom it named.
        :param cause: what an operator should know of it.
        """
        code, enhanced, text = _parts(reply)
        mail_from = session.mail_from
        event = self._event(_REFUSAL, session, bool(cause))
        event |= {
            "event": "refusal",
            "mail_from": None if mail_from is None else str(mail_from),
            "rcpt_to": list(map(str, rcpt_to)),
            "command": _shown(command),
            "argument": _shown(_without_secrets(command, argument)),
            "code": code,
            "enhanced": enhanced,
            "text": text,
            "cause": cause,
        }
        self._observe(event)

    def no_more_refusals(self, session: Session, cause: str) -> None:
        """
        Tell, instead of a refusal, that those of this connection are told no longer.

        :param cause: of the first one that is not.
        """
        self._observe(self._event(_NO_MORE_REFUSALS, session, bool(cause)))

    def _event(self, form: str, session: Session, is_urgent: bool) -> dict[str, Any]:
        """:returns: what a Logger makes, with what is known of the client."""
        config = session.settings.config
        return {
            **self._origin,
            "log_level": LogLevel.warn if is_urgent else LogLevel.info,
            "log_format": form,
            "log_time": time(),
            "client_ip": session.client_ip,
            "proxy_ip": session.proxy_ip,
            "host_name": config.host_name,
            "listen_interface": config.place,
            "tls": session.tls_version,
            "helo": session.helo,
        }


def _to_microseconds(seconds: float) -> float:
    # A number of digits costs three times as much.
    return round(seconds * 1e6) / 1e6


def _parts(reply: bytes) -> tuple[int, str, str]:
    """:returns: the reply's code, its enhanced code, its text."""
    # It may be all blanks behind the code: a backend may be somebody's own.
    enhanced, _, text = reply[4:-2].decode("ascii").partition(" ")
    return int(reply[:3]), enhanced, text


def _without_secrets(command: bytes, argument: bytes) -> bytes:
    """:returns: the argument of a command, as far as no password and no login is in it."""
    if command == b"AUTH":
        return b""
    return _LOGIN.sub(rb"\1", argument) if command == b"XCLIENT" else argument


def _shown(octets: bytes) -> str:
    """:returns: what a client wrote: bounded, without what is no character."""
    text = octets[:_LONGEST].decode("utf-8", "backslashreplace")
    return text + "..." if len(octets) > _LONGEST else text
