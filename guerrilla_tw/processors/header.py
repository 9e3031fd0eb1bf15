"""Header: the trace that a message gets on delivery."""

from __future__ import annotations

import re
import time
from email.utils import formatdate

import msgspec

from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.config import check_host_name
from guerrilla_tw.interfaces import IBackendService, Task
from guerrilla_tw.mail.envelope import Envelope

# What a client calls itself goes into a comment and must not end it, or the line.
_UNSAFE = re.compile(r"[^A-Za-z0-9._:\[\]-]")


class HeaderConfig(msgspec.Struct, frozen=True):
    """
    Settings.

    :param primary_mail_host: the host that delivered mail is said to be for, and by; by default
        the recipient's.
    """

    primary_mail_host: str = ""

    def __post_init__(self) -> None:
        check_host_name(self, "primary_mail_host")


def header(svc: IBackendService) -> Decorator:
    """
    Make the trace that a message gets on delivery (go-guerrilla: ``Header``).

    Sets ``envelope.delivery_header``: Delivered-To, for the first recipient, and Received
    (RFC 5321 section 4.4). Stores write it before the message. It names the first hash, so the
    Hasher goes before it; otherwise the queue id stands there.
    """
    config = svc.extract_config(svc.config, HeaderConfig)
    # For one thread: the step is nonblocking.
    calendar = _Calendar()

    def add_header(envelope: Envelope, task: Task) -> None:
        if task is Task.SAVE_MAIL:
            envelope.delivery_header = _delivery_header(
                envelope, config.primary_mail_host, calendar.date(envelope.received_at)
            )

    svc.declare_set("delivery_header")
    return process_with(svc, add_header, nonblocking=True)


def _delivery_header(envelope: Envelope, primary_host: str, date: str) -> str:
    recipient = envelope.rcpt_to[0]
    if primary_host:
        recipient = msgspec.structs.replace(recipient, host=primary_host, ip=None)
    domain = recipient.domain
    helo = _UNSAFE.sub("?", envelope.helo)
    message_id = envelope.hashes[0] if envelope.hashes else envelope.queued_id
    return (
        f"Delivered-To: {recipient}\r\n"
        f"Received: from {helo} ({helo}{_literal(envelope.remote_ip)})\r\n"
        f"\tby {domain} with {envelope.protocol} id {message_id}@{domain};\r\n"
        f"\t{date}\r\n"
    )


class _Calendar:
    """Formatting a date costs as much as the rest of the header, and mostly it is the same."""

    def __init__(self) -> None:
        self._second = -1
        self._date = ""

    def date(self, received_at: float | None) -> str:
        second = int(time.time() if received_at is None else received_at)
        if second != self._second:
            self._second = second
            self._date = formatdate(second, localtime=True)
        return self._date


def _literal(remote_ip: str) -> str:
    """The client's address as RFC 5321 section 4.1.3 writes it, after a blank; it may have none."""
    if not remote_ip:
        return ""
    return f" [IPv6:{remote_ip}]" if ":" in remote_ip else f" [{remote_ip}]"
