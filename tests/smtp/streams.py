"""What a client may say, at random: mostly plausible, never for long."""

from __future__ import annotations

import random
from collections.abc import Callable

_PATHS = (
    b"<a@example.com>",
    b"<b.c@mail.example.org>",
    b"<>",
    b"<no-one@example.com>",
    b"<full@example.com>",
    b"<full@example.com>",
    b"<postmaster>",
    b"<Postmaster@EXAMPLE.com>",
    b"<a@elsewhere.example>",
    b'<"a b"@example.com>',
    b"<@x.example,@y.example:a@example.com>",
    b"<a@[192.0.2.1]>",
    b"<\xc3\xbc@example.com>",
    b"<a@b\xc3\xbccher.example.org>",
    b"<\xff@example.com>",
    b"<a@example.com",
    b"a@example.com",
    b"<a..b@example.com>",
    b"",
)
_PARAMETERS = (
    b"SIZE=10",
    b"SIZE=40",
    b"size=41",
    b"SIZE=99999999999999999999",
    b"SIZE=",
    b"SIZE",
    b"BODY=8BITMIME",
    b"BODY=7bit",
    b"BODY=BINARYMIME",
    b"BODY=other",
    b"SMTPUTF8",
    b"SMTPUTF8=1",
    b"FUTURE=x",
    b"FUTURE",
    b"-x",
    b"=",
    b"a=b=c",
    b"\xc3\xbc=1",
    b"",
)
_ODD_LINES = (
    b"NOOP",
    b"noop \xff\xfe",
    b"VRFY a",
    b"HELP",
    b"HELP me",
    b"RSET",
    b"RSET x",
    b"rset\t",
    b"EHLO",
    b"EHLO a b",
    b"HELO mx.example",
    b"LHLO mx.example",
    b"EHLO x\xc3\xbc",
    b"EHLO a\tb",
    b"STARTTLS",
    b"STARTTLS x",
    b"XCLIENT",
    b"XCLIENT ADDR=192.0.2.9",
    b"AUTH PLAIN AAAA",
    b"ETRN x",
    b"TURN",
    b"WHAT",
    b"",
    b" ",
    b"\tNOOP\t",
    b" NOOP",
    b".",
    b"..",
    b"DATA x",
    b"DATA ",
    b"BDAT",
    b"BDAT x",
    b"BDAT -1",
    b"BDAT 3 LAST x",
    b"BDAT 123456789012345678901",
    b"MAIL",
    b"MAIL FROM",
    b"MAIL FROM :<a@example.com>",
    b"MAIL TO:<a@example.com>",
    b"RCPT FROM:<a@example.com>",
    b"QUIT",
    b"QUIT now",
    b"\xc3\xa4\xc3\xb6",
    b"NOOP\0",
    b"NOOP\rRSET",
    b"NOOP\nRSET",
)
# What ends a session, so that they are not too many.
_LAST_LINES = (
    b"GET / HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"CONNECT x:25",
    b"get / HTTP/1.0",
    b"GET",
    b"Subject: hello",
    b"X-\xc3\xbc: hello",
    b"To:",
    b":",
    b"a b: c",
    b"\x16\x03\x01",
)
_DATA_PARTS = (
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b".",
    b"..",
    b"\r\n.",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\n.\n",
    b"\r.\r",
    b"a",
    b"bcd",
    b"Subject: x\r\n",
    b"\0",
    b"\xff",
    b"QUIT\r\n",
    b"BDAT 2\r\n",
)
_LONG_TEXT = (997, 998, 999, 1000, 1100)
_LONG_COMMAND = (505, 506, 507, 600)


def random_stream(source: random.Random, hello: bytes) -> bytes:
    """
    Make up all that a client says in one conversation.

    :param hello: the verb that it begins with.
    """
    talk = _Talk(source, hello)
    if source.random() < 0.02:
        return b"\x16\x03\x01" + talk.stream()
    return talk.stream()


