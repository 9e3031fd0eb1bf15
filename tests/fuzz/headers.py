"""
The header of a message, and the encoded words in it.

Some inputs, chosen by their checksum, are taken many times over: what takes more than linear time
is slow only where there is much of it.
"""

from __future__ import annotations

import codecs
import contextlib
import zlib
from encodings.aliases import aliases
from typing import Final

from guerrilla_tw.mail.address import parse_mailbox
from guerrilla_tw.mail.headers import MAX_HEADER_BLOCK, Headers, decode_words, header_block

# For Python each codec's first use is an import.
for _name in set(aliases.values()):
    with contextlib.suppress(LookupError):
        codecs.lookup(_name)

_UNWANTED: Final = frozenset("\r\n\0")
# It costs a thousand times as much, so it is one of so many inputs. The fuzzer must not choose:
# it would find each number of repeats interesting.
_REPEATED: Final = 1000
# So many octets of values are decoded: that is linear, and slow for good.
_DECODED: Final = 16 * 1024
_LONGEST: Final = MAX_HEADER_BLOCK + 1000

MAX_LENGTH: Final = 3000
TOKENS: Final = (
    b"\r\n\r\n",
    b"\r\n ",
    b"\n\t",
    b"Subject: ",
    b"From ",
    b"To: ",
    b"=?utf-8?b?",
    b"=?utf-8?q?",
    b"=?iso-2022-jp?b?",
    b"=?utf-16?b?",
    b"=?utf-7?q?",
    b"=?hz?q?",
    b"=?uu?q?",
    b"=?zlib?b?",
    b"=?idna?q?",
    b"=?x*en?q?",
    b"?=",
    b"=00",
    b"=0D=0A",
    b"?= =?",
)
SEEDS: Final = (
    b"Subject: hello\r\nTo: Jo <jo@example.com>\r\n\r\nbody\r\n",
    b"From x\r\nSubject: a\r\n b\r\n\tc\r\n\r\n",
    b"Subject:\r\n =?utf-8?b?w6k=?= =?utf-8?q?=C3?=\r\n =?utf-8?q?=A9?= x\r\n",
    b"Subject: =?iso-2022-jp?B?GyRCJCIbKEI=?= =?utf-16?b?/v8=?= =?utf-7?q?+ZeVnLIqe-?=\r\n",
    b"subject: =?nothing?q?a=0D=0Ab?= =?rot13?q?x?= =?utf-8*en?q?y_z?= =?utf-8?b?a?=\r\n",
    b"Subject : a\xff\xfe\0\r\nTo: \xc3\xa9\r\nno field\r\n: x\r\n\n\nbody",
    b"To: ((((((((\r\nTo: a@b, c@d\r\n",
    b"=?",
    b'"\\(<:',
)


def check(data: bytes) -> None:
    """Parse it and look at every field."""
    if zlib.crc32(data) % _REPEATED == 0 and data:
        data *= _LONGEST // len(data) + 1
    block = header_block(data)
    assert len(block) <= min(len(data), MAX_HEADER_BLOCK)
    headers = Headers(block)
    names = list(headers)
    assert len(names) == len(headers)
    for name in dict.fromkeys([*(name.lower() for name in names[:3]), "to"]):
        _check_field(headers, name)
    for value in Headers(block[:_DECODED]).get_all("Subject"):
        _check_value(value)
    _check_value(decode_words(data.decode("latin-1").translate({10: " ", 13: " ", 0: " "})))


def _check_field(headers: Headers, name: str) -> None:
    value, raw = headers.get(name), headers.get_raw(name)
    assert (name in headers) == (value is not None) == (raw is not None)
    if value is not None and raw is not None:
        _check_value(value)
        _check_value(raw)
        parse_mailbox(raw)


def _check_value(value: str) -> None:
    assert _UNWANTED.isdisjoint(value)
    value.encode()
