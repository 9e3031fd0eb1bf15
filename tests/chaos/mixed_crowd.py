"""Clients of all sorts, good and bad, that send no faster than they are told to."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from threading import Lock

from tests.integration.messages import message, stuffed
from tests.integration.reload_clients import Crowd
from tests.integration.reload_record import Address, Record, Talk, Trouble

# Seconds between two pieces of a message that is sent slowly.
_SLOWLY = 0.2
# Messages, or mistakes, of one connection.
_SOME = 10
# What a client may get wrong, and the reply.
_MISTAKES = (
    ("NONSENSE", "500"),
    ("RCPT TO:<b@example.com>", "503"),
    ("DATA", "503"),
    ("MAIL FROM:<no address", "501"),
    ("VRFY somebody", "252"),
)


class Pace:
    """
    Lets its callers go on, all together so often.

    :param rate: how often in a second.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = time.monotonic()
        self._lock = Lock()

    def wait(self) -> None:
        """Until it is the caller's turn."""
        with self._lock:
            now = time.monotonic()
            # What was missed is not made up for.
            self._next = max(self._next + self._interval, now)
            seconds = self._next - now
        time.sleep(seconds)


class MixedCrowd(Crowd):
    """
    As its parent; some clients abort, some have recipients that are refused, some are confused.

    :param rate: messages a second of all clients together.
    """

    def __init__(
        self, record: Record, smtp: Address, smtps: Address, lmtp: Address, count: int, rate: float
    ) -> None:
        super().__init__(record, smtp, smtps, lmtp, count)
        self._pace = Pace(rate)

    def choose_sorts(self) -> None:
        """See the parent."""
        # It waits for reloads, of which there are few here.
        del self.sorts["idle"]
        self.sorts |= {
            "slow": self._slowly,
            "aborting": self._aborting,
            "refused": self._refused,
            "confused": self._confused,
        }

    def tokens(self, number: int) -> Iterator[str]:
        """See the parent."""
        for token in super().tokens(number):
            self._pace.wait()
            yield token

    def _slowly(self, tokens: Iterator[str]) -> None:
        def pauses() -> Iterator[None]:
            while True:
                time.sleep(_SLOWLY)
                yield

        with self.talk("slow", self.smtp) as talk:
            for _ in range(_SOME):
                talk.deliver(next(tokens), pauses())

    def _aborting(self, tokens: Iterator[str]) -> None:
        """Leaves in the middle of a message."""
        octets = message(next(tokens))
        with suppress(Trouble), closing(Talk(self.record, "aborting", self.smtp)) as talk:
            talk.command("EHLO client.example.com")
            talk.command("MAIL FROM:<a@example.com>")
            talk.command("RCPT TO:<b@example.com>")
            if random.random() < 0.5:
                talk.command("DATA", "354")
                octets = stuffed(octets)
            else:
                talk.write(b"BDAT %d LAST\r\n" % len(octets))
            talk.write(octets[: len(octets) // 2])

    def _refused(self, tokens: Iterator[str]) -> None:
        """Has a recipient who is not ours, beside one who is."""
        with self.talk("refused", self.smtp) as talk:
            for _ in range(_SOME):
                talk.command("MAIL FROM:<a@example.com>")
                talk.command("RCPT TO:<b@elsewhere.example>", "550")
                talk.command("RSET")
                talk.deliver(next(tokens))

    def _confused(self, tokens: Iterator[str]) -> None:
        """Makes each mistake, and delivers all the same."""
        with self.talk("confused", self.smtp) as talk:
            for command, code in _MISTAKES:
                talk.command(command, code)
            talk.deliver(next(tokens))
