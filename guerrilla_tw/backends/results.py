"""What a chain answers: results as values, and the ones that everybody needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec
from zope.interface import implementer

from guerrilla_tw.interfaces import IRecipientResults, IResult

# RFC 5321 section 4.5.3.1.5: a reply line has 512 octets at most, code and line end included.
_LONGEST_TEXT = 450
_UNPRINTABLE = re.compile(r"[^ -~]")
# First digits of reply codes, the worst first.
_SEVERITY = (4, 5, 2)
_CODE = re.compile(r"250|[45][0-9]{2}")
# As many pairs of them are known to fit.
_MOST_CODES = 64
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")


# There are few, and each message has one.
@lru_cache(_MOST_CODES, typed=True)
def _check_codes(code: int, enhanced: str) -> None:
    """:raises ValueError: they do not fit, or are no result's."""
    digits = str(code)
    match = _CODE.fullmatch(digits) and _ENHANCED.fullmatch(enhanced)
    if not match or digits[0] != enhanced[0] or digits == "421":
        raise ValueError(f"not a result: {code!r} {enhanced!r}")


@implementer(IResult)
class Result(msgspec.Struct, frozen=True):
    """
    The outcome of a task: reply code, enhanced status code, text.

    :param code: 250 for yes, 4xx for "try again later", 5xx for "never".
    :param enhanced: enhanced status code of the same class (RFC 3463).
    :param text: for people. Characters that a reply cannot carry become ``?``.
    :raises ValueError: code and enhanced code do not fit, or 421 (the front's own).
    """

    code: int
    enhanced: str
    text: str

    def __post_init__(self) -> None:
        _check_codes(self.code, self.enhanced)
        # For the reply, and for whoever logs it.
        text = self.text
        if not (text.isascii() and text.isprintable() and len(text) <= _LONGEST_TEXT):
            cleaned = _UNPRINTABLE.sub("?", text)[:_LONGEST_TEXT]
            msgspec.structs.force_setattr(self, "text", cleaned)


@implementer(IRecipientResults)
class RecipientResults:
    """
    The outcome of a message that is not the same for all its recipients.

    As a whole it is the worst of them, since a client that speaks SMTP hears one reply for all:
    "try again" if one recipient is to be tried again, else the first no, else the first yes.

    Like any result of a step it ends the chain, so who says yes to some has stored it for them. A
    processor that only refuses some recipients asks the rest of the chain about the others, and
    puts the answers together: ``examples/quotas.py``.

    :param recipients: a result for each recipient, in order; one at least.
    """

    def __init__(self, recipients: Iterable[IResult]) -> None:
        self.recipients = tuple(recipients)
        worst = min(self.recipients, key=lambda result: _SEVERITY.index(result.code // 100))
        self.code = worst.code
        self.enhanced = worst.enhanced
        self.text = worst.text


def queued(queued_id: str) -> Result:
    """The yes to a message: every processor of the chain agreed, and what it stores is stored."""
    return Result(250, "2.0.0", "OK: queued as " + queued_id)


RECIPIENT_OK = Result(250, "2.1.5", "OK")

# Recipient errors (go-guerrilla: RcptError).
NO_SUCH_USER = Result(550, "5.1.1", "no such user")
USER_SUSPENDED = Result(550, "5.2.1", "user suspended")
QUOTA_EXCEEDED = Result(452, "4.2.2", "mailbox full, try again later")

# A store that is away, busy, slow or broken may be back when the client tries again.
STORE_UNAVAILABLE = Result(451, "4.3.0", "storage not available, try again later")
TOO_LARGE_FOR_STORE = Result(552, "5.3.4", "message too large for the storage")

# What the Gateway itself answers.
PROCESSING_FAILED = Result(451, "4.3.0", "local error in processing, try again later")
TIMED_OUT = Result(451, "4.3.0", "processing takes too long, try again later")
NOT_RUNNING = Result(451, "4.3.0", "not accepting work now, try again later")
FULL = Result(451, "4.3.1", "too much work waiting, try again later")

# What is said where the spool cannot take a message.
SPOOL_FULL = Result(452, "4.3.1", "no room for the message, try again later")
SPOOL_UNAVAILABLE = Result(451, "4.3.0", "message cannot be kept, try again later")
