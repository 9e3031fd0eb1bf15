"""SIGTERM under load: what was answered 250 is stored, and nobody is left without an answer."""

from __future__ import annotations

import signal
from threading import Semaphore, Thread

from tests.integration.client import MESSAGE, Client, queue_id
from tests.integration.daemon_process import DaemonTestCase
from tests.integration.programs import DEADLINE

CLIENTS = 10


class Sender(Thread):
    """
    Delivers over one connection until it is refused.

    :param port: of the daemon.
    :param progress: is released for each message accepted.
    """

    def __init__(self, port: int, progress: Semaphore) -> None:
        super().__init__()
        self.accepted: list[str] = []
        self.refusal = ""
        self._client = Client(port)
        self._progress = progress

    def run(self) -> None:
        with self._client as client:
            client.hello()
            while (reply := client.deliver(MESSAGE)).startswith("250"):
                self.accepted.append(queue_id(reply))
                self._progress.release()
            self.refusal = reply


class SigtermTests(DaemonTestCase):
    def test_under_load(self) -> None:
        process = self.start()
        progress = Semaphore(0)
        senders = [Sender(process.port(), progress) for _ in range(CLIENTS)]
        for sender in senders:
            sender.start()
        for _ in range(20 * CLIENTS):
            self.assertTrue(progress.acquire(timeout=DEADLINE))
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)
        for sender in senders:
            sender.join(DEADLINE)
        self.assertEqual({sender.refusal[:9] for sender in senders}, {"421 4.3.2"})
        accepted = [message for sender in senders for message in sender.accepted]
        self.assertEqual(set(accepted), set(self.stored()))
        self.assert_clean(process)

    def test_message_in_a_slow_chain_is_stored_first(self) -> None:
        process = self.start(sleep_seconds=1, log_received_mails=True)
        with Client(process.port()) as client, Client(process.port()) as idle:
            client.hello()
            idle.hello()
            for line in ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "DATA"):
                client.command(line)
            client.write(MESSAGE + b".\r\n")
            process.wait_for("octets, subject")  # The Debugger says so, then sleeps.
            process.terminate()
            self.assertRegex(idle.reply(), r"^421 4\.3\.2 ")
            accepted = queue_id(client.reply())
            self.assertRegex(client.reply(), r"^421 4\.3\.2 ")
            self.assertEqual(client.reply(), "")
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assertEqual(list(self.stored()), [accepted])
        self.assert_clean(process)

    def test_message_half_sent_may_be_finished(self) -> None:
        process = self.start()
        with Client(process.port()) as client, Client(process.port()) as idle:
            client.hello()
            idle.hello()
            for line in ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "DATA"):
                client.command(line)
            client.write(MESSAGE[:20])
            process.terminate()
            self.assertRegex(idle.reply(), r"^421 4\.3\.2 ")
            client.write(MESSAGE[20:] + b".\r\n")
            accepted = queue_id(client.reply())
            self.assertRegex(client.reply(), r"^421 4\.3\.2 ")
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assertEqual(list(self.stored()), [accepted])
