"""A program that sends mail by the standard library, for ``test_invitation.py`` to test."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage


class UnknownGuest(Exception):
    """There is nobody at this address."""


def invite(guest: str, server: tuple[str, int]) -> None:
    """
    Invite somebody to the party.

    :param guest: an address.
    :param server: host and port to send it by.
    :raises UnknownGuest: the guest's mail server does not know the address.
    :raises smtplib.SMTPException: the invitation cannot be sent now.
    """
    message = EmailMessage()
    message["From"] = "host@example.com"
    message["To"] = guest
    message["Subject"] = "Come to the party"
    message.set_content("On Saturday.\n")
    with smtplib.SMTP(*server, timeout=5) as client:
        try:
            client.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, _ = error.recipients[guest]
            if code < 500:
                raise
            raise UnknownGuest(guest) from None
