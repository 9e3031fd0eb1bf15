"""TLS between a connection and its session: what is told, what is sent, and how it ends."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from guerrilla_tw.smtp.tls import make_tls
from tests.smtp.tls_connection import Connection, TLSTestCase, client_context


class TheLayer(TLSTestCase):
    """What is between the transport and the session."""

    def test_octets_go_both_ways_and_at_once(self) -> None:
        connection = self.connect()
        self.assertEqual(connection.session.events, ["made", "handshake"])
        connection.client.send(b"EHLO client\r\n")
        connection.carry()
        self.assertEqual(connection.session.received, b"EHLO client\r\n")
        connection.session.transport.write(b"250 hello\r\n")
        connection.carry()
        self.assertEqual(connection.client.recv(100), b"250 hello\r\n")

    def test_a_large_piece_arrives_whole(self) -> None:
        connection = self.connect()
        piece = bytes(range(256)) * 1000
        connection.session.transport.write(piece)
        connection.carry()
        received = b""
        while len(received) < len(piece):
            received += connection.client.recv(2**16)
        self.assertEqual(received, piece)

    def test_records_may_come_octet_by_octet(self) -> None:
        connection = self.connect()
        for octet in connection.say(b"NOOP\r\n", b"QUIT\r\n"):
            connection.layer.dataReceived(bytes([octet]))
        self.assertEqual(connection.session.pieces, [b"NOOP\r\n", b"QUIT\r\n"])

    def test_records_that_come_together_are_told_together(self) -> None:
        connection = self.connect()
        records = connection.say(b"NOOP\r\n", b"RSET\r\n", b"QUIT\r\n")
        connection.layer.dataReceived(records[:-1])
        connection.layer.dataReceived(records[-1:])
        self.assertEqual(connection.session.pieces, [b"NOOP\r\nRSET\r\n", b"QUIT\r\n"])

    def test_answers_go_out_together(self) -> None:
        connection = self.connect()
        layer = connection.layer

        def answer() -> None:
            layer.write(b"250 fine\r\n")
            layer.write(b"221 goodbye\r\n")
            layer.loseConnection()

        connection.session.answer = answer
        connection.transport.writes = 0
        layer.dataReceived(connection.say(b"NOOP\r\nQUIT\r\n"))
        self.assertEqual(connection.transport.writes, 1)
        connection.carry()
        self.assertEqual(connection.client.recv(100), b"250 fine\r\n")
        self.assertEqual(connection.client.recv(100), b"221 goodbye\r\n")
        self.assertRaises(SSL.ZeroReturnError, connection.client.recv, 100)

    def test_greeting_goes_out_with_the_end_of_the_handshake(self) -> None:
        connection = Connection(make_tls(self.config()), client_context())
        connection.session.greeting = b"220 hello\r\n"
        connection.shake_hands()
        self.assertEqual(connection.transport.writes, 2)
        self.assertEqual(connection.client.recv(100), b"220 hello\r\n")

    def test_who_goes_on_after_our_goodbye_is_cut(self) -> None:
        """He may finish what he was at, and no more."""
        connection = self.connect()
        connection.layer.loseConnection()
        for _ in range(4):
            self.assertFalse(connection.transport.aborted)
            for _ in range(17):
                connection.layer.dataReceived(connection.say(b"x" * 16_000))
        self.assertTrue(connection.transport.aborted)
        self.assertEqual(connection.session.received, b"")

    def test_what_comes_behind_the_handshake_is_told(self) -> None:
        connection = Connection(make_tls(self.config()), client_context())
        self.assertRaises(SSL.WantReadError, connection.client.do_handshake)
        connection.carry()
        connection.client.do_handshake()
        connection.layer.dataReceived(connection.say(b"EHLO client\r\n"))
        self.assertEqual(connection.session.received, b"EHLO client\r\n")

    def test_nothing_is_said_or_heard_after_goodbye(self) -> None:
        connection = self.connect()
        connection.layer.loseConnection()
        connection.transport.writes = 0
        connection.layer.write(b"250 too late\r\n")
        connection.layer.dataReceived(connection.say(b"NOOP\r\n"))
        connection.layer.loseConnection()
        self.assertEqual((connection.transport.writes, connection.session.received), (0, b""))
        self.assertFalse(connection.transport.disconnecting)

    def test_the_producer_is_of_the_connection(self) -> None:
        connection = self.connect()
        layer, transport, producer = connection.layer, connection.transport, object()
        layer.registerProducer(producer, True)
        self.assertIs(transport.producer, producer)
        layer.unregisterProducer()
        self.assertIs(transport.producer, None)
        # Nothing is to be produced any more; a connection of Twisted's would wait for it.
        layer.registerProducer(producer, True)
        connection.client.shutdown()
        layer.dataReceived(connection.records())
        self.assertIs(transport.producer, None)
        layer.unregisterProducer()

    def test_reading_can_be_paused(self) -> None:
        connection = self.connect()
        connection.layer.pauseProducing()
        self.assertEqual(connection.transport.producerState, "paused")
        connection.layer.resumeProducing()
        self.assertEqual(connection.transport.producerState, "producing")

    def test_says_which_version_it_is(self) -> None:
        for version, name in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")):
            tls = make_tls(self.config())
            connection = Connection(tls, client_context(version, version)).shake_hands()
            self.assertEqual(tls.version(connection.layer), name)

    def test_the_session_has_the_layer_for_its_transport(self) -> None:
        connection = self.connect()
        self.assertIs(connection.session.transport, connection.layer)
        self.assertIs(connection.transport.protocol, connection.layer)
        self.assertEqual(connection.layer.getPeer(), connection.transport.getPeer())
        self.assertEqual(connection.layer.getHost(), connection.transport.getHost())

    def test_the_beginning_of_a_hello_may_have_come_before(self) -> None:
        connection = Connection(make_tls(self.config()), client_context())
        self.assertRaises(SSL.WantReadError, connection.client.do_handshake)
        hello = connection.client.bio_read(2**16)
        connection.layer.dataReceived(hello[:100])
        connection.layer.dataReceived(hello[100:])
        self.assertTrue(connection.shake_hands().completed)

    def test_plain_text_instead_of_a_hello_ends_the_connection(self) -> None:
        connection = Connection(make_tls(self.config()), client_context())
        connection.layer.dataReceived(b"EHLO client.example.com\r\n")
        connection.transport.settle()
        self.assertEqual(connection.session.events, ["made", "lost"])
        self.assertIsInstance(connection.session.lost[0].value, SSL.Error)
        self.assertEqual(connection.session.received, b"")

    def test_a_client_that_goes_in_the_middle_of_the_handshake(self) -> None:
        connection = Connection(make_tls(self.config()), client_context())
        connection.layer.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(connection.session.events, ["made", "lost"])
        self.assertTrue(connection.session.lost[0].check(ConnectionLost))

    def test_a_client_that_goes_later(self) -> None:
        connection = self.connect()
        connection.client.shutdown()
        connection.carry()
        self.assertEqual(connection.session.events, ["made", "handshake", "lost"])
        self.assertTrue(connection.session.lost[0].check(ConnectionDone))

    def test_a_client_that_goes_without_a_goodbye(self) -> None:
        """Whoever can cut the connection must not pass for the client."""
        connection = self.connect()
        connection.layer.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(connection.session.lost[0].check(ConnectionLost))

    def test_last_words_of_a_client_that_goes(self) -> None:
        connection = self.connect()
        layer = connection.layer
        connection.session.answer = lambda: layer.write(b"221 goodbye\r\n")
        connection.client.send(b"QUIT\r\n")
        connection.client.shutdown()
        connection.carry()
        self.assertEqual(connection.session.received, b"QUIT\r\n")
        self.assertEqual(connection.session.events, ["made", "handshake", "lost"])
        self.assertEqual(connection.client.recv(100), b"221 goodbye\r\n")
        self.assertRaises(SSL.ZeroReturnError, connection.client.recv, 100)

    def test_a_record_that_was_changed(self) -> None:
        connection = self.connect()
        good, changed = connection.say(b"NOOP\r\n"), bytearray(connection.say(b"QUIT\r\n"))
        changed[-1] ^= 1
        connection.session.answer = lambda: connection.layer.write(b"250 fine\r\n")
        connection.layer.dataReceived(good + changed)
        connection.transport.settle()
        self.assertEqual(connection.session.received, b"NOOP\r\n")
        self.assertIn("bad record mac", str(connection.session.lost[0].value))

    def test_a_connection_can_be_closed_and_says_so(self) -> None:
        connection = self.connect()
        connection.session.transport.loseConnection()
        connection.carry()
        self.assertRaises(SSL.ZeroReturnError, connection.client.recv, 100)
        self.assertFalse(connection.transport.disconnecting)
        connection.client.shutdown()
        connection.carry()
        self.assertTrue(connection.session.lost[0].check(ConnectionDone))

    def test_a_handshake_can_be_cut(self) -> None:
        for end in ("abortConnection", "loseConnection"):
            connection = Connection(make_tls(self.config()), client_context())
            getattr(connection.layer, end)()
            self.assertTrue(connection.transport.aborted)
            connection.transport.settle()
            self.assertEqual(connection.session.events, ["made", "lost"])

    def test_a_lost_connection_can_be_closed_and_written_to(self) -> None:
        connection = self.connect()
        connection.layer.connectionLost(Failure(ConnectionLost()))
        connection.transport.writes = 0
        connection.layer.write(b"250 too late\r\n")
        connection.layer.loseConnection()
        connection.layer.abortConnection()
        self.assertEqual(connection.transport.writes, 0)

    def test_a_lost_connection_leaves_no_garbage(self) -> None:
        """OpenSSL's part of it is too large to wait for the collector."""
        goodbye, error = self.connect(), self.connect()
        handles = [weakref.ref(each.layer.getHandle()) for each in (goodbye, error)]
        self.addCleanup(gc.enable)
        gc.disable()
        goodbye.client.shutdown()
        goodbye.carry()
        error.layer.dataReceived(b"no TLS at all")
        error.transport.settle()
        self.assertEqual(len(error.session.lost), 1)
        error.session.lost.clear()
        self.assertEqual([handle() for handle in handles], [None, None])

    def test_one_server_has_many_connections(self) -> None:
        tls = make_tls(self.config())
        connections = [Connection(tls, client_context()) for _ in range(3)]
        for connection in connections:
            self.assertTrue(connection.shake_hands().completed)

    def test_a_client_cannot_renegotiate(self) -> None:
        connection = self.connect(client_context(highest=SSL.TLS1_2_VERSION))
        connection.client.renegotiate()
        self.assertRaises(SSL.WantReadError, connection.client.do_handshake)
        connection.carry()
        error = self.assertRaises(SSL.Error, connection.client.do_handshake)
        self.assertIn("no renegotiation", str(error))

    def test_no_reactor_is_installed(self) -> None:
        program = (
            "import sys\n"
            "from guerrilla_tw.config import TLSConfig\n"
            "from guerrilla_tw.smtp.tls import make_tls\n"
            "make_tls(TLSConfig(start_tls_on=True, private_key_file=sys.argv[1],"
            " public_key_file=sys.argv[2]))\n"
            "print('twisted.internet.reactor' in sys.modules)\n"
        )
        files = [self.files["private_key_file"], self.files["public_key_file"]]
        command = [sys.executable, "-c", program, *files]
        root = Path(__file__).resolve().parent.parent.parent
        output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        self.assertEqual(output.stdout, "False\n")
