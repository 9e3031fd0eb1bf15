"""What clients were told, compared with what is in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.chaos.attempts import NO_REPLY, Attempt
from tests.integration.messages import message, token_of
from tests.integration.store_under_test import Stored
from tests.integration.test_delivery import DELIVERY_HEADER


@dataclass
class Verdict:
    """
    What came of a round.

    :ivar sent: messages that clients began to send, each try counted.
    :ivar acknowledged: were told 250.
    :ivar refused: were told 4xx, or 5xx where that is right.
    :ivar broken: messages whose connection ended before a reply.
    :ivar aborted: that clients have cut off themselves.
    :ivar lost: acknowledged, and not in the store for all recipients.
    :ivar doubled: in the store more than once for a recipient.
    :ivar leftovers: whole messages that are in the store and were not acknowledged, by the reply.
    :ivar again: those of them whose next try was acknowledged, so that the letter is there twice.
    :ivar wrong: all that should not be, besides.
    """

    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    broken: int = 0
    aborted: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    leftovers: Counter[str] = field(default_factory=Counter)
    again: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def is_bad(self) -> bool:
        """Whether anything is as it should not be."""
        return bool(self.lost or self.doubled or self.wrong)


class Judge:
    """
    Compares.

    :param attempts: all of a round.
    :param prefix: that their tokens have; the store may have got one of an earlier round late.
    :param is_quiet: there was no fault, so nothing may be left over.
    :param refusal: begins a 5xx that is right; empty where there is none.
    :param knows_keys: whether clients are told under what the store has their messages.
    """

    def __init__(
        self,
        attempts: Sequence[Attempt],
        prefix: str,
        *,
        is_quiet: bool,
        refusal: str = "",
        knows_keys: bool = True,
    ) -> None:
        self._attempts = {attempt.token: attempt for attempt in attempts}
        self._prefix = prefix
        self._is_quiet = is_quiet
        self._refusal = refusal
        self._knows_keys = knows_keys
        self._verdict = Verdict()
        # By token; of each recipient that the store has a copy for.
        self._copies: dict[str, Counter[str]] = {}

    def judge(self, stored: Iterable[Stored]) -> Verdict:
        """:param stored: all that is in the store."""
        verdict = self._verdict
        for copy in stored:
            self._take(copy)
        acknowledged = {
            attempt.letter for attempt in self._attempts.values() if attempt.is_acknowledged
        }
        for attempt in self._attempts.values():
            self._count(attempt)
            copies = self._copies.pop(attempt.token, None)
            if copies is not None:
                verdict.doubled += [attempt.token for count in copies.values() if count > 1]
            if attempt.is_acknowledged:
                self._require(attempt, copies)
            elif copies is not None:
                self._explain(attempt)
                verdict.again += attempt.letter in acknowledged
        verdict.wrong += [f"nobody has sent {token}" for token in self._copies]
        return verdict

    def _take(self, copy: Stored) -> None:
        header = DELIVERY_HEADER.match(copy.octets)
        content = copy.octets[header.end() :] if header else b""
        token = token_of(content)
        if token is None or content != message(token):
            self._verdict.wrong.append(
                f"stored under {copy.key!r}, and damaged: {token}, {copy.octets[:200]!r}"
            )
            return
        if not token.startswith(self._prefix):
            return
        self._copies.setdefault(token, Counter())[copy.recipient.partition("@")[0]] += 1
        attempt = self._attempts.get(token)
        if attempt is not None and attempt.is_acknowledged:
            self._check_key(attempt, copy)

    def _check_key(self, attempt: Attempt, copy: Stored) -> None:
        first = attempt.recipients[0]
        is_first = copy.recipient in ("", first, f"{first}@example.com")
        if self._knows_keys and copy.key and is_first and not attempt.reply.endswith(copy.key):
            self._verdict.wrong.append(f"{attempt} is under {copy.key}")

    def _count(self, attempt: Attempt) -> None:
        verdict = self._verdict
        verdict.sent += 1
        if attempt.is_acknowledged:
            verdict.acknowledged += 1
        elif attempt.is_aborted:
            verdict.aborted += 1
        elif attempt.reply[:1] == "4" or (
            self._refusal and attempt.reply.startswith(self._refusal)
        ):
            verdict.refused += 1
        elif not attempt.reply:
            verdict.broken += 1
        else:
            verdict.wrong.append(f"told {attempt.reply!r}: {attempt.token}")

    def _require(self, attempt: Attempt, copies: Counter[str] | None) -> None:
        # One copy for all has no name.
        if copies is None or ("" not in copies and set(copies) != set(attempt.recipients)):
            there = sorted(copies or ())
            self._verdict.lost.append(f"{attempt.token} for {attempt.recipients}, not {there}")

    def _explain(self, attempt: Attempt) -> None:
        verdict = self._verdict
        if not attempt.is_whole:
            verdict.wrong.append(f"stored, and was not sent whole: {attempt.token}")
        elif self._is_quiet:
            verdict.wrong.append(f"stored, and told {attempt.outcome!r}: {attempt.token}")
        else:
            verdict.leftovers[attempt.outcome] += 1


def cause(outcome: str) -> str:
    """:returns: why a message may be in the store after such an outcome, in a few words."""
    if outcome == NO_REPLY:
        return "connection lost before the reply"
    return f"told {outcome}"
