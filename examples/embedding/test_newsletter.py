"""
Tests of a program that sends mail, with an inbox in place of its mail server.

    python -m twisted.trial test_newsletter

Without ``python -m``, trial does not look for modules in the current directory.
"""

from __future__ import annotations

from newsletter import send_newsletter
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from guerrilla_tw import Result
from guerrilla_tw.testing import Inbox


class NewsletterTests(TestCase):
    # trial waits for it, and unittest's type does not know.
    async def setUp(self) -> None:  # type: ignore[override]
        self.inbox = Inbox()
        await self.inbox.startService()
        self.addCleanup(self.inbox.stopService)

    def send(self, *readers: str) -> Deferred[list[str]]:
        """:returns: the readers who cannot be reached."""
        server = (self.inbox.host, self.inbox.port)
        return Deferred.fromCoroutine(
            send_newsletter(reactor, server, readers, "News", "Nothing is new.\n", pause=0)
        )

    async def test_each_reader_gets_one(self) -> None:
        self.assertEqual(await self.send("bob@example.org", "carol@example.org"), [])
        mails = await self.inbox.wait_for(2)
        recipients = [mail.recipients for mail in mails]
        self.assertEqual(recipients, [["bob@example.org"], ["carol@example.org"]])
        self.assertEqual(mails[0].message["Subject"], "News")
        self.assertEqual(mails[0].message.get_content(), "Nothing is new.\n")

    async def test_tries_again_when_the_server_asks_for_it(self) -> None:
        self.inbox.refuse_next()
        self.inbox.refuse_next(Result(452, "4.3.1", "no room now"))
        self.assertEqual(await self.send("bob@example.org"), [])
        self.assertEqual(len(self.inbox.messages), 1)

    async def test_readers_who_are_gone(self) -> None:
        self.inbox.refuse_recipient("bob@example.org")
        unreachable = await self.send("bob@example.org", "carol@example.org")
        self.assertEqual(unreachable, ["bob@example.org"])
        self.assertEqual([mail.recipients for mail in self.inbox.messages], [["carol@example.org"]])
