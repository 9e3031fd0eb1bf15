"""
Mail addresses: the paths of SMTP (RFC 5321), the mailboxes of header fields (RFC 5322), and UTF-8
in both (RFC 6531, RFC 6532).
"""

from __future__ import annotations

import re
import unicodedata
from email.utils import getaddresses
from ipaddress import IPv4Address, IPv6Address

import msgspec

from guerrilla_tw.mail.domains import to_a_labels, to_u_labels
from guerrilla_tw.mail.headers import decode_words

# RFC 5321 section 4.5.3.1, in octets as they stand on the wire.
_MAX_LOCAL_PART = 64
_MAX_DOMAIN = 255
_MAX_PATH = 256
# RFC 1035 section 2.3.4, which RFC 5321 section 2.3.5 refers to.
_MAX_LABEL = 63

_MAX_HEADER_VALUE = 2048

# No repeat below can match the same octets in two ways, so a match that fails costs time linear
# in the input. Octets above 127 may stand where RFC 6531 section 3.3 has UTF8-non-ascii.
_ATOM = r"""[^\x00-\x20"(),.:;<>@\[\\\]\x7f]+"""
_DOT_STRING = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED_STRING = r'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*"'
_LABEL = r"[A-Za-z0-9_\x80-\xff]+(?:-+[A-Za-z0-9_\x80-\xff]+)*"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_IPV4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_IPV6 = r"[Ii][Pp][Vv]6:([0-9A-Fa-f:.]+)"

