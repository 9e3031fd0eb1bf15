"""Mail addresses: the paths of SMTP (RFC 5321) and the mailboxes of header fields (RFC 5322)."""

from __future__ import annotations

import re
from email.utils import getaddresses
from ipaddress import IPv4Address, IPv6Address

import msgspec

from guerrilla_tw.mail.headers import decode_words

# RFC 5321 section 4.5.3.1, in octets as they stand on the wire.
_MAX_LOCAL_PART = 64
_MAX_DOMAIN = 255
_MAX_PATH = 256

_MAX_HEADER_VALUE = 2048

# No repeat below can match the same octets in two ways, so a match that fails costs time linear
# in the input.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_STRING = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED_STRING = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_IPV4 = r"[0-9.]+"
_IPV6 = r"[Ii][Pp][Vv]6:([0-9A-Fa-f:.]+)"

_PATH = re.compile(
    rf"""[ \t]*
    (                                           # 1: the path
        (<)?                                    # 2
        (?(2)(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?)  # a source route stands within brackets only
        (?:({_DOT_STRING})|({_QUOTED_STRING}))  # 3, 4: the local part
        @
        (?:({_DOMAIN})|\[(?:({_IPV4})|{_IPV6})\])  # 5, 6, 7
        (?(2)>)
    )
    (?:[ \t]+|\Z)""".encode("ascii"),
    re.VERBOSE,
)
_NULL_PATH = re.compile(rb"[ \t]*<>(?:[ \t]+|\Z)")
_POSTMASTER = re.compile(rb"[ \t]*<(postmaster)>(?:[ \t]+|\Z)", re.IGNORECASE)

_IS_DOT_STRING = re.compile(_DOT_STRING).fullmatch
_QUOTED_PAIR = re.compile(r"\\(.)")
_NEEDS_QUOTED_PAIR = re.compile(r'(["\\])')


class AddressError(ValueError):
    """A path that RFC 5321 does not admit. The message is fit for a reply: no client text in it."""


# It never refers to itself, so the garbage collector need not look at it.
class Address(msgspec.Struct, frozen=True, gc=False):
    """
    The address of a sender or a recipient.

    ``str()`` gives the mailbox as it stands between the angle brackets of a valid path.

    :param user: the local part, without quotes and quoted pairs. Its case is kept.
    :param host: the domain as given; for an address literal the address in its usual form,
        without brackets and tag. Empty for the null path and for ``<postmaster>``.
    :param ip: the address of an address literal, or None.
    :param quoted: True if the local part can stand in a path only as a quoted string.
    :param params: the ESMTP parameters that came with the path: keyword, value or None.
    :param display_name: the name beside the address in a header field.
    :param null_path: True for the null reverse-path ``<>``.
    """

    user: str = ""
    host: str = ""
    ip: IPv4Address | IPv6Address | None = None
    quoted: bool = False
    params: tuple[tuple[str, str | None], ...] = ()
    display_name: str = ""
    null_path: bool = False

    @property
    def domain(self) -> str:
        """What stands behind the ``@`` in a path; an address literal in its brackets."""
        if isinstance(self.ip, IPv6Address):
            return f"[IPv6:{self.ip}]"
        return self.host if self.ip is None else f"[{self.ip}]"

    def __str__(self) -> str:
        if not self.user and not self.host:
            return ""
        user = self.user
        if not _IS_DOT_STRING(user):
            user = '"' + _NEEDS_QUOTED_PAIR.sub(r"\\\1", user) + '"'
        return f"{user}@{self.domain}" if self.host else user


