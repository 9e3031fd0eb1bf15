"""An inbox on a reactor that is there already."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from guerrilla_tw.testing.mailbox import Mailbox, ReceivedMail
from guerrilla_tw.testing.server import InboxServer


class Inbox(Mailbox, Service):
    """
    An SMTP server for a test that has a reactor. It leaves the reactor clean::

        class NewsletterTests(twisted.trial.unittest.TestCase):
            async def setUp(self):
                self.inbox = Inbox()
                await self.inbox.startService()
                self.addCleanup(self.inbox.stopService)

            async def test_greets_by_name(self):
                await send_newsletter(self.inbox.host, self.inbox.port)
                (mail,) = await self.inbox.wait_for(1)
                self.assertEqual(mail.recipients, ["bob@example.org"])
                self.assertEqual(mail.message["Subject"], "Hello, Bob")

    :param start_tls_on: whether STARTTLS is offered.
    :param tls_always_on: whether each connection begins with a TLS handshake.
    :param reactor: by default the global one.
    :param settings: any other setting of :class:`.ServerConfig`, such as ``max_size=1000`` to see
        what becomes of a message that is too large, or ``protocol="lmtp"``.
    """

    def __init__(
        self,
        *,
        start_tls_on: bool = False,
        tls_always_on: bool = False,
        reactor: Any = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._server = InboxServer(self, reactor, start_tls_on, tls_always_on, settings)
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def startService(self) -> Deferred[None]:
        """
        Listen on a free port.

        :returns: a Deferred that fires when clients are answered.
        :raises guerrilla_tw.ConfigError: a setting cannot be used.
        """
        super().startService()
        return self._server.start()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, and say 421 to the clients that are left.

        :returns: a Deferred that fires when nothing is left. What :meth:`wait_for` gave and has not
            fired is cancelled.
        """
        super().stopService()
        for _, arrived in list(self._waiting):
            arrived.cancel()
        return self._server.stop()

    def wait_for(self, count: int, timeout: float = 10.0) -> Deferred[list[ReceivedMail]]:
        """
        Wait until so many messages have come since the start, or since :meth:`clear`.

        In a coroutine of asyncio: ``await inbox.wait_for(1).asFuture(loop)``.

        :param timeout: seconds.
        :returns: a Deferred of all messages that have come; at once if they have come already. It
            fails with Python's :exc:`TimeoutError` if there are too few.
        """
        if len(self._messages) >= count:
            return succeed(self.messages)
        arrived: Deferred[None] = Deferred()
        waiting = (count, arrived)
        self._waiting.append(waiting)

        def give_up(*_: object) -> None:
            raise self._too_few(count, timeout)

        def end(result: Any) -> Any:
            self._waiting.remove(waiting)
            return result

        arrived.addBoth(end).addTimeout(timeout, self._reactor, give_up)
        return arrived.addCallback(lambda _: self.messages)

    def arrived(self) -> None:
        """As the parent."""
        for count, arrived in list(self._waiting):
            if len(self._messages) >= count:
                arrived.callback(None)