_PATH = re.compile(
    rf"""[ \t]*
    (                                           # 1: the path
        (<)?                                    # 2
        (?(2)(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?)  # a source route stands within brackets only
        ({_DOT_STRING}|{_QUOTED_STRING})        # 3: the local part
        @
        (?:({_DOMAIN})|\[(?:({_IPV4})|{_IPV6})\])  # 4, 5, 6
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

# RFC 6532 admits them, but what stands in a header, a log or a terminal must not end a line there,
# turn the text around, or hide: controls, formats, separators of lines and paragraphs, and blanks
# other than the space.
_UNFIT_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
# Formats that words of Persian and of India's languages are written with, and the space.
_FIT = frozenset("\u200c\u200d ")


class AddressError(ValueError):
    """A path that the RFCs do not admit. The message is fit for a reply: no client text in it."""


# It never refers to itself, so the garbage collector need not look at it.
class Address(msgspec.Struct, frozen=True, gc=False):
    """
    The address of a sender or a recipient.

    ``str()`` gives the mailbox as it stands between the angle brackets of a valid path.

    :param user: the local part, without quotes and quoted pairs. Its case is kept.
    :param host: the domain as given, but labels that are not ASCII in lower case and composed,
        as UTS 46 maps them; for an address literal the address in its usual form, without
        brackets and tag. Empty for the null path and for ``<postmaster>``.
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
        if self.ip is None:
            return self.host
        return f"[IPv6:{self.ip}]" if isinstance(self.ip, IPv6Address) else f"[{self.ip}]"

    @property
    def is_ascii(self) -> bool:
        """False if it can go only to a server that takes SMTPUTF8 (RFC 6531)."""
        return self.user.isascii() and self.host.isascii()

    @property
    def ascii_host(self) -> str:
        """
        The host with A-labels for its U-labels (RFC 5890 section 2.3.2.1); an ASCII host itself.

        :raises ValueError: the host was not parsed, and is not valid.
        """
        return self.host if self.host.isascii() else to_a_labels(self.host)

    def __str__(self) -> str:
        user = self.user
        # Most users are one word, which takes less to see.
        if not (user.isalnum() or _IS_DOT_STRING(user)):
            if not user and not self.host:
                return ""
            user = '"' + _NEEDS_QUOTED_PAIR.sub(r"\\\1", user) + '"'
        if self.ip is not None:
            return f"{user}@{self.domain}"
        return f"{user}@{self.host}" if self.host else user


def parse_reverse_path(text: bytes) -> tuple[Address, bytes]:
    """
    Parse what follows ``MAIL FROM:`` (RFC 5321 section 4.1.2).

    Blanks before the path and a mailbox without angle brackets are tolerated. A source route is
    parsed and dropped. UTF-8 is admitted (RFC 6531 section 3.3); whether the client may use it is
    for the caller to say.

    :param text: the path and, after a blank, its parameters.
    :returns: the address, and the parameters unparsed, without leading blanks.
    :raises AddressError: if the path is not valid or too long, or if something other than a blank
        follows it.
    """
    match = _PATH.match(text)
    if match is not None:
        return _address(match), text[match.end() :]
    match = _NULL_PATH.match(text)
    if match is not None:
        return Address(null_path=True), text[match.end() :]
    raise AddressError("the address is not valid")


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
    raise AddressError("the address is not valid")


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
            address, _ = parse_forward_path(mailbox.encode())
        except ValueError:
            continue
        return msgspec.structs.replace(address, display_name=decode_words(display_name))
    return None


def _address(match: re.Match[bytes]) -> Address:
    path, bracket, local_part, domain, ipv4, ipv6 = match.groups()
    if len(path) > _MAX_LOCAL_PART:
        _check_lengths(path if bracket else b"<%b>" % path, local_part, domain)
    is_ascii = path.isascii()
    if not is_ascii:
        _check_characters(path)
    user = local_part.decode()
    quoted = False
    if user[0] == '"':
        user = _QUOTED_PAIR.sub(r"\1", user[1:-1])
        quoted = _IS_DOT_STRING(user) is None
    if domain is None:
        ip = _ip_address(ipv4, ipv6)
        return Address(user, str(ip), ip, quoted)
    host = domain.decode()
    if not is_ascii:
        host = _u_labels(host, _MAX_PATH - len(b"<@>") - len(local_part))
    return Address(user, host, None, quoted)


def _check_lengths(path: bytes, local_part: bytes, domain: bytes | None) -> None:
    if len(local_part) > _MAX_LOCAL_PART:
        raise AddressError(f"the local part is longer than {_MAX_LOCAL_PART} octets")
    if len(path) > _MAX_PATH:
        if domain is not None and len(domain) > _MAX_DOMAIN:
            raise AddressError(f"the domain is longer than {_MAX_DOMAIN} octets")
        raise AddressError(f"the path is longer than {_MAX_PATH} octets")
    # The length of a U-label is that of its A-label.
    labels = domain.split(b".") if domain else ()
    if any(len(label) > _MAX_LABEL and label.isascii() for label in labels):
        raise AddressError(f"a label of the domain is longer than {_MAX_LABEL} octets")


def _check_characters(path: bytes) -> None:
    try:
        text = path.decode()
    except UnicodeDecodeError:
        raise AddressError("the address is not valid UTF-8") from None
    if any(unicodedata.category(c) in _UNFIT_CATEGORIES and c not in _FIT for c in text):
        raise AddressError("the address has a control character or an unusual blank")


def _ip_address(ipv4: bytes | None, ipv6: bytes) -> IPv4Address | IPv6Address:
    """RFC 5321 section 4.1.3: a number of an IPv4 address is decimal, also behind a 0."""
    try:
        if ipv4 is not None:
            return IPv4Address(bytes(map(int, ipv4.split(b"."))))
        groups = [group for group in ipv6.split(b":") if group]
        # "::" stands for two groups of zeros at least, a dotted quad for two groups.
        if b"::" not in ipv6 or len(groups) + (b"." in ipv6) <= 6:
            return IPv6Address(ipv6.decode("ascii"))
    except ValueError:
        pass
    raise AddressError("the address literal is not valid")


def _u_labels(domain: str, room: int) -> str:
    """:param room: octets for it at most, whether with U-labels, once mapped, or with A-labels."""
    try:
        host = to_u_labels(domain)
        size = max(len(host.encode()), len(to_a_labels(host)))
    except ValueError as error:
        raise AddressError(str(error)) from None
    if size > room:
        raise AddressError(f"the path is longer than {_MAX_PATH} octets")
    return host
