"""Debugger: says what passes through the chain, and can make it slow."""

from __future__ import annotations

import time

import msgspec

from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.config import ConfigError
from guerrilla_tw.interfaces import IBackendService, Task
from guerrilla_tw.mail.envelope import Envelope

# In characters: a subject may be as long as a message.
_LONGEST_SUBJECT = 255


class DebuggerConfig(msgspec.Struct, frozen=True):
    """
    Settings.

    :param log_received_mails: log a line for each message.
    :param sleep_seconds: hold each message up for that long, to try out timeouts.
    """

    log_received_mails: bool = False
    sleep_seconds: float = 0

    def __post_init__(self) -> None:
        if not 0 <= self.sleep_seconds <= 3600:
            raise ConfigError("is not from 0 to 3600", "sleep_seconds")


def debugger(svc: IBackendService) -> Decorator:
    """Log what passes, and hold it up if that is wanted (go-guerrilla: ``Debugger``)."""
    config = svc.extract_config(svc.config, DebuggerConfig)

    def debug(envelope: Envelope, task: Task) -> None:
        if task is not Task.SAVE_MAIL:
            return
        if config.log_received_mails:
            # What the client wrote is quoted, so that it cannot look like a line of ours.
            svc.log.info(
                "{queued_id}: from {mail_from!r} to {rcpt_to}, {size} octets, subject {subject!r}",
                queued_id=envelope.queued_id,
                mail_from=str(envelope.mail_from),
                rcpt_to=[str(recipient) for recipient in envelope.rcpt_to],
                size=envelope.size,
                subject=envelope.subject[:_LONGEST_SUBJECT],
            )
        if config.sleep_seconds:
            time.sleep(config.sleep_seconds)

    return process_with(svc, debug, nonblocking=not config.sleep_seconds)
