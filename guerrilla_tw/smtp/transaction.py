"""One mail transaction: from MAIL to the end of the message (RFC 5321 section 3.3). Pure."""

from __future__ import annotations

from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.smtp.framing import ChunkReader


class Pace:
    """
    Whether something that takes a while comes fast enough.

    :param began: when it began, in seconds.
    :param deadline: when it must be done, in seconds.
    :param grace: for how many seconds it may be as slow as it likes.
    :param min_rate: octets a second after that, on average, at least.
    """

    __slots__ = ("_began", "_deadline", "_grace", "_min_rate")

    def __init__(self, began: float, deadline: float, grace: float, min_rate: float) -> None:
        self._began = began
        self._deadline = deadline
        self._grace = grace
        self._min_rate = min_rate

    def is_too_slow(self, now: float, octets: int) -> bool:
        """
        Judge it.

        :param now: in seconds.
        :param octets: that have come so far.
        """
        elapsed = now - self._began
        return now > self._deadline or (elapsed > self._grace and octets < elapsed * self._min_rate)


class Transaction:
    """
    What a session keeps of its transaction beside the envelope.

    :param envelope: that it fills.
    :param size: declared octets of the message, 0 if there were none (RFC 1870).
    :param binary: whether the message is BINARYMIME (RFC 3030).
    :param deadline: when the message must be here, in seconds.

    .. attribute:: refused

        Whether a recipient was refused for good.

    .. attribute:: deferred

        Whether a recipient was refused for now.

    .. attribute:: chunks

        What reads the chunks of BDAT; None before the first.

    .. attribute:: failure

        The reply to a chunk that was refused; None before. What follows it is no message any
        more, and has the same reply: it may tell to try again.
    """

    __slots__ = (
        "binary",
        "chunks",
        "deadline",
        "deferred",
        "envelope",
        "failure",
        "refused",
        "size",
    )

    def __init__(self, envelope: Envelope, size: int, binary: bool, deadline: float) -> None:
        self.envelope = envelope
        self.size = size
        self.binary = binary
        self.deadline = deadline
        self.refused = False
        self.deferred = False
        self.chunks: ChunkReader | None = None
        self.failure: bytes | None = None

    @property
    def has_chunks(self) -> bool:
        """Whether there was a chunk already, be it refused."""
        return self.chunks is not None or self.failure is not None

    def recipient_refused(self, reply: bytes) -> None:
        """Remember why there may be no recipient in the end."""
        if reply[:1] == b"4":
            self.deferred = True
        else:
            self.refused = True
