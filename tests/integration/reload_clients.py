"""Clients of all sorts, that keep sending while a daemon is told to be another one."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from threading import Thread

from tests.integration.programs import DEADLINE
from tests.integration.reload_record import Address, Record, Talk, Trouble

# Messages of one connection that is kept.
_KEPT = 25
_PIPELINED = 5


class Crowd:
    """
    Clients of all sorts, each in a thread.

    :param record: of what they see.
    :param smtp: where there is STARTTLS.
    :param smtps: where connections begin with TLS.
    :param lmtp: the path of a UNIX socket.
    :param count: how many, one of each sort at least.
    """

    def __init__(
        self, record: Record, smtp: Address, smtps: Address, lmtp: Address, count: int
    ) -> None:
        self.record = record
        self.smtp = smtp
        self.smtps = smtps
        self._lmtp = lmtp
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE
        self.sorts: dict[str, Callable[[Iterator[str]], None]] = {
            "a connection for each": self._each,
            "kept": self._kept,
            "pipelined": self._pipelined,
            "slow": self._slow,
            "STARTTLS": self._starttls,
            "implicit TLS": self._implicit,
            "LMTP": self._lmtp_kept,
            "idle": self._idle,
        }
        self.choose_sorts()
        self._failures: list[BaseException] = []
        names = [list(self.sorts)[number % len(self.sorts)] for number in range(count)]
        self._threads = [
            Thread(target=self._run, args=(number, sort), daemon=True)
            for number, sort in enumerate(names)
        ]

    def choose_sorts(self) -> None:
        """Say what clients there are, where they are others."""

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """
        Let each finish what it does.

        :raises AssertionError: one of them hangs, or has failed.
        """
        self.record.stop()
        for thread in self._threads:
            thread.join(DEADLINE)
        assert not self._failures, self._failures
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"

    def _run(self, number: int, sort: str) -> None:
        tokens = self.tokens(number)
        try:
            while not self.record.stopping:
                with suppress(Trouble):
                    self.sorts[sort](tokens)
        except BaseException as failure:
            self._failures.append(failure)

    def tokens(self, number: int) -> Iterator[str]:
        """:returns: of the messages of a client, each when it is its time."""
        return (f"{number}-{serial}" for serial in range(10**9))

    @contextmanager
    def talk(
        self, sort: str, address: Address, hello: str = "EHLO", *, implicit: bool = False
    ) -> Iterator[Talk]:
        """Have a connection that begins and ends in good manners."""
        tls = self.tls if implicit else None
        with closing(Talk(self.record, sort, address, tls)) as talk:
            talk.command(f"{hello} client.example.com")
            yield talk
            talk.command("QUIT", "221")

    def _some(self, tokens: Iterator[str]) -> Iterator[str]:
        for _ in range(_KEPT):
            if self.record.stopping:
                return
            yield next(tokens)

    def _each(self, tokens: Iterator[str]) -> None:
        with self.talk("a connection for each", self.smtp) as talk:
            talk.deliver(next(tokens))

    def _kept(self, tokens: Iterator[str]) -> None:
        with self.talk("kept", self.smtp) as talk:
            for token in self._some(tokens):
                talk.deliver(token)

    def _pipelined(self, tokens: Iterator[str]) -> None:
        with self.talk("pipelined", self.smtp) as talk:
            for token in self._some(tokens):
                talk.deliver_at_once([token, *(next(tokens) for _ in range(_PIPELINED - 1))])

    def _slow(self, tokens: Iterator[str]) -> None:
        """A message takes as long as several reloads."""
        with self.talk("slow", self.smtp) as talk:
            for token in self._some(tokens):
                talk.deliver(token, self._reloads())

    def _starttls(self, tokens: Iterator[str]) -> None:
        with self.talk("STARTTLS", self.smtp) as talk:
            talk.start_tls(self.tls)
            for token in self._some(tokens):
                talk.deliver(token)

    def _implicit(self, tokens: Iterator[str]) -> None:
        with self.talk("implicit TLS", self.smtps, implicit=True) as talk:
            for token in self._some(tokens):
                talk.deliver(token)

    def _lmtp_kept(self, tokens: Iterator[str]) -> None:
        with self.talk("LMTP", self._lmtp, "LHLO") as talk:
            for token in self._some(tokens):
                talk.deliver(token)

    def _idle(self, _: Iterator[str]) -> None:
        """From the first reload to the last, and nobody says a word to it."""
        with self.talk("idle", self.smtp) as talk:
            for _reload in self._reloads():
                talk.check_silence()
                if self.record.stopping:
                    return
                if self.record.reloads % 10 == 0:
                    # Not idle for longer than it may be.
                    talk.command("NOOP")

    def _reloads(self) -> Iterator[None]:
        """Goes on with each reload; at the end without waiting."""
        while True:
            self.record.wait_for_reload(self.record.reloads + 1)
            yield
