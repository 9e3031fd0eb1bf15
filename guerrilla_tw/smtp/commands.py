"""The verbs and parameters of a command line, parsed. Pure."""

from __future__ import annotations

import re

import msgspec

from guerrilla_tw.mail.address import (
    Address,
    AddressError,
    parse_forward_path,
    parse_reverse_path,
)
from guerrilla_tw.smtp import replies

# RFC 5321 section 4.1.2: esmtp-keyword and esmtp-value.
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")
# RFC 1870 section 3: 1 to 20 digits.
_SIZE = re.compile(r"[0-9]{1,20}")
# What clients name themselves by: wider than RFC 5321's Domain, since an odd name is no reason
# to lose mail; narrow enough for a header and a log.
_HOST_NAME = re.compile(rb"[A-Za-z0-9._:\[\]-]{1,255}")


class CommandError(Exception):
    """
    A command that cannot be carried out.

    :param reply: what to answer.
    """

    def __init__(self, reply: bytes) -> None:
        super().__init__(reply)
        self.reply = reply


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


def parse_mail(argument: bytes, max_size: int) -> Address:
    """
    Parse the argument of MAIL (RFC 5321 section 4.1.1.2).

    :param max_size: octets that the server takes, against a declared SIZE (RFC 1870).
    :returns: the reverse-path, with the parameters that came with it.
    :raises CommandError: malformed, an unknown parameter, or too large.
    """
    if argument[:5].upper() != b"FROM:":
        raise CommandError(replies.NEEDS_FROM)
    try:
        address, rest = parse_reverse_path(argument[5:])
    except AddressError as error:
        raise CommandError(replies.reply(501, f"5.1.7 {error}")) from None
    if not rest:
        return address
    params = _parse_parameters(rest)
    for keyword, value in params:
        if keyword == "SIZE" and value and _SIZE.fullmatch(value):
            if int(value) > max_size:
                raise CommandError(replies.TOO_LARGE)
        elif keyword == "BODY" and value and value.upper() in ("7BIT", "8BITMIME"):
            pass  # RFC 6152. Both are stored as they come.
        elif keyword in ("SIZE", "BODY"):
            raise CommandError(replies.reply(501, f"5.5.4 bad value for {keyword}"))
        else:
            raise CommandError(replies.reply(555, f"5.5.4 unknown parameter {keyword}"))
    return msgspec.structs.replace(address, params=params)


def parse_rcpt(argument: bytes) -> Address:
    """
    Parse the argument of RCPT (RFC 5321 section 4.1.1.3).

    :returns: the forward-path; its host is empty for ``<postmaster>``.
    :raises CommandError: malformed, or any parameter: none is known.
    """
    if argument[:3].upper() != b"TO:":
        raise CommandError(replies.NEEDS_TO)
    try:
        address, rest = parse_forward_path(argument[3:])
    except AddressError as error:
        raise CommandError(replies.reply(501, f"5.1.3 {error}")) from None
    if rest:
        keyword, _ = _parse_parameters(rest)[0]
        raise CommandError(replies.reply(555, f"5.5.4 unknown parameter {keyword}"))
    return address


def _parse_parameters(rest: bytes) -> tuple[tuple[str, str | None], ...]:
    params: dict[str, str | None] = {}
    for word in rest.split(b" "):
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise CommandError(replies.reply(501, "5.5.4 malformed parameter"))
        keyword = match[1].decode("ascii").upper()
        if keyword in params:
            raise CommandError(replies.reply(501, f"5.5.4 parameter {keyword} given twice"))
        params[keyword] = match[2].decode("ascii") if match[2] else None
    return tuple(params.items())
