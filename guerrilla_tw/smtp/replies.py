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
    cleaned = [_UNPRINTABLE.sub("?", text)[:_LONGEST_TEXT] for text in texts]
    lines = [f"{code}-{text}\r\n" for text in cleaned[:-1]]
    return "".join([*lines, f"{code} {cleaned[-1]}\r\n"]).encode("ascii")


def from_result(result: IResult) -> bytes:
    """:returns: a backend's result as a reply; :data:`LOCAL_ERROR` if it is no sensible one."""
    try:
        # Not 421, which says that the connection is closed now.
        if result.code == 250 or (400 <= result.code <= 599 and result.code != 421):
            return reply(result.code, f"{result.enhanced} {result.text}")
    except (AttributeError, TypeError):
        pass  # A backend of somebody's own answered something else.
    return LOCAL_ERROR


def accepts(line: bytes) -> bool:
    """:returns: whether a reply says yes."""
    return line[:1] == b"2"


def greeting(host_name: str) -> bytes:
    """:returns: the reply to a new connection."""
    return reply(220, f"{host_name} ESMTP ready")


def hello(host_name: str) -> bytes:
    """:returns: the reply to HELO."""
    return reply(250, host_name)


def extended_hello(host_name: str, max_size: int) -> bytes:
    """
    Say what the server can do.

    :param max_size: octets of a message at most.
    :returns: the reply to EHLO.
    """
    extensions = (f"SIZE {max_size}", "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "HELP")
    return reply(250, host_name, *extensions)


def help_with(verbs: Iterable[bytes]) -> bytes:
    """:returns: the reply to HELP."""
    return reply(214, "2.0.0 commands: " + b" ".join(verbs).decode("ascii"))


OK = reply(250, "2.0.0 OK")
SENDER_OK = reply(250, "2.1.0 OK")
START_DATA = reply(354, "end data with <CR><LF>.<CR><LF>")
GOODBYE = reply(221, "2.0.0 goodbye")
CANNOT_VERIFY = reply(252, "2.5.0 cannot verify, send mail and see")

SHUTTING_DOWN = reply(421, "4.3.2 shutting down, try again later")
TOO_MANY_CLIENTS = reply(421, "4.7.0 too many clients, try again later")
IDLE_TOO_LONG = reply(421, "4.4.2 idle for too long")

LOCAL_ERROR = reply(451, "4.3.0 local error in processing, try again later")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3 too many recipients")

UNKNOWN_COMMAND = reply(500, "5.5.2 unknown command")
LINE_TOO_LONG = reply(500, "5.5.2 line too long")
BAD_LINE = reply(500, "5.5.2 a line ends with CR LF and has no other CR, LF or NUL")
NEEDS_NO_PARAMETER = reply(501, "5.5.4 this command takes no parameter")
NEEDS_HOST_NAME = reply(501, "5.5.4 your host name is missing or malformed")
NEEDS_FROM = reply(501, "5.5.4 syntax: MAIL FROM:<address>")
NEEDS_TO = reply(501, "5.5.4 syntax: RCPT TO:<address>")
NOT_IMPLEMENTED = reply(502, "5.5.1 command not implemented")
NO_HELLO = reply(503, "5.5.1 HELO or EHLO first")
NESTED_MAIL = reply(503, "5.5.1 a mail transaction is open, RSET to end it")
NO_MAIL = reply(503, "5.5.1 MAIL first")
NO_RECIPIENTS = reply(503, "5.5.1 RCPT first")
TOO_LARGE = reply(552, "5.3.4 message too large")
NOT_OUR_HOST = reply(550, "5.7.1 this host does not take mail for that domain")
BARE_NEWLINE = reply(550, "5.6.0 message has a bare CR or LF, lines must end with CR LF")
