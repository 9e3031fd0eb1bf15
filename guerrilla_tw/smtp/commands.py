"""The verbs and parameters of a command line, parsed. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from guerrilla_tw.mail.address import (
    Address,
    AddressError,
    parse_forward_path,
    parse_reverse_path,
)
from guerrilla_tw.smtp import replies

# RFC 5321 section 4.1.2: esmtp-keyword and esmtp-value.
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=[!-<>-~]+)?")
_MAIL_KEYWORDS: Final = ("SIZE", "BODY", "SMTPUTF8")
# RFC 1870 section 3, RFC 6152 section 2 and RFC 3030 section 3, RFC 6531 section 3.4.
_MAIL_PARAMETER = re.compile(
    r"SIZE=[0-9]{1,20}|BODY=(?:7BIT|8BITMIME|BINARYMIME)|SMTPUTF8", re.IGNORECASE | re.ASCII
)
# RFC 3030 section 2 sets no limit to the digits; these are as many as SIZE may have.
_CHUNK = re.compile(rb"([0-9]{1,20})( +LAST)?", re.IGNORECASE)
# What clients name themselves by: wider than RFC 5321's Domain, since an odd name is no reason
# to lose mail; narrow enough for a header and a log.
_HOST_NAME = re.compile(rb"[A-Za-z0-9._:\[\]-]{1,255}")

# RFC 6531 section 3.5.
_NEEDS_SMTPUTF8 = replies.reply(553, "5.6.7 an address that is not ASCII needs SMTPUTF8")
_NEEDS_CHUNK = replies.reply(501, "5.5.4 syntax: BDAT size [LAST]")


class CommandError(Exception):
    """
    A command that cannot be carried out.

    :param reply: what to answer.
    :param cause: what an operator should know of it; empty where it is the client's error.
    """

    def __init__(self, reply: bytes, cause: str = "") -> None:
        super().__init__(reply)
        self.reply = reply
        self.cause = cause


def split_command(line: bytes) -> tuple[bytes, bytes]:
    """:returns: the verb in upper case, and what follows it, without blanks around."""
    verb, _, argument = line.partition(b" ")
    return verb.strip(b"\t").upper(), argument.strip(b" \t")


def refuse_argument(argument: bytes) -> None:
    """:raises CommandError: there is an argument, where RFC 5321 section 4.1.1 has none."""
    if argument:
        raise CommandError(replies.NEEDS_NO_PARAMETER)


def parse_host_name(argument: bytes) -> str:
    """
    Parse the argument of HELO or EHLO.

    :raises CommandError: it is missing, or has characters that no name and no literal has.
    """
    name = argument.split(b" ", 1)[0]
    if not _HOST_NAME.fullmatch(name):
        raise CommandError(replies.NEEDS_HOST_NAME)
    return name.decode("ascii")


class MailCommand(msgspec.Struct, frozen=True, gc=False):
    """
    What MAIL says.

    :param address: the reverse-path, with the parameters that came with it.
    :param size: octets that the client declares for the message (RFC 1870); 0 if it does not.
    :param binary: whether the message is binary, BODY=BINARYMIME (RFC 3030).
    :param utf8: whether addresses and header fields may be UTF-8, SMTPUTF8 (RFC 6531).
    """

    address: Address
    size: int = 0
    binary: bool = False
    utf8: bool = False


def parse_mail(argument: bytes, max_size: int) -> MailCommand:
    """
    Parse the argument of MAIL (RFC 5321 section 4.1.1.2).

    :param max_size: octets that the server takes, against a declared SIZE (RFC 1870).
    :raises CommandError: malformed, an unknown parameter, too large, or a path that is not ASCII
        without SMTPUTF8.
    """
    if argument[:5].upper() != b"FROM:":
        raise CommandError(replies.NEEDS_FROM)
    try:
        address, rest = parse_reverse_path(argument[5:])
    except AddressError as error:
        raise CommandError(replies.reply(501, f"5.1.7 {error}")) from None
    if not rest and argument.isascii():
        return MailCommand(address)
    params = _parse_parameters(rest)
    size = int(params.get("SIZE") or 0)
    if size > max_size:
        raise CommandError(replies.TOO_LARGE)
    utf8 = "SMTPUTF8" in params
    # Parameters are ASCII, so what is not is in the path.
    if not utf8 and not argument.isascii():
        raise CommandError(_NEEDS_SMTPUTF8)
    binary = (params.get("BODY") or "").upper() == "BINARYMIME"
    address = msgspec.structs.replace(address, params=tuple(params.items()))
    return MailCommand(address, size, binary, utf8)


def parse_rcpt(argument: bytes, utf8: bool) -> Address:
    """
    Parse the argument of RCPT (RFC 5321 section 4.1.1.3).

    :param utf8: whether MAIL came with SMTPUTF8.
    :returns: the forward-path; its host is empty for ``<postmaster>``.
    :raises CommandError: malformed, any parameter, for none is known, or a path that is not ASCII
        without SMTPUTF8.
    """
    if argument[:3].upper() != b"TO:":
        raise CommandError(replies.NEEDS_TO)
    try:
        address, rest = parse_forward_path(argument[3:])
    except AddressError as error:
        raise CommandError(replies.reply(501, f"5.1.3 {error}")) from None
    if rest:
        raise CommandError(_parameter_refused(_words(rest)[0], known=()))
    if not utf8 and not argument.isascii():
        raise CommandError(_NEEDS_SMTPUTF8)
    return address


def parse_bdat(argument: bytes) -> tuple[int, bool]:
    """
    Parse the argument of BDAT (RFC 3030 section 2).

    :returns: octets of the chunk, and whether it is the last one.
    :raises CommandError: malformed.
    """
    match = _CHUNK.fullmatch(argument)
    if match is None:
        raise CommandError(_NEEDS_CHUNK)
    return int(match[1]), match[2] is not None


def _parse_parameters(rest: bytes) -> dict[str, str | None]:
    params: dict[str, str | None] = {}
    for word in _words(rest):
        if not word:
            continue
        if not _MAIL_PARAMETER.fullmatch(word):
            raise CommandError(_parameter_refused(word, _MAIL_KEYWORDS))
        keyword, _, value = word.partition("=")
        keyword = keyword.upper()
        if keyword in params:
            raise CommandError(replies.reply(501, f"5.5.4 parameter {keyword} given twice"))
        params[keyword] = value or None
    return params


def _words(rest: bytes) -> list[str]:
    # No parameter has the character that stands for what is not ASCII.
    return rest.decode("ascii", "replace").split(" ")


def _parameter_refused(word: str, known: Sequence[str]) -> bytes:
    match = _PARAMETER.fullmatch(word)
    if match is None:
        return replies.reply(501, "5.5.4 malformed parameter")
    keyword = match[1].upper()
    if keyword in known:
        return replies.reply(501, f"5.5.4 bad value for {keyword}")
    return replies.reply(555, f"5.5.4 unknown parameter {keyword}")
