"""An inbox in a thread of its own, for programs that have no reactor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread
from typing import Any

from twisted.internet.threads import blockingCallFromThread

from guerrilla_tw.testing.mailbox import Mailbox, ReceivedMail
from guerrilla_tw.testing.server import InboxServer


class RunningInbox(Mailbox):
    """What :func:`running_inbox` gives. It may be used on any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = Condition()

    def wait_for(self, count: int, timeout: float = 10.0) -> list[ReceivedMail]:
        """
        Wait until so many messages have come since the start, or since :meth:`clear`.

        It blocks. In a coroutine of asyncio: ``await asyncio.to_thread(inbox.wait_for, 1)``.

        :param timeout: seconds.
        :returns: all messages that have come; at once if they have come already.
        :raises TimeoutError: there are too few.
        """
        with self._changed:
            if self._changed.wait_for(lambda: len(self._messages) >= count, timeout):
                return self.messages
        raise self._too_few(count, timeout)

    def arrived(self) -> None:
        """As the parent."""
        with self._changed:
            self._changed.notify_all()


@contextmanager
def running_inbox(
    *, start_tls_on: bool = False, tls_always_on: bool = False, **settings: Any
) -> Iterator[RunningInbox]:
    """
    Run an SMTP server in a thread while a test goes on::

        def test_invitation():
            with running_inbox() as inbox:
                invite("bob@example.org", server=(inbox.host, inbox.port))
                (mail,) = inbox.wait_for(1)
            assert mail.message["Subject"] == "Come to the party"

    As a fixture of pytest::

        @pytest.fixture
        def inbox():
            with running_inbox() as inbox:
                yield inbox

    The thread has a reactor of its own, which is not ``twisted.internet.reactor``. There may be
    several at a time. At the end the port is closed and the thread is gone.

    :param start_tls_on: whether STARTTLS is offered.
    :param tls_always_on: whether each connection begins with a TLS handshake.
    :param settings: any other setting of :class:`.ServerConfig`, such as ``max_size=1000``.
    :raises guerrilla_tw.ConfigError: a setting cannot be used.
    """
    inbox = RunningInbox()
    with _running_reactor() as reactor:
        server = InboxServer(inbox, reactor, start_tls_on, tls_always_on, settings)
        try:
            _call(reactor, server.start)
            yield inbox
        finally:
            _call(reactor, server.stop)


def _call(reactor: Any, function: Callable[[], Any]) -> None:
    """Call a function on the reactor's thread, and wait for its Deferred."""
    blockingCallFromThread(reactor, function)


@contextmanager
def _running_reactor() -> Iterator[Any]:
    reactor = _make_reactor()
    thread = Thread(
        target=reactor.run,
        kwargs={"installSignalHandlers": False},
        name="guerrilla_tw.testing",
        # Who leaves a fixture hanging can end his program all the same.
        daemon=True,
    )
    thread.start()
    try:
        yield reactor
    finally:
        reactor.callFromThread(reactor.stop)
        thread.join()
        # A reactor that stops keeps what wakes it up, and a test run may need hundreds.
        reactor.removeReader(reactor.waker)
        reactor.waker.connectionLost(None)


def _make_reactor() -> Any:
    """
    Make a reactor without installing it, of the class that Twisted has for this platform.

    Its own function for it installs what it chooses.
    """
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor

        return SelectReactor()
    return EPollReactor()
