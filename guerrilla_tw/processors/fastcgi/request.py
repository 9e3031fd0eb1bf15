"""An envelope as a request to a script: CGI variables, and a form. Pure."""

from __future__ import annotations

from codecs import charmap_encode
from collections.abc import Iterator
from typing import Final

from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.fastcgi.records import encode_request

# RFC 3986 section 2.3: what never needs to be encoded.
_UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
# RFC 3986 section 2.1: each octet as it is written.
_WRITTEN: Final = {
    octet: bytes((octet,)) if octet in _UNRESERVED else b"%%%02X" % octet for octet in range(256)
}
# So many replacements in a piece cost about as much as a look at each of its octets.
_FEW: Final = 16
# RFC 3875 section 4.1, with the values of go-guerrilla's processor where it has them.
_VARIABLES: Final = {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "guerrilla_tw",
    "REMOTE_ADDR": "127.0.0.1",
}


def validate_request(script: str, envelope: Envelope) -> Iterator[bytes]:
    """
    Ask whether there is such a recipient: a GET with ``rcpt_to``.

    :param script: its path.
    :param envelope: whose last recipient is meant.
    :returns: the request in pieces.
    """
    query = _field("rcpt_to", str(envelope.rcpt_to[-1])).decode("ascii")
    variables = {"REQUEST_METHOD": "GET", "QUERY_STRING": query, "CONTENT_LENGTH": "0"}
    return encode_request({**_VARIABLES, "SCRIPT_FILENAME": script, **variables}, ())


def save_request(script: str, envelope: Envelope, size: int) -> Iterator[bytes]:
    """
    Have a message saved: a POST of a form (application/x-www-form-urlencoded).

    :param script: its path.
    :param envelope: with the message, which is read as it is sent.
    :param size: of the message, from :func:`message_size`.
    :returns: the request in pieces, so that a large message need not be in memory.
    :raises OSError: while it is read: the disk fails.
    """
    fields = _fields(envelope)
    variables = {
        "REQUEST_METHOD": "POST",
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(fields) + size),
    }
    return encode_request(
        {**_VARIABLES, "SCRIPT_FILENAME": script, **variables}, _pieces(fields, envelope)
    )


def message_size(envelope: Envelope) -> int:
    """
    Count the octets that the message has in a form. It is read for that, as a whole.

    :raises OSError: the disk fails.
    """
    return sum(
        len(piece) + 2 * len(piece.translate(None, _UNRESERVED))
        for piece in envelope.delivered_pieces()
    )


def _fields(envelope: Envelope) -> bytes:
    """
    Make the form up to the message.

    The message is last: PHP drops fields beyond its max_input_vars (1,000), and a script that finds
    no message cannot take it for saved, while it would not miss a recipient.
    """
    fields = {
        "remote_ip": envelope.remote_ip,
        "subject": envelope.subject,
        "tls_on": "true" if envelope.tls else "false",
        "helo": envelope.helo,
        "mail_from": str(envelope.mail_from),
    }
    fields |= {f"rcpt_to_{index}": str(to) for index, to in enumerate(envelope.rcpt_to)}
    return b"".join(_field(name, value) + b"&" for name, value in fields.items()) + b"body="


def _field(name: str, value: str) -> bytes:
    """UTF-8, with ``?`` for what UTF-8 does not have."""
    return name.encode() + b"=" + _percent_encode(value.encode("utf-8", "replace"))


def _pieces(fields: bytes, envelope: Envelope) -> Iterator[bytes]:
    yield fields
    yield from map(_percent_encode, envelope.delivered_pieces())


def _percent_encode(data: bytes) -> bytes:
    reserved = set(data.translate(None, _UNRESERVED))
    if len(reserved) > _FEW:
        # A third of the time that all the replacements would take with random octets.
        return charmap_encode(data.decode("latin-1"), "strict", _WRITTEN)[0]
    # An eighth of that where few octets need it, as in base64.
    data = data.replace(b"%", _WRITTEN[ord("%")])
    for octet in reserved - set(b"%"):
        data = data.replace(bytes((octet,)), _WRITTEN[octet])
    return data
