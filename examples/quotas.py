"""
Quotas: an answer of its own for each recipient.

Some recipients may be full while others are not. A client that speaks LMTP hears of each of them
(RFC 2033); one that speaks SMTP has one reply for all, the worst, and sends again to all of them,
so this is for a server with ``"protocol": "lmtp"``.

It takes the recipients out that it refuses, asks the rest of the chain about the others, and puts
the answers together. So it stands before the Hasher, which makes a hash for each recipient::

    "save_process": "HeadersParser|Quotas|Hasher|Header|Sql"

It is no step, because a step's result ends the chain. Add it as ``funky_logger.py`` adds its own::

    daemon.add_processor("Quotas", quotas)
"""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import implementer

from guerrilla_tw import (
    QUOTA_EXCEEDED,
    Decorator,
    Envelope,
    IBackendService,
    IProcessor,
    IResult,
    RecipientResults,
    Task,
)


class QuotasConfig(msgspec.Struct, frozen=True):
    """
    Its settings, in ``backend_config``.

    :param full_mailboxes: local parts whose mailbox takes no more.
    """

    full_mailboxes: tuple[str, ...] = ()


@implementer(IProcessor)
class Quotas:
    """
    Refuses recipients whose mailbox is full, for now.

    :param following: the rest of the chain.
    :param full: local parts.
    """

    def __init__(self, following: IProcessor, full: frozenset[str]) -> None:
        self._following = following
        self._full = full

    def process(self, envelope: Envelope, task: Task) -> IResult | Deferred[IResult]:
        """Runs on the reactor's thread."""
        # Whether each recipient is taken; the envelope is the chain's own by now.
        taken = [recipient.user not in self._full for recipient in envelope.rcpt_to]
        if task is not Task.SAVE_MAIL or all(taken):
            return self._following.process(envelope, task)
        if not any(taken):
            return QUOTA_EXCEEDED
        envelope.rcpt_to = [
            recipient
            for recipient, is_taken in zip(envelope.rcpt_to, taken, strict=True)
            if is_taken
        ]
        result = self._following.process(envelope, task)
        if isinstance(result, Deferred):
            return result.addCallback(_for_each, taken)
        return _for_each(result, taken)


def _for_each(result: IResult, taken: list[bool]) -> IResult:
    """Give those who were taken the chain's answer, and the others ours."""
    return RecipientResults([result if is_taken else QUOTA_EXCEEDED for is_taken in taken])


def quotas(svc: IBackendService) -> Decorator:
    """Refuse recipients whose mailbox is full, for now."""
    config = svc.extract_config(svc.config, QuotasConfig)
    return lambda following: Quotas(following, frozenset(config.full_mailboxes))
