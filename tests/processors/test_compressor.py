"""Compressor: the message in less space, for who asks for it."""

from __future__ import annotations

import gc
import weakref
import zlib
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.interfaces import Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.compressor import COMPRESSED, CompressedMessage
from tests.processors.support import Chain, make_envelope


class Mark:
    """Something that goes when its envelope goes."""


def compressed(envelope: Envelope) -> CompressedMessage:
    offered = envelope.values[COMPRESSED]
    assert isinstance(offered, CompressedMessage)
    return offered


class CompressorTests(SynchronousTestCase):
    def test_holds_delivery_header_and_message(self) -> None:
        """Whichever of Header and Compressor comes first."""
        data = bytes(range(256)) * 100
        for expression in ("Header|Compressor", "Compressor|Header"):
            envelope = Chain(self, expression).save(make_envelope(data))
            octets = compressed(envelope).data(envelope)
            self.assertLess(len(octets), len(data) // 10)
            self.assertEqual(zlib.decompress(octets), envelope.delivery_header.encode() + data)

    def test_compresses_when_asked_and_once(self) -> None:
        with mock.patch.object(zlib, "compressobj", side_effect=zlib.compressobj) as compress:
            envelope = Chain(self, "Compressor").save(make_envelope())
            compress.assert_not_called()
            octets = compressed(envelope).data(envelope)
            self.assertIs(compressed(envelope).data(envelope), octets)
            compress.assert_called_once()

    def test_message_leaves_the_memory_at_once(self) -> None:
        """Bodies that wait for the garbage collector fill it."""
        envelope = Chain(self, "Compressor").save(make_envelope())
        compressed(envelope).data(envelope)
        mark = Mark()
        envelope.values["mark"] = mark
        gone = weakref.ref(mark)
        gc.disable()
        self.addCleanup(gc.enable)
        del envelope, mark
        self.assertIsNone(gone())

    def test_recipient_check_is_passed_on(self) -> None:
        envelope = make_envelope()
        chain = Chain(self, "Compressor")
        self.assertEqual(chain.process(envelope, Task.VALIDATE_RCPT).enhanced, "2.1.5")
        self.assertEqual(envelope.values, {})
