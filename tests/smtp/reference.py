"""A slow reader of message data, plain enough to be right at sight. Tests compare ours with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ReadData:
    """What a reader made of a stream."""

    message: bytes | None = None
    rest: bytes = b""
    bare_newline: bool = False


def read_data(stream: bytes) -> ReadData:
    """
    Read the data of one message, line by line (RFC 5321 sections 2.3.8 and 4.5.2).

    :param stream: what follows the reply to DATA.
    :returns: the message, or None where its end has not come; what follows it; whether it held a
        CR or LF outside of CR LF.
    """
    lines = stream.split(b"\r\n")
    if b"." not in lines[:-1]:
        return ReadData()
    end = lines.index(b".")
    message = b"".join((line[1:] if line[:1] == b"." else line) + b"\r\n" for line in lines[:end])
    bare = any(b"\r" in line or b"\n" in line for line in lines[:end])
    return ReadData(message, b"\r\n".join(lines[end + 1 :]), bare)
