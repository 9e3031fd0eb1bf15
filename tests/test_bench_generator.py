"""The benchmark's load generator, with real servers: a few messages in each way to send them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from bench.chains import CHAINS, backends
from bench.contenders.known import contenders
from bench.contenders.ours import Guerrilla
from bench.contenders.peer import Peer
from bench.experiments import chains
from bench.experiments.setting import Setting
from bench.generator.conversation import opening, transaction
from bench.generator.spec import IMPLICIT, STARTTLS, Spec
from bench.loads import Load
from bench.measuring import measure, pace, spec_of
from bench.sending import LoadError, generator

# Sent by our own generator.
LOAD = Load("", "", 12, clients=3, is_timed=True)


class ConversationTests(SynchronousTestCase):
    def test_size(self) -> None:
        for size in (100, 143, 144, 145, 2_000, 1_000_000):
            *_, last = transaction(Spec("", 0, 1, size=size))
            message = last.octets
            self.assertTrue(message.endswith(b"\r\n.\r\n"), size)
            self.assertEqual(len(message) - len(b".\r\n"), size)
            # Lines that every server takes, and none that needs a dot more.
            lines = message[: -len(b".\r\n")].split(b"\r\n")
            self.assertLess(max(map(len, lines)), 998)
            self.assertFalse([line for line in lines if line.startswith(b".")])
            self.assertNotIn(b"\n", b"".join(lines))

    def test_pipelined(self) -> None:
        one_by_one = transaction(Spec("", 0, 1, recipients=3))
        commands, message = transaction(Spec("", 0, 1, recipients=3, pipelined=True))
        self.assertEqual(commands.octets, b"".join(step.octets for step in one_by_one[:-1]))
        self.assertEqual(commands.codes, (b"250", b"250", b"250", b"250", b"354"))
        self.assertEqual(message, one_by_one[-1])

    def test_tls(self) -> None:
        said = b"".join(step.octets for step in opening(Spec("", 0, 1, tls=STARTTLS)))
        self.assertEqual(said.count(b"EHLO"), 2)
        self.assertEqual(opening(Spec("", 0, 1, tls=IMPLICIT)), opening(Spec("", 0, 1)))


class GeneratorTests(SynchronousTestCase):
    if not sys.platform.startswith("linux"):
        skip = "epoll is Linux's"

    def test_without_tls(self) -> None:
        loads = (
            LOAD,
            replace(LOAD, kept=False),
            replace(LOAD, pipelined=True, recipients=100),
            replace(LOAD, clients=1),
            replace(LOAD, clients=50),
            replace(LOAD, size=3_000_000),
        )
        with Guerrilla("", "").running() as server:
            for load in loads:
                with generator(spec_of(load, server, load.messages)) as send:
                    sent = send()
                self.assertEqual(len(sent.latencies), load.messages, load)
                self.assertLessEqual(max(sent.latencies), sent.seconds)

    def test_with_tls(self) -> None:
        for tls in (STARTTLS, IMPLICIT):
            with Guerrilla("", "").running(tls=tls) as server:
                for kept in (True, False):
                    load = replace(LOAD, tls=tls, kept=kept, size=200_000)
                    with generator(spec_of(load, server, load.messages)) as send:
                        self.assertEqual(len(send().latencies), load.messages, load)

    def test_figures(self) -> None:
        """A server that somebody else has started is measured like one of ours."""
        with Guerrilla("", "").running() as server:
            with Peer((server.host, server.port), server.pid).running() as peer:
                figures = measure(peer, LOAD, LOAD.messages)
            paced = pace(server, LOAD, LOAD.messages, rate=200)
        for name in ("cost", "rate", "peak", "server", "load", "p50", "p99", "max"):
            self.assertGreater(figures[name], 0, name)
        # As many messages as that cannot have come any faster, whatever the server can do.
        self.assertLessEqual(paced["rate"], 200 * LOAD.messages / (LOAD.messages - 1))

    def test_idle_clients(self) -> None:
        """They are greeted, and then there is nothing more of them."""
        replies = [b"220 a\r\n", b"250-a\r\n250 b\r\n", b""]
        with (
            listening(replies) as (port, said),
            generator(Spec("127.0.0.1", port, 0, clients=1)),
        ):
            pass
        self.assertEqual(said, [b"EHLO client.example.com\r\n", b""])

    def test_refusals(self) -> None:
        """A message that is not taken is no message that counts."""
        for replies, cause in (
            ([b"554 no\r\n"], "it said b'554 no' to b''"),
            ([b"220 a\r\n", b"250 a\r\n", b"451 later\r\n"], "it said b'451 later' to b'MAIL"),
            ([b"220 a\r\n", b"250 a\r\n250 b\r\n"], "it said b'250 b' to b'EHLO"),
            ([b"220 a\r\n", b"250 a\r\n"], "it closed, and had to answer b'MAIL"),
        ):
            with (
                listening(replies) as (port, _),
                self.assertRaises(LoadError) as caught,
                generator(Spec("127.0.0.1", port, 1, clients=1)) as send,
            ):
                send()
            self.assertIn(f"127.0.0.1:{port}: {cause}", str(caught.exception))

    def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with (
            self.assertRaisesRegex(LoadError, "ECONNREFUSED"),
            generator(Spec("127.0.0.1", port, 1)),
        ):
            pass


class ChainsTests(SynchronousTestCase):
    if not sys.platform.startswith("linux"):
        skip = "epoll is Linux's"

    def test_handovers(self) -> None:
        """A chain that blocks goes to another thread once for a message, others do not."""
        setting = Setting(contenders("info", None, []), [], [], 1, False, "info", "")
        for name, handovers in (("null", 0), ("sqlite", 1)):
            with backends([CHAINS[name]]) as configured:
                figures = chains.measure(setting, configured[name], LOAD)
            self.assertEqual(figures["handovers"], handovers, name)


@contextmanager
def listening(replies: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """
    Have a server that has one client, greets, and says a reply to whatever it gets.

    :returns: its port, and what it has been told.
    """
    said: list[bytes] = []

    def serve() -> None:
        client, _ = server.accept()
        with client:
            for number, reply in enumerate(replies):
                if number:
                    said.append(client.recv(65536))
                client.sendall(reply)
            # Whatever it has still to say, so that it reads what we have said.
            if reply:
                client.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], said
        thread.join()
