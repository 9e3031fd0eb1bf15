"""
Tests of a program that sends mail and knows nothing of Twisted, by pytest.

    pytest test_invitation.py
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator

import pytest
from invitation import UnknownGuest, invite

from guerrilla_tw.testing import RunningInbox, running_inbox


@pytest.fixture
def inbox() -> Iterator[RunningInbox]:
    """A mail server for one test."""
    with running_inbox() as inbox:
        yield inbox


def test_invitation(inbox: RunningInbox) -> None:
    invite("bob@example.org", (inbox.host, inbox.port))
    (mail,) = inbox.wait_for(1)
    assert mail.recipients == ["bob@example.org"]
    assert mail.message["Subject"] == "Come to the party"


def test_unknown_guest(inbox: RunningInbox) -> None:
    inbox.refuse_recipient("bob@example.org")
    with pytest.raises(UnknownGuest):
        invite("bob@example.org", (inbox.host, inbox.port))
    assert inbox.messages == []


def test_server_that_breaks_down(inbox: RunningInbox) -> None:
    inbox.hang_up_next()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        invite("bob@example.org", (inbox.host, inbox.port))
