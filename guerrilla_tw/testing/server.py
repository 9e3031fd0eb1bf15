"""The daemon behind an inbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure

from guerrilla_tw.backends.chain import process_with_deferred
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.backends.results import STORE_UNAVAILABLE
from guerrilla_tw.config import Config, Duration, ServerConfig, TLSConfig
from guerrilla_tw.interfaces import IBackendService, IResult, Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.testing.mailbox import Answer, Mailbox

if TYPE_CHECKING:
    from guerrilla_tw.daemon import Guerrilla

_BACKEND_CONFIG = {
    "save_process": "HeadersParser|Inbox",
    "validate_process": "Inbox",
    # A message whose answer is delayed holds a slot, and must not hold up others.
    "save_workers_size": 1000,
    "gw_save_timeout": "24h",
}
# No test waits for long for a client that has gone astray.
_GOODBYE_TIME = Duration(1)


class InboxServer:
    """
    Runs a daemon that gives a mailbox what comes, and asks it what to answer.

    :param mailbox: it is told host, port and certificate.
    :param reactor: to run on.
    :param start_tls_on: whether STARTTLS is offered.
    :param tls_always_on: whether each connection begins with a TLS handshake.
    :param settings: other ones of the server.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        reactor: Any,
        start_tls_on: bool,
        tls_always_on: bool,
        settings: dict[str, Any],
    ) -> None:
        self._mailbox = mailbox
        self._reactor = reactor
        self._start_tls_on = start_tls_on
        self._tls_always_on = tls_always_on
        self._settings = {"host_name": "inbox.example", **settings}
        self._daemon: Guerrilla | None = None
        self._delayed: set[Deferred[IResult | None]] = set()

    def start(self) -> Deferred[None]:
        """
        Listen.

        :returns: a Deferred that fires when clients are answered.
        :raises ConfigError: a setting cannot be used.
        """
        # Here, because it installs a reactor, and somebody's program may have one of its own.
        from guerrilla_tw.daemon import Guerrilla

        # The files are read before startService returns.
        with self._make_tls() as tls:
            server = ServerConfig(
                is_enabled=True,
                listen_interface=f"{self._mailbox.host}:0",
                tls=tls,
                **self._settings,
            )
            config = Config(
                allowed_hosts=(".",),
                backend_config=_BACKEND_CONFIG,
                servers=(server,),
                shutdown_timeout=_GOODBYE_TIME,
            )
            # A function is an observer, though mypy-zope does not know it.
            observer: Any = self._observe
            daemon = Guerrilla(config, reactor=self._reactor, observer=observer)
            daemon.add_processor("Inbox", self._make_processor)
            started = daemon.startService()
        self._daemon = daemon
        address: Any = daemon.addresses[0]
        self._mailbox.port = address.port
        return started

    def stop(self) -> Deferred[None]:
        """:returns: a Deferred that fires when nothing of the inbox is left."""
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return succeed(None)
        for delayed in list(self._delayed):
            delayed.cancel()
        return daemon.stopService()

    @contextmanager
    def _make_tls(self) -> Iterator[TLSConfig]:
        if not (self._start_tls_on or self._tls_always_on):
            yield TLSConfig()
            return
        # Here, because cryptography is not needed where nobody asks for it.
        from guerrilla_tw.testing.certificate import make_certificate

        key, self._mailbox.certificate = make_certificate(self._mailbox.host)
        with TemporaryDirectory() as directory:
            key_file = Path(directory, "key.pem")
            key_file.write_text(key, encoding="ascii")
            certificate_file = Path(directory, "certificate.pem")
            certificate_file.write_text(self._mailbox.certificate, encoding="ascii")
            yield TLSConfig(
                start_tls_on=self._start_tls_on,
                tls_always_on=self._tls_always_on,
                private_key_file=str(key_file),
                public_key_file=str(certificate_file),
            )

    def _observe(self, event: LogEvent) -> None:
        self._mailbox.note(formatEvent(event))

    def _make_processor(self, svc: IBackendService) -> Decorator:
        svc.declare_store()
        return process_with_deferred(self._process)

    def _process(self, envelope: Envelope, task: Task) -> Deferred[IResult | None] | None:
        if task is Task.VALIDATE_RCPT:
            refusal = self._mailbox.refusal_of(str(envelope.rcpt_to[-1]))
            return None if refusal is None else succeed(refusal)
        answer = self._mailbox.take_answer()
        if answer.hang_up:
            self._cut_connections()
        if answer.delay or answer.hang_up:
            return self._settle_later(envelope, answer)
        result = self._settle(envelope, answer)
        return None if result is None else succeed(result)

    def _settle(self, envelope: Envelope, answer: Answer) -> IResult | None:
        """:returns: the refusal; None for a message that was kept."""
        if answer.hang_up:
            return STORE_UNAVAILABLE  # Which nobody will read.
        if answer.refusal is None:
            self._mailbox.keep(envelope)
        return answer.refusal

    def _settle_later(self, envelope: Envelope, answer: Answer) -> Deferred[IResult | None]:
        delayed: Deferred[IResult | None] = deferLater(
            self._reactor, answer.delay, self._settle, envelope, answer
        )
        self._delayed.add(delayed)

        def end(result: IResult | Failure | None) -> IResult | Failure | None:
            self._delayed.discard(delayed)
            if isinstance(result, Failure) and result.check(CancelledError):
                return STORE_UNAVAILABLE
            return result

        return delayed.addBoth(end)

    def _cut_connections(self) -> None:
        for client in self._daemon._house.clients if self._daemon else ():
            client.cut()
