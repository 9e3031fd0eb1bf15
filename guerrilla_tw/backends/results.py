"""What a chain answers: results as values, and the ones that everybody needs."""

from __future__ import annotations

import re

import msgspec
from zope.interface import implementer

from guerrilla_tw.interfaces import IResult

# RFC 5321 section 4.5.3.1.5: a reply line has 512 octets at most, code and line end included.
_LONGEST_TEXT = 450
_UNPRINTABLE = re.compile(r"[^ -~]")
_CODE = re.compile(r"250|[45][0-9]{2}")
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")


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
        code = str(self.code)
        fit = _CODE.fullmatch(code) and _ENHANCED.fullmatch(self.enhanced)
        if not fit or code[0] != self.enhanced[0] or code == "421":
            raise ValueError(f"not a result: {self.code!r} {self.enhanced!r}")
        # For the reply, and for whoever logs it.
        if _UNPRINTABLE.search(self.text) or len(self.text) > _LONGEST_TEXT:
            cleaned = _UNPRINTABLE.sub("?", self.text)[:_LONGEST_TEXT]
            msgspec.structs.force_setattr(self, "text", cleaned)


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