class _Talk:
    def __init__(self, source: random.Random, hello: bytes) -> None:
        self._source = source
        self._hello = hello
        self._usual: tuple[Callable[[], bytes], ...] = (
            self._greet,
            self._mail,
            self._rcpt,
            self._message,
        )

    def stream(self) -> bytes:
        said = []
        step = 0
        for _ in range(self._source.randrange(1, 14)):
            if self._source.random() < 0.75:
                said.append(self._usual[step]())
                # After a message comes the next one; sometimes there are more recipients.
                step = step if step == 2 and self._source.random() < 0.3 else step % 3 + 1
            else:
                said.append(self._unusual())
        if self._source.random() < 0.02:
            said.append(self._long_command())
        return self._spoiled(b"".join(said))

    def _spoiled(self, stream: bytes) -> bytes:
        """Do to some of the octets what no grammar does."""
        if self._source.random() < 0.7:
            return stream
        at = self._source.randrange(len(stream) + 1)
        what = self._source.choice((b"\r", b"\n", b"\0", b" ", b"\t", b"\xff", b".", b""))
        return stream[:at] + what + stream[at + self._source.randrange(2) :]

    def _greet(self) -> bytes:
        return self._hello + b" client.example\r\n"

    def _mail(self) -> bytes:
        if self._source.random() < 0.6:
            return b"MAIL FROM:<a@example.com>\r\n"
        return self._path_command(b"MAIL FROM:", 0.6)

    def _rcpt(self) -> bytes:
        if self._source.random() < 0.004:
            return b"RCPT TO:<a@example.com>\r\n" * 101
        if self._source.random() < 0.6:
            return b"RCPT TO:<a@example.com>\r\n"
        return self._path_command(b"RCPT TO:", 0.2)

    def _path_command(self, command: bytes, parameters: float) -> bytes:
        words = [command + self._source.choice((b"", b"", b" ")) + self._source.choice(_PATHS)]
        while self._source.random() < parameters:
            words.append(self._source.choice(_PARAMETERS))
        line = b" ".join(words) + b"\r\n"
        return line.lower() if self._source.random() < 0.1 else line

    def _message(self) -> bytes:
        if self._source.random() < 0.5:
            end = b"\r\n.\r\n" if self._source.random() < 0.9 else b".\r\n"
            return b"DATA\r\n" + self._text() + end
        return self._chunks()

    def _chunks(self) -> bytes:
        said = [self._chunk(b"") for _ in range(self._source.randrange(3))]
        if self._source.random() < 0.1:
            said.insert(self._source.randrange(len(said) + 1), b"RSET\r\n")
        last = self._source.choice((b" LAST", b" LAST", b" last", b"  LAST", b""))
        return b"".join(said) + self._chunk(last)

    def _chunk(self, last: bytes) -> bytes:
        octets = self._text() if self._source.random() < 0.9 else b""
        size = len(octets)
        if self._source.random() < 0.05:
            size += self._source.randrange(-1, 3)
        return b"BDAT %d%b\r\n%b" % (max(size, 0), last, octets)

    def _text(self) -> bytes:
        if self._source.random() < 0.3:
            return b"Subject: x\r\n\r\nhello\r\n"
        parts = self._source.choices(_DATA_PARTS, k=self._source.randrange(8))
        if self._source.random() < 0.05:
            long = b"x" * self._source.choice(_LONG_TEXT)
            parts.insert(self._source.randrange(len(parts) + 1), long)
        return b"".join(parts)

    def _long_command(self) -> bytes:
        return b"NOOP " + b"x" * self._source.choice(_LONG_COMMAND)

    def _unusual(self) -> bytes:
        kind = self._source.random()
        if kind < 0.35:
            return self._source.choice(self._usual)()
        if kind < 0.4:
            return self._source.choice(_LAST_LINES) + b"\r\n"
        if kind < 0.43:
            return self._long_command() + b"\r\n"
        if kind < 0.5:
            return b"DATA\r\n"
        if kind < 0.55:
            return self._text()
        end = b"\r\n" if self._source.random() < 0.95 else self._source.choice((b"\n", b"\r", b""))
        return self._source.choice(_ODD_LINES) + end
