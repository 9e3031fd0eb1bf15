"""What is lost, damaged or doubled is found, or no round would mean anything."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.attempts import Attempt
from tests.chaos.judge import Judge, Verdict
from tests.integration.messages import message
from tests.integration.store_under_test import Stored

_HEADER = b"Delivered-To: r0@example.com\r\nReceived: from client\r\n\tby example.com\r\n"
_KEY = "0123456789abcdef0123456789abcdef"
_YES = f"250 2.0.0 OK: queued as {_KEY}"
_NO = "451 4.3.0 no"
_TOKEN = "s1-0-1-1"


def attempt(reply: str = _YES, token: str = _TOKEN, *, whole: bool = True) -> Attempt:
    return Attempt(token.rpartition("-")[0], token, ["r0", "r1"], is_whole=whole, reply=reply)


def copy(recipient: str, token: str = _TOKEN, key: str = _KEY) -> Stored:
    return Stored(key, recipient and f"{recipient}@example.com", _HEADER + message(token))


def judge(attempts: list[Attempt], stored: list[Stored], *, quiet: bool = False) -> Verdict:
    return Judge(attempts, "s1-", is_quiet=quiet).judge(stored)


class JudgeTests(SynchronousTestCase):
    def test_all_is_well(self) -> None:
        verdict = judge([attempt()], [copy("r0"), copy("r1", key="another")], quiet=True)
        self.assertFalse(verdict.is_bad)
        self.assertEqual((verdict.sent, verdict.acknowledged), (1, 1))

    def test_one_copy_for_all(self) -> None:
        self.assertFalse(judge([attempt()], [copy("")]).is_bad)

    def test_lost(self) -> None:
        self.assertEqual(len(judge([attempt()], []).lost), 1)

    def test_lost_for_one_recipient(self) -> None:
        self.assertEqual(len(judge([attempt()], [copy("r0")]).lost), 1)

    def test_doubled(self) -> None:
        copies = [copy("r0"), copy("r1"), copy("r1")]
        self.assertEqual(judge([attempt()], copies).doubled, [_TOKEN])

    def test_damaged(self) -> None:
        """Then it is not there either."""
        cut = copy("")._replace(octets=_HEADER + message(_TOKEN)[:-1])
        verdict = judge([attempt()], [cut])
        self.assertIn("damaged", verdict.wrong[0])
        self.assertEqual(len(verdict.lost), 1)

    def test_mixed(self) -> None:
        """A header without an end, and the message of somebody else."""
        mixed = Stored(_KEY, "", b"Delivered-To: r0@example.com\r\n" + message(_TOKEN))
        self.assertIn("damaged", judge([attempt()], [mixed]).wrong[0])

    def test_refused_is_not_required(self) -> None:
        verdict = judge([attempt(_NO)], [])
        self.assertFalse(verdict.is_bad)
        self.assertEqual(verdict.refused, 1)

    def test_leftover(self) -> None:
        """The client was not told that it is stored, and has sent it again."""
        again = attempt(token="s1-0-1-2")
        verdict = judge([attempt(_NO), again], [copy(""), copy("", again.token)])
        self.assertFalse(verdict.is_bad)
        self.assertEqual((verdict.leftovers, verdict.again), ({_NO: 1}, 1))

    def test_leftover_without_a_fault(self) -> None:
        self.assertTrue(judge([attempt(_NO)], [copy("")], quiet=True).is_bad)

    def test_not_sent_whole(self) -> None:
        verdict = judge([attempt("", whole=False)], [copy("")])
        self.assertIn("was not sent whole", verdict.wrong[0])

    def test_refused_for_good(self) -> None:
        self.assertTrue(judge([attempt("550 5.1.1 no")], []).is_bad)

    def test_nobodys(self) -> None:
        self.assertIn("nobody has sent", judge([], [copy("")]).wrong[0])

    def test_of_an_earlier_round(self) -> None:
        self.assertFalse(judge([], [copy("", "s0-0-1-1")]).is_bad)

    def test_under_another_key(self) -> None:
        self.assertTrue(judge([attempt()], [copy("", key="f" * 32)]).is_bad)
