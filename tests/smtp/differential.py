"""
Random conversations, held with the session and with the reference.

``python -m tests.smtp.differential --count 1000000`` compares as many, ``--seconds`` sets a time.
A difference ends it, and is written down with the seed and the number that bring it back.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from dataclasses import asdict, dataclass

from twisted.internet.defer import Deferred

from guerrilla_tw.backends.results import NO_SUCH_USER, QUOTA_EXCEEDED, RECIPIENT_OK
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.envelope import Envelope as SavedEnvelope
from tests.smtp.reference import Conversation, Envelope, Rules
from tests.smtp.session import Answer, Session
from tests.smtp.streams import random_stream

_REPLY = re.compile(rb"([0-9]{3}) ([245]\.[0-9]+\.[0-9]+)?")

# What conversations are held under. The limits are the lowest that a configuration admits.
RULES = (
    Rules(max_command_line=512, max_text_line=1000),
    Rules(max_command_line=512, max_text_line=1000, max_errors=1_000_000),
    Rules(max_errors=1_000_000, max_size=40, max_messages=2),
    Rules(max_errors=1_000_000, max_text_line=1000, normalize=True),
    Rules(max_errors=1_000_000, max_size=40, normalize=True),
    Rules(max_errors=3, lmtp=True),
    Rules(max_errors=1_000_000, max_text_line=1000, lmtp=True),
)


@dataclass
class Case:
    """
    What is said, under which rules, and how it arrives.

    :param pieces: the stream, in pieces.
    :param slow_backend: whether it answers no sooner than the next piece has come.
    :param slow_client: whether the client reads replies only after each second piece.
    :param half_close: whether the client closes its half at the end, and listens.
    """

    rules: Rules
    pieces: list[bytes]
    slow_backend: bool
    slow_client: bool
    half_close: bool


@dataclass
class Outcome:
    """
    What came of it.

    :param failures: what the server logged of its own faults.
    """

    replies: list[str]
    envelopes: list[Envelope]
    closed: bool
    failures: int = 0


def random_case(seed: int, number: int) -> Case:
    """:returns: always the same case for the same seed and number."""
    source = random.Random(f"{seed}/{number}")
    rules = source.choice(RULES)
    stream = random_stream(source, b"LHLO" if rules.lmtp else b"EHLO")
    if source.random() < 0.04:
        pieces = [stream[at : at + 1] for at in range(len(stream))]
    else:
        cuts = sorted(source.choices(range(len(stream) + 1), k=source.randrange(6)))
        ends = zip([0, *cuts], [*cuts, len(stream)], strict=True)
        pieces = [piece for start, end in ends if (piece := stream[start:end])]
    return Case(rules, pieces, *(source.random() < 0.2 for _ in range(3)))


class Server:
    """A server whose clients come one after the other, and whose backend may be slow."""

    def __init__(self, rules: Rules) -> None:
        settings = asdict(rules)
        settings["bare_newline"] = "normalize" if settings.pop("normalize") else "reject"
        settings["protocol"] = "lmtp" if settings.pop("lmtp") else "smtp"
        self._session = Session(**settings)
        self._session.disconnect()
        self._unanswered: list[tuple[Deferred[IResult], IResult]] = []
        self._slow = False
        backend = self._session.backend
        backend.save = self._slowed(backend.save)
        backend.check_recipient = self._slowed(_check_recipient)

    def _slowed(self, answer: Answer) -> Answer:
        def slow_answer(envelope: SavedEnvelope) -> IResult | Deferred[IResult]:
            result = answer(envelope)
            if not self._slow or isinstance(result, Deferred):
                return result
            later: Deferred[IResult] = Deferred()
            self._unanswered.append((later, result))
            return later

        return slow_answer

    def _answer(self) -> None:
        unanswered, self._unanswered = self._unanswered, []
        for later, result in unanswered:
            later.callback(result)

    def hold(self, case: Case) -> Outcome:
        """:returns: what comes of a conversation."""
        session = self._session
        session.backend.saved.clear()
        session.events.clear()
        self._slow = case.slow_backend
        session.connect()
        session.heard()
        for number, piece in enumerate(case.pieces):
            if case.slow_client and not session.closed:
                if number % 2:
                    session.protocol.resumeProducing()
                else:
                    session.protocol.pauseProducing()
            session.protocol.dataReceived(piece)
            session.settle()
            self._answer()
        if case.slow_client and not session.closed:
            session.protocol.resumeProducing()
        if case.half_close:
            session.protocol.readConnectionLost()
        session.settle()
        while self._unanswered:
            self._answer()
            session.settle()
        said = session.heard()
        closed = session.closed
        session.disconnect()
        return Outcome(
            [_code(line) for line in said.splitlines() if line[3:4] == b" "],
            [_envelope(envelope) for envelope in session.backend.saved],
            closed,
            sum("log_failure" in event for event in session.events),
        )


def _code(line: bytes) -> str:
    match = _REPLY.match(line)
    assert match is not None, line
    return match[0].decode("ascii").strip()


def _envelope(envelope: SavedEnvelope) -> Envelope:
    recipients = tuple(str(address) for address in envelope.rcpt_to)
    return Envelope(str(envelope.mail_from), recipients, envelope.data)


def _check_recipient(envelope: SavedEnvelope) -> IResult:
    user = envelope.rcpt_to[-1].user
    if user.startswith("full"):
        return QUOTA_EXCEEDED
    return NO_SUCH_USER if user.startswith("no") else RECIPIENT_OK


class Comparison:
    """
    Conversations under each of the rules, with the session and with the reference.

    :param seed: of all that is random.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._servers = {rules: Server(rules) for rules in RULES}
        #: Every reply that was heard.
        self.heard: set[str] = set()

    def difference(self, number: int) -> str | None:
        """
        Hold a conversation with both.

        :param number: of the conversation.
        :returns: what is not the same, and how to have it again; None if nothing is.
        """
        case = random_case(self._seed, number)
        conversation = Conversation(b"".join(case.pieces), case.rules)
        closed = conversation.closed or case.half_close
        expected = Outcome(conversation.replies, conversation.envelopes, closed)
        found = self._servers[case.rules].hold(case)
        self.heard.update(found.replies)
        if found == expected:
            return None
        lengths = ", ".join(str(len(piece)) for piece in case.pieces)
        return "\n".join(
            [
                f"seed {self._seed}, number {number}",
                str(case.rules),
                f"slow backend: {case.slow_backend}, slow client: {case.slow_client}, "
                f"half close: {case.half_close}",
                f"in pieces of {lengths} octets",
                f"said     {b''.join(case.pieces)!r}",
                f"expected {expected}",
                f"found    {found}",
            ]
        )


def main() -> int:
    """:returns: the exit status: 1 if there is a difference."""
    parser = argparse.ArgumentParser(description="Compare the session with the reference.")
    parser.add_argument("--count", type=int, default=sys.maxsize, help="conversations at most")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="time at most")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="of all of them")
    options = parser.parse_args()
    comparison = Comparison(options.seed)
    began = time.monotonic()
    number = 0
    while number < options.count and time.monotonic() - began < options.seconds:
        difference = comparison.difference(number)
        if difference is not None:
            print(difference)
            return 1
        number += 1
        if number % 1000 == 0 and sys.stderr.isatty():
            print(f"\r{number} conversations", end="", file=sys.stderr, flush=True)
    print(f"{number} conversations are the same (seed {options.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
