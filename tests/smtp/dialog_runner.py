"""Plays a dialog against a session, with its octets cut in every way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.smtp.journal import MOST_REFUSALS, TOO_MANY_CLIENTS
from tests.smtp.dialog import Dialog, Turn, joined_lines, octets
from tests.smtp.dialog_client import Client

Split = Callable[[bytes], Iterable[bytes]]

# More octets than this are not cut into single ones.
_FEW = 16 * 1024
_RANDOM_SPLITS = 4


def play(case: SynchronousTestCase, dialog: Dialog, seed: str) -> None:
    """
    Play a dialog as it is written, then with every segment's octets in one and in other pieces.

    :raises AssertionError: the server did not keep to it, or not each time in the same way.
    """
    first = _play(case, dialog, _whole, as_written=True)
    splits: list[Split] = [_whole, _single, *_random_splits(seed)]
    for split in splits:
        again = _play(case, dialog, split)
        case.assertEqual(first, again, "other pieces, other conversation")


def _play(
    case: SynchronousTestCase, dialog: Dialog, split: Split, as_written: bool = False
) -> list[object]:
    """:returns: all that could be heard and that was stored."""
    client = Client(dialog)
    conversation: list[object] = []
    for segment in dialog.segments:
        client.pass_barrier(segment.barrier)
        for turn in segment.turns if as_written else [segment.joined()]:
            client.deliver(split(turn.said) if turn.said else ())
            heard = client.heard_replies()
            conversation.extend(heard)
            _compare(case, turn, heard)
    client.leave()
    case.assertEqual(client.clock.getDelayedCalls(), [], "a timer was left behind")
    _compare_messages(case, dialog, client.messages)
    _compare_log(case, dialog, client)
    return [*conversation, *client.messages]


def _compare(case: SynchronousTestCase, turn: Turn, heard: list[str]) -> None:
    expected = list(joined_lines(turn.replies))
    seen = [
        wanted if _is_meant(wanted, reply) else reply
        for wanted, reply in zip(expected, heard, strict=False)
    ]
    after = turn.said if len(turn.said) < 200 else turn.said[:200] + b"..."
    case.assertEqual(expected, seen + heard[len(seen) :], f"after {after!r}")


def _compare_messages(
    case: SynchronousTestCase, dialog: Dialog, stored: list[dict[str, bytes]]
) -> None:
    case.assertEqual(dialog.stored, len(stored), f"messages stored: {stored}")
    for expected, message in zip(dialog.messages, stored, strict=False):
        for name, value in expected.items():
            case.assertEqual(octets(value), message[name], name)


def _compare_log(case: SynchronousTestCase, dialog: Dialog, client: Client) -> None:
    log = [formatEvent(event) for event in client.events]
    for text in dialog.logged:
        case.assertTrue(any(text in line for line in log), f"{text!r} is not in the log: {log}")
    if "raise" not in dialog.answers.values():
        failures = [event for event in client.events if event["log_level"] is LogLevel.critical]
        case.assertEqual(failures, [])
    _compare_journal(case, client)


def _compare_journal(case: SynchronousTestCase, client: Client) -> None:
    """Every connection, every message and every refusal, up to a number, has one line."""
    lines: dict[str, list[LogEvent]] = {"connection": [], "message": [], "refusal": []}
    for event in client.events:
        if "event" in event:
            lines[event["event"]].append(event)
    # Of those who are too many only the first has one.
    told = [line for line in lines["connection"] if line["ended"] != TOO_MANY_CLIENTS]
    case.assertEqual(len(told), client.connections)
    refusals = sum(min(line["refusals"], MOST_REFUSALS) for line in lines["connection"])
    case.assertEqual(len(lines["refusal"]), refusals)
    ended = [line["queued_id"] for line in lines["message"]]
    case.assertEqual(len(set(ended)), len(ended))
    saved = {envelope.queued_id for envelope in client.backend.saved}
    case.assertEqual(saved - set(ended), set())


def _is_meant(wanted: str, reply: str) -> bool:
    """:returns: whether a reply is what a dialog says: a code alone, or the beginning of lines."""
    if len(wanted) == 3:
        return reply[:3] == wanted
    if wanted.count("\n") != reply.count("\n"):
        return False
    pairs = zip(wanted.split("\n"), reply.split("\n"), strict=True)
    return all(line == start or line.startswith(start + " ") for start, line in pairs)


def _whole(data: bytes) -> Iterable[bytes]:
    return [data]


def _single(data: bytes) -> Iterable[bytes]:
    size = 1 if len(data) < _FEW else 4093
    return (data[at : at + size] for at in range(0, len(data), size))


def _random_splits(seed: str) -> Iterator[Split]:
    for number in range(_RANDOM_SPLITS):
        chance = random.Random(f"{seed} {number}")

        def split(data: bytes, chance: random.Random = chance) -> Iterator[bytes]:
            at = 0
            while at < len(data):
                # Mostly short pieces, where the content is short; some of any length.
                size = chance.choice((1, 2, 3, 5, 17, 1 + len(data) // 3))
                if len(data) >= _FEW:
                    size *= 1009
                yield data[at : at + size]
                at += size

        yield split
