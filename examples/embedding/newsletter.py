"""A program that sends mail by Twisted, for ``test_newsletter.py`` to test."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any

from twisted.internet.task import deferLater
from twisted.mail.smtp import SMTPDeliveryError, sendmail

SENDER = "news@example.com"


async def send_newsletter(
    reactor: Any,
    server: tuple[str, int],
    readers: Sequence[str],
    subject: str,
    text: str,
    pause: float = 300.0,
) -> list[str]:
    """
    Send a message to each reader, and try again where the server says that this may help.

    :param server: host and port to send it by.
    :param pause: seconds before a second try, and before a third.
    :returns: the readers who cannot be reached.
    """
    unreachable = []
    for reader in readers:
        message = EmailMessage()
        message["From"] = SENDER
        message["To"] = reader
        message["Subject"] = subject
        message.set_content(text)
        if not await _send(reactor, server, reader, message, pause):
            unreachable.append(reader)
    return unreachable


async def _send(
    reactor: Any, server: tuple[str, int], reader: str, message: EmailMessage, pause: float
) -> bool:
    host, port = server
    for attempt in range(3):
        if attempt:
            await deferLater(reactor, pause)
        try:
            await sendmail(host, SENDER, [reader], message.as_bytes(), port=port, reactor=reactor)
        except SMTPDeliveryError as error:
            if error.code >= 500:
                return False
        else:
            return True
    return False
