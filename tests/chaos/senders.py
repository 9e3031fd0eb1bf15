"""Clients that deliver letters until each is acknowledged, as mail servers do."""

from __future__ import annotations

import random
from contextlib import suppress
from threading import Event, Thread

from tests.chaos.attempts import Attempt, Record
from tests.integration.client import Client
from tests.integration.messages import message, stuffed
from tests.integration.programs import DEADLINE

# Seconds before a letter is sent again, and before a daemon that is away is looked for again.
_PAUSE = 0.05
# One in so many is cut off by its own client.
_ABORTED = 25
_MOST_MESSAGES = 20
_RECIPIENTS = ("r0", "r1", "r2", "r3")


class Senders:
    """
    Clients at work, each in a thread, until they are stopped.

    :param port: of the daemon on 127.0.0.1.
    :param name: begins each token.
    :param count: how many there are.
    """

    def __init__(self, port: int, name: str, count: int) -> None:
        self.record = Record()
        self._port = port
        self._stop = Event()
        self._threads = [
            Thread(target=self._run, args=(f"{name}-{number}",), daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """
        Let each finish the message in hand; a letter that is not acknowledged then is given up.

        :raises AssertionError: one of them had no answer for too long.
        """
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        self.record.wait_for_more(0)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"

    def _run(self, name: str) -> None:
        try:
            _Sender(self._port, name, self.record, self._stop).run()
        except BaseException as failure:
            self.record.failed(failure)


class _Sender:
    """One of them. What it does depends on its name and on what it is told."""

    def __init__(self, port: int, name: str, record: Record, stop: Event) -> None:
        self._port = port
        self._name = name
        self._record = record
        self._stop = stop
        self._chance = random.Random(name)
        self._letters = 0
        self._tries = 0
        self._next_letter()

    def _next_letter(self) -> None:
        self._letters += 1
        self._tries = 0
        self._recipients = self._chance.sample(_RECIPIENTS, self._chance.choice((1, 1, 1, 2, 3)))

    def run(self) -> None:
        while not self._stop.is_set():
            try:
                with Client(self._port) as client:
                    if client.hello()[:3] == "250":
                        self._deliver_some(client)
            except ConnectionError:
                self._record.lost_connection()
            self._stop.wait(_PAUSE)

    def _deliver_some(self, client: Client) -> None:
        for _ in range(self._chance.randint(1, _MOST_MESSAGES)):
            if self._stop.is_set():
                break
            attempt = self._attempt()
            try:
                self._deliver(client, attempt)
            finally:
                self._record.add(attempt)
            if attempt.is_acknowledged:
                self._next_letter()
                continue
            if not attempt.reply and not attempt.is_aborted:
                self._record.lost_connection()
            if attempt.reply[:3] in ("", "421"):
                return
            self._stop.wait(_PAUSE)
        client.command("QUIT")

    def _attempt(self) -> Attempt:
        self._tries += 1
        letter = f"{self._name}-{self._letters}"
        return Attempt(letter, f"{letter}-{self._tries}", self._recipients)

    def _deliver(self, client: Client, attempt: Attempt) -> None:
        octets = message(attempt.token)
        commands = [
            "MAIL FROM:<a@example.com>",
            *(f"RCPT TO:<{recipient}@example.com>" for recipient in attempt.recipients),
        ]
        if self._chance.random() < 0.3:
            # All at once, and without a reply until the end.
            client.write(b"".join(f"{line}\r\n".encode() for line in commands))
            replies = [client.reply() for _ in commands]
        else:
            replies = []
            for line in commands:
                replies.append(client.command(line))
                if replies[-1][:3] != "250":
                    break
        refusals = [reply for reply in replies if reply[:3] != "250"]
        if refusals:
            attempt.reply = refusals[0]
            # Nothing of it is to be there when the next begins.
            client.command("RSET")
            return
        self._send(client, attempt, octets)

    def _send(self, client: Client, attempt: Attempt, octets: bytes) -> None:
        is_aborted = self._chance.randrange(_ABORTED) == 0
        if self._chance.random() < 0.3:
            start, data = f"BDAT {len(octets)} LAST\r\n".encode(), octets
        else:
            attempt.reply = client.command("DATA")
            if attempt.reply[:3] != "354":
                return
            start, data = b"", stuffed(octets) + b".\r\n"
        attempt.reply = ""
        if is_aborted:
            attempt.is_aborted = True
            client.write(start + data[: self._chance.randrange(len(data))])
            return
        # From here on the daemon may have it all.
        attempt.is_whole = True
        client.write(start + data)
        with suppress(ConnectionError):
            attempt.reply = client.reply()
