"""Somebody who sends mail, by the standard library and real TCP."""

from __future__ import annotations

import smtplib
from contextlib import closing

DATA = b"Subject: hello\r\n\r\n.body\r\n"


def send_mail(port: int, *recipients: str, data: bytes = DATA) -> str:
    """
    Send a message, in a thread of the caller's.

    :param port: on 127.0.0.1.
    :returns: the reply to the data.
    :raises smtplib.SMTPException: it was not accepted.
    """
    client = smtplib.SMTP("127.0.0.1", port, "client.example", timeout=30)
    # No QUIT: a server that is told to stop closes after the reply to the data.
    with closing(client):
        client.ehlo()
        code, text = client.mail("alice@example.com")
        for recipient in recipients:
            code, text = client.rcpt(recipient)
            if code != 250:
                raise smtplib.SMTPRecipientsRefused({recipient: (code, text)})
        code, text = client.data(data)
        return f"{code} {text.decode()}"