def parse_reverse_path(text: bytes) -> tuple[Address, bytes]:
    """
    Parse what follows ``MAIL FROM:`` (RFC 5321 section 4.1.2).

    Blanks before the path and a mailbox without angle brackets are tolerated. A source route is
    parsed and dropped.

    :param text: the path and, after a blank, its parameters.
    :returns: the address, and the parameters unparsed, without leading blanks.
    :raises AddressError: if the path is not valid, too long or not ASCII, or if something other
        than a blank follows it.
    """
    match = _PATH.match(text)
    if match is not None:
        return _address(match), text[match.end() :]
    match = _NULL_PATH.match(text)
    if match is not None:
        return Address(null_path=True), text[match.end() :]
    raise _refusal(text)


def parse_forward_path(text: bytes) -> tuple[Address, bytes]:
    """
    Parse what follows ``RCPT TO:`` (RFC 5321 section 4.1.2).

    As :func:`parse_reverse_path`, but it admits ``<postmaster>`` without a host, in any case, and
    not the null path.

    :param text: the path and, after a blank, its parameters.
    :returns: the address, and the parameters unparsed, without leading blanks.
    :raises AddressError: as :func:`parse_reverse_path`.
    """
    match = _PATH.match(text)
    if match is not None:
        return _address(match), text[match.end() :]
    match = _POSTMASTER.match(text)
    if match is not None:
        return Address(match[1].decode("ascii")), text[match.end() :]
    raise _refusal(text)


def parse_mailbox(text: str) -> Address | None:
    """
    Find the first mailbox of a header value such as that of To, Reply-To or Sender.

    :param text: the value with its encoded words as they came (:meth:`Headers.get_raw`): an
        encoded word may hide a comma or an ``@``, so it is decoded after parsing (RFC 2047
        section 6.2). Only the first 2048 characters count.
    :returns: the first address that is also valid in a path, with its display name decoded; None
        if there is none. Never raises. Newer versions of Python pass over address literals here.
    """
    if len(text) > _MAX_HEADER_VALUE:
        # What is cut in two at the end must not pass for an address.
        text = text[:_MAX_HEADER_VALUE].rpartition(",")[0]
    try:
        pairs = getaddresses([text])
    except Exception:  # it recurses on nested comments, and promises nothing about hostile text
        return None
    for display_name, mailbox in pairs:
        try:
            address, _ = parse_forward_path(mailbox.encode("ascii"))
        except ValueError:
            continue
        return msgspec.structs.replace(address, display_name=decode_words(display_name))
    return None


def _address(match: re.Match[bytes]) -> Address:
    path, bracket, dot_string, quoted_string, domain, ipv4, ipv6 = match.groups()
    if len(path) > _MAX_LOCAL_PART:
        _check_lengths(path if bracket else b"<%b>" % path, dot_string or quoted_string, domain)
    if dot_string is not None and domain is not None:
        return Address(dot_string.decode("ascii"), domain.decode("ascii"))
    if dot_string is not None:
        user = dot_string.decode("ascii")
    else:
        user = _QUOTED_PAIR.sub(r"\1", quoted_string[1:-1].decode("ascii"))
    quoted = _IS_DOT_STRING(user) is None
    if domain is not None:
        return Address(user, domain.decode("ascii"), quoted=quoted)
    try:
        ip = IPv4Address(ipv4.decode("ascii")) if ipv4 else IPv6Address(ipv6.decode("ascii"))
    except ValueError:
        raise AddressError("the address literal is not valid") from None
    return Address(user, str(ip), ip, quoted)


def _check_lengths(path: bytes, local_part: bytes, domain: bytes | None) -> None:
    if len(local_part) > _MAX_LOCAL_PART:
        raise AddressError(f"the local part is longer than {_MAX_LOCAL_PART} octets")
    if domain is not None and len(domain) > _MAX_DOMAIN:
        raise AddressError(f"the domain is longer than {_MAX_DOMAIN} octets")
    if len(path) > _MAX_PATH:
        raise AddressError(f"the path is longer than {_MAX_PATH} octets")


def _refusal(text: bytes) -> AddressError:
    if not text.isascii():
        return AddressError("the address is not ASCII")
    return AddressError("the address is not valid")
