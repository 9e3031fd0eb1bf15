"""What a result of the chain means for a message that may be in the spool."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from guerrilla_tw.backends.results import NOT_RUNNING, PROCESSING_FAILED
from guerrilla_tw.interfaces import IRecipientResults, IResult

# RFC 3463: the mail system, and the network. What concerns addresses, mailboxes or policy is said
# by a processor that works.
_SYSTEM = re.compile(r"4\.[34]\.[0-9]+")
_UNPRINTABLE = re.compile(r"[^ -~]")
_LONGEST_REASON = 400


class Verdict(msgspec.Struct, frozen=True):
    """
    What becomes of the recipients of a message.

    :param done: places of those who have it.
    :param again: of those for whom it may pass.
    :param never: of those who are refused for good.
    :param is_trouble: whether the store has failed, or what else is no message's own fault.
    :param has_raised: whether a processor has raised. Then it is often the message's fault.
    :param reason: why it is tried again; empty if it is not.
    :param refusal: why it never will be; empty if nobody is refused.
    """

    done: Sequence[int]
    again: Sequence[int]
    never: Sequence[int]
    is_trouble: bool
    has_raised: bool
    reason: str
    refusal: str


def is_trouble(result: IResult) -> bool:
    """:returns: whether it says that the system has failed, for now: no fault of the message."""
    return (
        400 <= result.code < 500
        and _SYSTEM.fullmatch(str(result.enhanced)) is not None
        and result != NOT_RUNNING
    )


def is_away(result: IResult) -> bool:
    """:returns: whether it says that others have no better luck: no processor has raised."""
    return is_trouble(result) and result != PROCESSING_FAILED


def results_of(result: IResult, recipients: int) -> Sequence[IResult]:
    """:returns: a result for each recipient."""
    if not IRecipientResults.providedBy(result):
        return [result] * recipients
    results = list(result.recipients)
    # Another number of them is the processor's fault.
    return results if len(results) == recipients else [PROCESSING_FAILED] * recipients


def judge(result: IResult, recipients: int) -> Verdict:
    """
    Judge a result that no client hears of.

    :param result: of the chain.
    :param recipients: how many the message has.
    """
    results = results_of(result, recipients)
    done = [place for place, each in enumerate(results) if each.code < 400]
    again = [place for place, each in enumerate(results) if 400 <= each.code < 500]
    never = [place for place, each in enumerate(results) if each.code >= 500]
    return Verdict(
        done,
        again,
        never,
        any(map(is_away, results)),
        PROCESSING_FAILED in results,
        reason_of(results[again[0]]) if again else "",
        reason_of(results[never[0]]) if never else "",
    )


def reason_of(result: IResult) -> str:
    """:returns: a result in one printable line."""
    text = f"{result.code} {result.enhanced} {result.text}"
    return _UNPRINTABLE.sub("?", text)[:_LONGEST_REASON]
