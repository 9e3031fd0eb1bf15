"""
What the server says: replies as the bytes of their lines.

Codes are of RFC 5321 section 4.2, enhanced codes of RFC 3463. Nothing that a client or a
processor wrote can become a second line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from guerrilla_tw.interfaces import IResult

# RFC 5321 section 4.5.3.1.5: 512 octets, with the code before and the line end after.
_LONGEST_TEXT = 480
_UNPRINTABLE = re.compile(r"[^ -~]")


def reply(code: int, *texts: str) -> bytes:
    """
    :param code: reply code.
    :param texts: one for each line, its enhanced status code included.
    :returns: the reply as it goes to the client.
    """
    *others, last = texts
    lines = [f"{code}-{_clean(text)}\r\n".encode("ascii") for text in others]
    return b"".join([*lines, _last_line(code, last)])


def _last_line(code: int, text: str) -> bytes:
    return f"{code} {_clean(text)}\r\n".encode("ascii")


def _clean(text: str) -> str:
    if text.isascii() and text.isprintable() and len(text) <= _LONGEST_TEXT:
        return text
    return _UNPRINTABLE.sub("?", text)[:_LONGEST_TEXT]


def from_result(result: IResult | None) -> bytes:
    """:returns: a backend's result as a reply; :data:`LOCAL_ERROR` if it is no sensible one."""
    if result is None:
        return LOCAL_ERROR
    try:
        # Not 421, which says that the connection is closed now.
        code = result.code
        if code == 250 or (400 <= code <= 599 and code != 421):
            return _last_line(code, f"{result.enhanced} {result.text}")
    except Exception:  # noqa: S110  (a backend of somebody's own answered something else)
        pass
    return LOCAL_ERROR


def accepts(line: bytes) -> bool:
    """:returns: whether a reply says yes."""
    return line[:1] == b"2"


def greeting(host_name: str, protocol: str) -> bytes:
    """
    Greet a client.

    :param protocol: ``ESMTP`` or ``LMTP``.
    :returns: the reply to a new connection.
    """
    return reply(220, f"{host_name} {protocol} ready")


def hello(host_name: str) -> bytes:
    """:returns: the reply to HELO."""
    return reply(250, host_name)


def extended_hello(host_name: str, extensions: Iterable[str]) -> bytes:
    """
    Say what the server can do.

    :param extensions: keywords of EHLO, with their parameters.
    :returns: the reply to EHLO.
    """
    return reply(250, host_name, *extensions)


def help_with(verbs: Iterable[bytes]) -> bytes:
    """:returns: the reply to HELP."""
    return reply(214, "2.0.0 commands: " + b" ".join(verbs).decode("ascii"))


OK = reply(250, "2.0.0 OK")
SENDER_OK = reply(250, "2.1.0 OK")
START_DATA = reply(354, "end data with <CR><LF>.<CR><LF>")
GOODBYE = reply(221, "2.0.0 goodbye")
CANNOT_VERIFY = reply(252, "2.5.0 cannot verify, send mail and see")

READY_FOR_TLS = reply(220, "2.0.0 ready to start TLS")

SHUTTING_DOWN = reply(421, "4.3.2 shutting down, try again later")
TOO_MANY_CLIENTS = reply(421, "4.7.0 too many clients, try again later")
TOO_MANY_MESSAGES = reply(421, "4.7.0 too many messages on this connection, come again")
TOO_MANY_ERRORS = reply(421, "4.7.0 too many errors")
NO_PROXY_HEADER = reply(421, "4.7.0 connections must come through a trusted proxy")
IDLE_TOO_LONG = reply(421, "4.4.2 idle for too long")
TOO_SLOW = reply(421, "4.4.2 too slow")

RECIPIENTS_DEFERRED = reply(451, "4.5.1 no valid recipients now, try again later")
LOCAL_ERROR = reply(451, "4.3.0 local error in processing, try again later")
NO_ROOM = reply(452, "4.3.1 no room for the message, try again later")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3 too many recipients")

UNKNOWN_COMMAND = reply(500, "5.5.2 unknown command")
LINE_TOO_LONG = reply(500, "5.5.2 line too long")
BAD_LINE = reply(500, "5.5.2 a line ends with CR LF and has no other CR, LF or NUL")
NEEDS_NO_PARAMETER = reply(501, "5.5.4 this command takes no parameter")
NEEDS_HOST_NAME = reply(501, "5.5.4 your host name is missing or malformed")
NEEDS_FROM = reply(501, "5.5.4 syntax: MAIL FROM:<address>")
NEEDS_TO = reply(501, "5.5.4 syntax: RCPT TO:<address>")
NOT_IMPLEMENTED = reply(502, "5.5.1 command not implemented")
NO_HELLO = reply(503, "5.5.1 say hello first")
NO_MAIL = reply(503, "5.5.1 MAIL first")
NO_RECIPIENTS = reply(503, "5.5.1 RCPT first")
IN_TRANSACTION = reply(503, "5.5.1 a mail transaction is open, RSET to end it")
IN_MESSAGE = reply(503, "5.5.1 the message has begun already")
MIXED = reply(503, "5.5.1 the message comes by BDAT already")
BINARY_NEEDS_BDAT = reply(503, "5.5.1 BODY=BINARYMIME needs BDAT")
TLS_AFTER_XCLIENT = reply(503, "5.5.1 STARTTLS comes before XCLIENT")
TLS_ACTIVE = reply(503, "5.5.1 TLS is on already")
NO_VALID_RECIPIENTS = reply(554, "5.5.1 no valid recipients")
TOO_EARLY = reply(554, "5.5.1 you spoke before the greeting")
NO_XCLIENT = reply(550, "5.7.0 XCLIENT is for trusted proxies, before their client speaks")
TEXT_LINE_TOO_LONG = reply(554, "5.6.0 a line of the message is too long")
TOO_LARGE = reply(552, "5.3.4 message too large")
NOT_OUR_HOST = reply(550, "5.7.1 this host does not take mail for that domain")
BARE_NEWLINE = reply(550, "5.6.0 message has a bare CR or LF, lines must end with CR LF")
