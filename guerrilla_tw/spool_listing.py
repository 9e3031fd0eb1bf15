"""Messages of the spool, written so that nothing in them does anything to a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Final

import msgspec

from guerrilla_tw.mail.headers import MAX_HEADER_BLOCK, header_block
from guerrilla_tw.spool.administration import Entry
from guerrilla_tw.spool.claims import Claim

_LONGEST: Final = 60


def printable(text: str) -> str:
    """:returns: a text that does nothing to a terminal, in one line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def as_json(entry: Entry) -> str:
    """:returns: an entry as an object, in one line."""
    return json.dumps(msgspec.to_builtins(entry))


def line_of(entry: Entry) -> str:
    """:returns: what matters of an entry, in one line."""
    recipients = ", ".join(entry.rcpt_to[:1]) + (" ..." if len(entry.rcpt_to) > 1 else "")
    words = [
        entry.queued_id or entry.file,
        f"{entry.state:7}",
        f"{age(time.time() - entry.received_at) if entry.received_at else '-':>8}",
        f"{entry.attempts:3}",
        f"{entry.size:9}",
        f"<{_cut(entry.mail_from)}>",
        _cut(recipients),
        _cut(entry.reason),
    ]
    return printable("  ".join(words).rstrip())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def description(entry: Entry) -> Iterator[str]:
    """:returns: all that is known of an entry, in lines."""
    for name, value in (
        ("id", entry.queued_id),
        ("state", entry.state),
        ("file", entry.file),
        ("received", _date(entry.received_at)),
        ("due" if entry.state == "queue" else "since", _date(entry.due)),
        ("failed", str(entry.attempts)),
        ("reason", entry.reason),
        ("octets", str(entry.size)),
        ("client", f"{entry.client} ({entry.helo}){', TLS' if entry.tls else ''}"),
        ("from", f"<{entry.mail_from}>"),
        *(("to", f"<{recipient}>") for recipient in entry.rcpt_to),
    ):
        yield f"{name + ':':10}{printable(value)}".rstrip()


def header_lines(claim: Claim) -> Iterator[str]:
    """:returns: the header of a message."""
    octets = claim.file.read(claim.parts.body_start, min(claim.parts.body_size, MAX_HEADER_BLOCK))
    for line in header_block(octets).decode("utf-8", "backslashreplace").splitlines():
        yield "    " + printable(line.replace("\t", "    "))


def _date(seconds: float) -> str:
    if not seconds:
        return "now"
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat(" ", "seconds")
    except (OverflowError, OSError, ValueError):
        # Files have times that calendars do not have.
        return f"second {seconds:.0f}"


def age(seconds: float) -> str:
    """:returns: a length of time, for people."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("m", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f}{unit}"
    return f"{max(0.0, seconds):.0f}s"
