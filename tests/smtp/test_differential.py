"""The whole session does what a slow and plain reader of SMTP does, whatever a client says."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.differential import Comparison

SEED = 5321
COUNT = 20_000

# What the conversations must come to, or they are not worth much.
EVERY_REPLY = {
    "214 2.0.0",
    "221 2.0.0",
    "250",
    "250 2.0.0",
    "250 2.1.0",
    "250 2.1.5",
    "252 2.5.0",
    "354",
    "421 4.7.0",
    "451 4.5.1",
    "452 4.2.2",
    "452 4.5.3",
    "500 5.5.2",
    "501 5.1.3",
    "501 5.1.7",
    "501 5.5.4",
    "502 5.5.1",
    "503 5.5.1",
    "550 5.1.1",
    "550 5.6.0",
    "550 5.7.1",
    "552 5.3.4",
    "553 5.6.7",
    "554 5.5.1",
    "554 5.6.0",
    "555 5.5.4",
}


class DifferentialTests(SynchronousTestCase):
    def test_like_the_reference(self) -> None:
        comparison = Comparison(SEED)
        for number in range(COUNT):
            difference = comparison.difference(number)
            if difference is not None:
                self.fail(difference)
        self.assertEqual(comparison.heard, EVERY_REPLY)
