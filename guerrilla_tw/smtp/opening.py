"""How a session begins: who the client is, TLS, the greeting."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import IDelayedCall, IHandshakeListener
from twisted.python.failure import Failure
from zope.interface import implementer

from guerrilla_tw.smtp import journal, replies
from guerrilla_tw.smtp.connection import SMTPConnection
from guerrilla_tw.smtp.proxy import ProxyHeaderError, ProxyHeaderReader

# As one number: to join two flags takes longer than to look.
_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
# Seconds for the PROXY header. HAProxy's specification asks for three at least.
PROXY_TIMEOUT = 5.0
# The type of a TLS record that holds a handshake (RFC 8446 section 5.1).
_TLS_HANDSHAKE = 0x16


@implementer(IHandshakeListener)
class OpeningConnection(SMTPConnection):
    """
    A connection up to its greeting, and the way into TLS.

    :param server: whose client this is.
    :param remote_ip: as the parent's.
    """

    # Whether remote_ip is of who speaks, and not of a proxy that does not know who does.
    is_known = True
    _greeted = False
    _late_greeting: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Take the client in, and greet it when it is clear who it is."""
        super().connectionMade()
        if self.settings.config.proxyon:
            self._expect_proxy_header()
        else:
            self._identified()

    # The PROXY protocol

    def _expect_proxy_header(self) -> None:
        if not self.settings.trusted_proxies.trusts(self.remote_ip):
            self._refuse_proxy("it is none of trusted_proxies")
            return
        self.setTimeout(PROXY_TIMEOUT)
        header = ProxyHeaderReader()

        def feed(data: bytes) -> bytes | None:
            try:
                return header.feed(data)
            except ProxyHeaderError as error:
                self._refuse_proxy(str(error))
                return None

        def identified() -> None:
            if header.source is None:
                self.is_known = False
            else:
                self.proxy_ip = self.remote_ip
                self.remote_ip = header.source
            self.setTimeout(self.settings.config.timeout)
            self._identified()

        self.read(feed, identified)

    def _refuse_proxy(self, cause: str) -> None:
        # Before TLS a client that waits for it would not understand a reply.
        reply = b"" if self.settings.config.tls.tls_always_on else replies.NO_PROXY_HEADER
        self.dismiss(reply, journal.NO_PROXY_HEADER, cause)

    # TLS

    def start_tls(self) -> None:
        """Go on in TLS. What was received in plain text and not looked at is the caller's care."""
        assert self.settings.tls is not None
        self.flush()
        self.transport.unregisterProducer()
        # The new producer is asked to go on only if it was asked to pause.
        self._congested = False
        self.resume_reading()
        self.secret = True
        self.transport = self.settings.tls.start(self.transport, self)
        self.transport.registerProducer(self, True)

    def handshakeCompleted(self) -> None:
        """The client speaks TLS."""
        assert self.settings.tls is not None
        self.tls_version = self.settings.tls.version(self.transport)
        self.resetTimeout()
        if not self._greeted:
            self._greet()

    # The greeting

    def _identified(self) -> None:
        if not self.settings.config.tls.tls_always_on:
            self._greet()
            return
        hello = self.take_input()
        self.start_tls()
        if hello:
            self.transport.dataReceived(hello)  # type: ignore[attr-defined]

    def first_octet_received(self, octet: int) -> None:
        """Let go who does not wait for the greeting, and who wants TLS where there is none yet."""
        if not self._greeted:
            self.spoke_early = True
            self.dismiss(replies.TOO_EARLY, journal.EARLY_TALKER)
        elif octet == _TLS_HANDSHAKE:
            # No mail client: it gets no word more.
            self.close(journal.NOT_MAIL, "it speaks TLS to a port without")

    def _greet(self) -> None:
        delay = self.settings.config.reject_early_talkers
        if delay and not self.secret:
            self.setTimeout(None)
            self._late_greeting = self.server.clock.callLater(delay, self._greet_late)
        else:
            if not self.secret and self._has_spoken():
                self.spoke_early = True
            self._say_greeting()

    def _greet_late(self) -> None:
        self._late_greeting = None
        if not self._closing:
            self.setTimeout(self.settings.config.timeout)
            self._say_greeting()

    def _say_greeting(self) -> None:
        self._greeted = True
        self.transport.write(self.settings.greeting)

    def _has_spoken(self) -> bool:
        """Most who do not wait for the greeting are there with their first packet."""
        if self.has_input:
            return True
        try:
            peeked: bytes = self.transport.getHandle().recv(1, _PEEK)  # type: ignore[attr-defined]
        except OSError:  # There is nothing.
            return False
        return bool(peeked)

    # Ends

    @property
    def _is_shaking_hands(self) -> bool:
        return self.secret and self.tls_version is None

    def timeoutConnection(self) -> None:
        """As the parent; nobody is there to read a reply while hands are shaken."""
        if self._is_shaking_hands:
            self.end_as(journal.TLS_FAILED, "the handshake was not finished in time")
            self.transport.abortConnection()
        elif self._is_opening_by_proxy():
            self._refuse_proxy("it did not come in time")
        else:
            super().timeoutConnection()

    def _is_opening_by_proxy(self) -> bool:
        return self.settings.config.proxyon and not (self._greeted or self._closing)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """As the parent."""
        if self._is_shaking_hands and not self._closing and reason is not None:
            self.end_as(journal.TLS_FAILED, _cause(reason))
        if self._late_greeting is not None:
            self._late_greeting.cancel()
        super().connectionLost(reason)

    def shut_down(self) -> None:
        """As the parent; nobody is there to read a goodbye before TLS."""
        if self._is_shaking_hands or (self.settings.config.tls.tls_always_on and not self.secret):
            self.cut()
        else:
            super().shut_down()


def _cause(reason: Failure) -> str:
    """OpenSSL's errors are lists of (library, function, reason), of which the last tells most."""
    details = getattr(reason.value, "args", None) or [None]
    if isinstance(details[0], list) and details[0]:
        return str(details[0][-1][-1])
    return str(reason.value)
