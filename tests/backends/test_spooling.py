"""The spool between clients and a chain: what is kept, when it is tried, what becomes of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends import delivery
from guerrilla_tw.backends.conveyor import Conveyor
from guerrilla_tw.backends.due_names import DueNames
from guerrilla_tw.backends.results import (
    FULL,
    NO_SUCH_USER,
    NOT_RUNNING,
    PROCESSING_FAILED,
    QUOTA_EXCEEDED,
    SPOOL_FULL,
    SPOOL_UNAVAILABLE,
    STORE_UNAVAILABLE,
    RecipientResults,
    Result,
)
from guerrilla_tw.backends.spool_lane import SpoolLane, check_spool
from guerrilla_tw.backends.spooling import Keeper
from guerrilla_tw.backends.verdicts import is_trouble, judge
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.config import ConfigError, convert_settings
from guerrilla_tw.interfaces import IResult, Task
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.spool import schedule
from guerrilla_tw.spool.records import Original
from guerrilla_tw.spool.settings import SpoolConfig
from guerrilla_tw.spool.spool import Spool
from guerrilla_tw.users import SAME_USER, User
from tests.backends.fakes import (
    REFUSED,
    SAVED,
    Events,
    FakeReactor,
    FunctionProcessor,
    SteppedPool,
    make_envelope,
)

T = TypeVar("T")
NOW = 1_800_000_000.0
TIMEOUT = 10.0
GREYLISTED = Result(451, "4.7.1", "come back later")


class InlinePool(WorkerPool):
    """Its threads are as fast as that."""

    def defer(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        return execute(function, *args)


class SpoolTestCase(SynchronousTestCase):
    """A chain whose answers a test chooses, and a spool beside it."""

    mode = "fallback"

    def setUp(self) -> None:
        self.clock = FakeReactor()
        self.clock.advance(NOW)
        self.events = Events()
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(os.path.dirname(self.directory), exist_ok=True)
        # What the chain answers: to the next ones, then to all.
        self.answers: list[Any] = []
        self.answer: Any = SAVED
        self.seen: list[Envelope] = []
        self.lane = self.open()

    def open(self, **settings: object) -> SpoolLane:
        config = convert_settings(
            {"spool_dir": self.directory, "spool_mode": self.mode, "spool_min_free": 1, **settings},
            SpoolConfig,
        )
        chain = FunctionProcessor(self.process)
        log = self.events.logger()

        def conveyor(slots: int) -> Conveyor:
            return Conveyor(
                chain,
                Task.SAVE_MAIL,
                slots=slots,
                timeout=TIMEOUT,
                clock=self.clock,
                log=log,
                spooled=True,
            )

        pool = InlinePool(self.clock, 1, "spool")
        lane = SpoolLane(
            config, pool, conveyor(1), conveyor(2), 2, self.clock, log, self.clock.seconds
        )
        self.successResultOf(lane.open())
        lane.start()
        return lane

    def reopen(self, **settings: object) -> None:
        """As after a restart."""
        self.successResultOf(self.lane.stop())
        self.lane = self.open(**settings)

    def process(self, envelope: Envelope, task: Task) -> Any:
        self.seen.append(envelope)
        answer = self.answers.pop(0) if self.answers else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send(self, *recipients: str, lmtp: bool = False) -> IResult:
        """:returns: what the client is told at once."""
        envelope = make_envelope(*recipients)
        envelope.lmtp = lmtp
        outcome = self.lane.process(envelope)
        return self.successResultOf(outcome) if isinstance(outcome, Deferred) else outcome

    def names(self, directory: str = "queue") -> list[str]:
        return sorted(os.listdir(os.path.join(self.directory, directory)))

    def leave(self, recipient: str, received_at: float) -> None:
        """As another process does that ends."""
        spool = Spool(self.directory, 2**20, 1)
        spool.open()
        spool.write(Original(make_envelope(recipient), received_at)).release()

    def pass_by(self, seconds: float) -> None:
        """Let time go by, a little at once."""
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)

    def told(self, text: str) -> list[str]:
        return [line for line in self.events.texts() if text in line]


class FallbackTests(SpoolTestCase):
    def test_what_is_stored_is_not_spooled(self) -> None:
        self.assertEqual(self.send(), SAVED)
        self.assertEqual(self.names(), [])

    def test_system_trouble(self) -> None:
        for trouble in (
            STORE_UNAVAILABLE,
            PROCESSING_FAILED,
            FULL,
            Result(452, "4.3.1", "no room"),
            Result(450, "4.4.1", "no answer from host"),
            ValueError("a processor that raises"),
        ):
            self.answers = [trouble]
            told = self.send()
            self.assertEqual((told.code, told.enhanced), (250, "2.0.0"))
            self.assertEqual(told.text, f"OK: queued as {self.seen[-1].queued_id}")
        self.assertEqual(len(self.names()), 6)
        self.assertEqual(len(self.told(": spooled: ")), 6)

    def test_what_a_processor_decides(self) -> None:
        for result in (GREYLISTED, QUOTA_EXCEEDED, NO_SUCH_USER, REFUSED, NOT_RUNNING):
            self.answers = [result]
            self.assertEqual(self.send(), result)
        self.assertEqual(self.names(), [])

    def test_delivered_later(self) -> None:
        self.answers = [STORE_UNAVAILABLE]
        self.send("a", "b")
        first = self.seen.pop()
        self.pass_by(2)
        [again] = self.seen
        self.assertIsNot(again, first)
        for name in ("queued_id", "mail_from", "rcpt_to", "data", "received_at", "protocol"):
            self.assertEqual(getattr(again, name), getattr(first, name), name)
        self.assertEqual((again.hashes, again.delivery_header, again.values), ([], "", {}))
        self.assertTrue(again.may_be_stored)
        self.assertFalse(first.may_be_stored)
        self.assertEqual(self.names(), [])
        self.assertEqual(len(self.told("delivered from the spool")), 1)

    def test_what_a_processor_did_to_it(self) -> None:
        """The chain runs again, so it gets what the client sent."""

        def spoil(envelope: Envelope, task: Task) -> IResult:
            envelope.rcpt_to.clear()
            envelope.mail_from = envelope.mail_from
            envelope.body.write(b"footer")
            return STORE_UNAVAILABLE

        process, self.process = self.process, spoil  # type: ignore[method-assign]
        self.reopen()
        self.send("a", "b")
        self.process = process  # type: ignore[method-assign]
        self.reopen()
        self.pass_by(2)
        self.assertEqual([each.user for each in self.seen[-1].rcpt_to], ["a", "b"])
        self.assertEqual(self.seen[-1].data, make_envelope().data)

    def test_backoff(self) -> None:
        self.answer = STORE_UNAVAILABLE
        self.send()
        self.pass_by(60)
        self.assertGreaterEqual(len(self.seen), 4)
        self.assertLessEqual(len(self.seen), 9)

    def test_too_old(self) -> None:
        self.reopen(spool_lifetime="1h")
        self.answer = STORE_UNAVAILABLE
        self.send()
        self.pass_by(3500)
        self.assertEqual((len(self.names()), self.names("dead")), (1, []))
        self.pass_by(150)
        self.assertEqual((self.names(), len(self.names("dead"))), ([], 1))
        [line] = self.told("given up")
        self.assertIn("too old; 451 4.3.0", line)

    def test_refused_for_good_after_a_250(self) -> None:
        self.answers = [STORE_UNAVAILABLE, REFUSED]
        self.send()
        self.pass_by(2)
        self.assertEqual((self.names(), len(self.names("dead"))), ([], 1))
        self.assertIn("554 5.7.1 refused", self.told("given up")[0])

    def test_policy_is_tried_again(self) -> None:
        self.answers = [STORE_UNAVAILABLE, GREYLISTED, QUOTA_EXCEEDED]
        self.send()
        self.pass_by(20)
        self.assertEqual(len(self.seen), 4)
        self.assertEqual(self.names(), [])


class LateTests(SpoolTestCase):
    """Work that does not end in time may still store the message."""

    def setUp(self) -> None:
        super().setUp()
        self.work: Deferred[IResult] = Deferred()
        self.answers = [self.work]
        self.reply = self.lane.process(make_envelope())
        self.clock.advance(TIMEOUT)
        assert isinstance(self.reply, Deferred)
        self.assertEqual(self.successResultOf(self.reply).code, 250)
        self.assertEqual(len(self.names()), 1)

    def test_not_tried_before_its_end(self) -> None:
        self.pass_by(600)
        self.assertEqual(len(self.seen), 1)

    def test_another_process_does_not_try_it_either(self) -> None:
        other = self.open()
        self.pass_by(600)
        self.assertEqual(len(self.seen), 1)
        self.successResultOf(other.stop())

    def test_stored_after_all(self) -> None:
        self.work.callback(SAVED)
        self.assertEqual(self.names(), [])
        self.pass_by(60)
        self.assertEqual(len(self.seen), 1)

    def test_ends_without_success(self) -> None:
        self.work.callback(STORE_UNAVAILABLE)
        self.assertEqual(len(self.names()), 1)
        self.pass_by(10)
        self.assertEqual(len(self.seen), 2)
        self.assertEqual(self.names(), [])

    def test_ends_with_a_refusal(self) -> None:
        self.work.callback(REFUSED)
        self.assertEqual((self.names(), len(self.names("dead"))), ([], 1))


class WaitingTests(SpoolTestCase):
    def test_time_is_up_before_it_was_begun(self) -> None:
        """Nothing is under way, so it can be tried at once."""
        work: Deferred[IResult] = Deferred()
        self.answers = [work]
        self.lane.process(make_envelope())
        waiting = self.lane.process(make_envelope())
        assert isinstance(waiting, Deferred)
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.successResultOf(waiting).code, 250)
        self.pass_by(5)
        self.assertEqual(len(self.seen), 2)
        self.assertEqual(len(self.names()), 1)
        work.callback(SAVED)
        self.assertEqual(self.names(), [])

    def test_client_that_leaves(self) -> None:
        """He will send it again."""
        work: Deferred[IResult] = Deferred()
        self.answers = [work]
        reply = self.lane.process(make_envelope())
        assert isinstance(reply, Deferred)
        reply.cancel()
        self.failureResultOf(reply, CancelledError)
        work.callback(STORE_UNAVAILABLE)
        self.assertEqual(self.names(), [])


class RecipientTests(SpoolTestCase):
    RESULTS = RecipientResults([SAVED, STORE_UNAVAILABLE, NO_SUCH_USER, QUOTA_EXCEEDED])

    def test_lmtp(self) -> None:
        """Only those are spooled whom the system has failed."""
        self.answers = [self.RESULTS]
        told: Any = self.send("a", "b", "c", "d", lmtp=True)
        codes = [result.code for result in told.recipients]
        self.assertEqual(codes, [250, 250, 550, 452])
        self.pass_by(3)
        self.assertEqual([each.user for each in self.seen[-1].rcpt_to], ["b"])

    def test_smtp_has_one_answer(self) -> None:
        """It will come again for all of them, or nobody has it."""
        self.answers = [self.RESULTS]
        self.assertIs(self.send("a", "b", "c", "d"), self.RESULTS)
        self.assertEqual(self.names(), [])

    def test_smtp_where_the_others_have_it(self) -> None:
        self.answers = [RecipientResults([SAVED, STORE_UNAVAILABLE])]
        self.assertEqual(self.send("a", "b").code, 250)
        self.pass_by(3)
        self.assertEqual([each.user for each in self.seen[-1].rcpt_to], ["b"])

    def test_divided_in_the_spool(self) -> None:
        self.answers = [STORE_UNAVAILABLE, self.RESULTS]
        self.send("a", "b", "c", "d")
        self.pass_by(10)
        self.assertEqual([each.user for each in self.seen[-1].rcpt_to], ["b", "d"])
        self.assertEqual((self.names(), len(self.names("dead"))), ([], 1))

    def test_nonsense(self) -> None:
        self.answers = [STORE_UNAVAILABLE, RecipientResults([SAVED, SAVED])]
        self.send("a")
        self.pass_by(10)
        self.assertEqual(len(self.seen), 3)

    def test_verdicts(self) -> None:
        verdict = judge(self.RESULTS, 4)
        self.assertEqual((verdict.done, verdict.again, verdict.never), ([0], [1, 3], [2]))
        self.assertTrue(verdict.is_trouble)
        self.assertFalse(is_trouble(NOT_RUNNING))
        self.assertFalse(is_trouble(SAVED))


class AwayTests(SpoolTestCase):
    def test_one_probes_and_the_rest_wait(self) -> None:
        self.answer = STORE_UNAVAILABLE
        for _ in range(50):
            self.send()
        self.pass_by(10)
        self.seen.clear()
        self.pass_by(60)
        self.assertLessEqual(len(self.seen), 5)
        self.assertGreaterEqual(len(self.seen), 2)
        self.assertEqual(len(self.told("the store does not take messages")), 1)
        self.answer = SAVED
        self.pass_by(45)
        self.assertEqual(self.names(), [])
        self.assertEqual(len(self.told("the store takes messages again")), 1)

    def test_a_clients_message_shows_that_it_is_back(self) -> None:
        self.answer = STORE_UNAVAILABLE
        for _ in range(5):
            self.send()
        self.pass_by(100)
        self.answer = SAVED
        self.send()
        self.pass_by(1)
        self.assertEqual(self.names(), [])

    def test_a_message_that_always_fails(self) -> None:
        """It keeps nobody back."""
        bad = make_envelope("bad")
        self.fail_for_bad()
        self.reopen()
        self.lane.process(bad)
        for _ in range(10):
            self.answers = [STORE_UNAVAILABLE]
            self.send()
        self.pass_by(30)
        self.assertEqual([name[-32:] for name in self.names()], [bad.queued_id])

    def test_many_messages_that_always_fail(self) -> None:
        """Nor do they, although they are the oldest."""
        self.fail_for_bad()
        self.mode = "always"
        self.reopen()
        for _ in range(20):
            self.send("bad")
        for _ in range(60):
            self.send("good")
            self.pass_by(1)
        self.assertGreaterEqual(len(self.seen), 40)
        self.seen.clear()
        # As if they had gathered for days.
        self.reopen()
        for _ in range(60):
            self.send("good")
            self.pass_by(1)
        self.assertGreaterEqual(len(self.seen), 40)

    def fail_for_bad(self) -> None:
        """From now on a processor raises for some messages."""
        process = self.process

        def fail_for_some(envelope: Envelope, task: Task) -> Any:
            if envelope.rcpt_to[0].user == "bad":
                raise ValueError("poison")
            return process(envelope, task)

        self.process = fail_for_some  # type: ignore[method-assign]

    def test_messages_that_always_fail_and_keep_coming(self) -> None:
        """Somebody has found out what a processor raises for, and sends it again and again."""
        self.fail_for_bad()
        self.mode = "always"
        self.reopen()
        for _ in range(60):
            for _ in range(4):
                self.send("bad")
                self.pass_by(2.5)
            self.seen.clear()
            self.send("good")
            self.pass_by(2.5)
            self.assertEqual(len(self.seen), 1)

    def test_they_come_and_one_message_is_in_the_spool(self) -> None:
        self.fail_for_bad()
        self.reopen()
        for number in range(40):
            self.send("bad")
            self.pass_by(0.5)
            if number == 20:
                self.answers = [STORE_UNAVAILABLE]
                self.send("good")
        self.assertEqual(len(self.seen), 2)

    def test_more_that_always_fail_than_are_remembered(self) -> None:
        self.patch(delivery, "_REMEMBERED", 5)
        self.fail_for_bad()
        self.mode = "always"
        self.reopen()
        for _ in range(30):
            self.send("bad")
            self.pass_by(0.5)
        for _ in range(10):
            self.send("good")
            self.pass_by(2)
        self.assertEqual(len(self.seen), 10)

    def test_more_that_always_fail_than_are_found(self) -> None:
        """Nor do they keep back what only the directory knows, as another process has left it."""
        self.patch(delivery, "_REMEMBERED", 5)
        self.patch(schedule, "_SHORT_PAUSE", 5.0)
        self.fail_for_bad()
        self.reopen()
        for number in range(30):
            self.leave("bad", NOW - 100 + number)
        self.pass_by(200)
        for _ in range(8):
            self.leave("good", NOW)
        self.pass_by(60)
        self.assertEqual((len(self.seen), len(self.names())), (8, 30))

    def test_nothing_is_remembered_of_what_is_no_more(self) -> None:
        """Of what is given up, and of what an operator or another process has removed."""
        scan = Spool.scan
        known: list[int] = []

        def note(*args: Any) -> Any:
            # Not the one at the start.
            known.extend(map(len, args[4:]))
            return scan(*args)

        self.patch(Spool, "scan", note)
        self.fail_for_bad()
        self.mode = "always"
        self.reopen(spool_lifetime="1h")
        for _ in range(3):
            self.send("bad")
        self.pass_by(10)
        self.assertEqual(known[-1], 3)
        os.unlink(os.path.join(self.directory, "queue", self.names()[0]))
        self.pass_by(15)
        self.assertEqual(known[-1], 2)
        self.pass_by(3600)
        self.assertEqual((known[-1], self.names(), len(self.names("dead"))), (0, [], 2))

    def test_nothing_is_remembered_of_what_the_store_never_took(self) -> None:
        forgotten: list[str] = []
        self.patch(DueNames, "forget", lambda _, name: forgotten.append(name))
        self.reopen(spool_lifetime="1h")
        self.answer = STORE_UNAVAILABLE
        self.send()
        names = self.names()
        self.pass_by(3600)
        self.assertEqual((self.names("dead"), forgotten), (names, names))

    def test_a_processor_that_raises_whatever_comes(self) -> None:
        """It is not asked for more than ten a second, and has them all when it is mended."""
        self.answer = ValueError("no store")
        for _ in range(50):
            self.send()
        self.seen.clear()
        for _ in range(200):
            self.clock.advance(0.05)
        self.assertLessEqual(len(self.seen), 101)
        self.assertGreaterEqual(len(self.seen), 50)
        self.assertEqual(self.told("the store does not take messages"), [])
        self.answer = SAVED
        self.pass_by(60)
        self.assertEqual(self.names(), [])

    def test_never_more_than_its_slots(self) -> None:
        for _ in range(5):
            self.answers = [STORE_UNAVAILABLE]
            self.send()
        self.seen.clear()
        works: list[Deferred[IResult]] = [Deferred() for _ in range(5)]
        self.answers = list(works)
        self.pass_by(4)
        self.assertLessEqual(len(self.seen), 2)


class DiskTests(SpoolTestCase):
    def test_full_and_broken(self) -> None:
        self.answer = STORE_UNAVAILABLE
        for number, told in ((errno.ENOSPC, SPOOL_FULL), (errno.EIO, SPOOL_UNAVAILABLE)):

            def fail(*_: object, number: int = number) -> None:
                raise OSError(number, os.strerror(number))

            patch = self.patch(os, "fsync", fail)
            self.assertEqual(self.send(), told)
            patch.restore()
        self.assertEqual(self.names(), [])
        self.assertEqual(self.events.failures(), [])

    def test_beyond_max_bytes(self) -> None:
        self.reopen(spool_max_bytes=2000)
        self.answer = STORE_UNAVAILABLE
        codes = [self.send().code for _ in range(3)]
        self.assertEqual(codes, [250, 250, 452])

    def test_delivered_and_not_removable(self) -> None:
        """It is not delivered twice by this process."""
        self.answers = [STORE_UNAVAILABLE]
        self.send()

        def fail(*_: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        patch = self.patch(os, "unlink", fail)
        self.pass_by(60)
        patch.restore()
        self.assertEqual(len(self.seen), 2)
        self.pass_by(60)
        self.assertEqual(len(self.seen), 2)
        self.assertEqual(self.names(), [])

    def test_not_divided_for_want_of_room(self) -> None:
        """Who has the message would get it again each time: that is later and later."""
        self.answers = [STORE_UNAVAILABLE]
        self.answer = RecipientResults([SAVED, STORE_UNAVAILABLE])
        self.send("a", "b")

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch = self.patch(os, "write", fail)
        self.pass_by(1200)
        patch.restore()
        self.assertLessEqual(len(self.seen), 16)
        self.pass_by(600)
        self.answer = SAVED
        self.pass_by(600)
        self.assertEqual([each.user for each in self.seen[-1].rcpt_to], ["b"])
        self.assertEqual(self.names(), [])

    def test_damaged(self) -> None:
        self.answers = [STORE_UNAVAILABLE, STORE_UNAVAILABLE]
        self.send()
        self.send()
        path = os.path.join(self.directory, "queue", self.names()[0])
        os.truncate(path, 100)
        self.pass_by(10)
        self.assertEqual((self.names(), len(self.names("damaged"))), ([], 1))
        [line] = self.told("set aside")
        self.assertIn(os.path.join(self.directory, "damaged"), line)


class LeavingTests(SynchronousTestCase):
    """Clients come faster than the disk writes, and do not wait for it."""

    def setUp(self) -> None:
        self.clock = FakeReactor()
        self.pool = SteppedPool(self.clock, 1, "spool")
        self.directory = os.path.abspath(self.mktemp())
        spool = Spool(self.directory, 2**20, 1)
        spool.open()
        self.keeper = Keeper(spool, self.pool, self.clock, Events().logger())
        self.storage = BodyStorage()
        self.kept: list[Envelope] = []

    def keep(self) -> Deferred[IResult]:
        envelope = make_envelope()
        envelope.body = self.storage.new_body()
        envelope.body.write(b"x" * 1000)
        # Who is told of it has the envelope, as in a spool of everything.
        return self.keeper.keep(
            Original(envelope, NOW), "", 0.0, lambda claim: self.kept.append(envelope)
        )

    def go_on(self) -> None:
        """The disk has done all that there was."""
        for _ in range(self.pool.entered):
            self.pool.step()
        self.successResultOf(self.keeper.outstanding.none())

    def test_nothing_is_kept_for_who_has_left(self) -> None:
        """Else the bodies of any number of clients would wait for the disk."""
        for _ in range(3):
            answer = self.keep()
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
            del answer
        self.assertEqual(self.storage.in_memory, 0)

    def test_nothing_is_kept_for_who_was_told_to_try_again(self) -> None:
        answer = self.keep()
        self.clock.advance(30)
        self.assertEqual(self.successResultOf(answer), SPOOL_UNAVAILABLE)
        self.assertEqual(self.storage.in_memory, 0)

    def test_nothing_is_written_for_who_has_left(self) -> None:
        """It would only be removed again, and others wait for the disk meanwhile."""
        written: list[object] = []
        self.patch(Spool, "write", lambda *args: written.append(args))
        answer = self.keep()
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.go_on()
        self.assertEqual((written, self.kept), ([], []))

    def test_who_waits(self) -> None:
        answers = [self.keep() for _ in range(2)]
        answers[0].addErrback(lambda _: None).cancel()
        self.go_on()
        written = os.listdir(os.path.join(self.directory, "queue"))
        self.assertEqual((len(written), len(self.kept)), (1, 1))
        self.assertEqual(self.successResultOf(answers[1]).code, 250)


class AlwaysTests(SpoolTestCase):
    mode = "always"

    def test_answered_before_the_chain_has_it(self) -> None:
        work: Deferred[IResult] = Deferred()
        self.answers = [work]
        self.assertEqual(self.send().code, 250)
        self.assertEqual(len(self.names()), 1)
        self.assertFalse(self.seen[0].may_be_stored)
        work.callback(SAVED)
        self.assertEqual(self.names(), [])

    def test_refused_for_good(self) -> None:
        self.answer = REFUSED
        self.assertEqual(self.send().code, 250)
        self.assertEqual((self.names(), len(self.names("dead"))), ([], 1))

    def test_second_try(self) -> None:
        self.answers = [STORE_UNAVAILABLE]
        self.send()
        self.pass_by(5)
        self.assertEqual([each.may_be_stored for each in self.seen], [False, True])

    def test_timed_out_and_stored(self) -> None:
        work: Deferred[IResult] = Deferred()
        self.answers = [work]
        self.send()
        self.pass_by(600)
        self.assertEqual(len(self.seen), 1)
        work.callback(SAVED)
        self.assertEqual(self.names(), [])

    def test_stopped(self) -> None:
        """What was begun ends; the rest stays for the next."""
        works: list[Deferred[IResult]] = [Deferred(), Deferred()]
        self.answers = list(works)
        for _ in range(4):
            self.send()
        stopped = self.lane.stop()
        self.assertNoResult(stopped)
        for work in works:
            work.callback(SAVED)
        self.successResultOf(stopped)
        self.successResultOf(self.lane.settled())
        self.assertEqual((len(self.seen), len(self.names())), (2, 2))
        self.reopen()
        self.assertEqual(self.names(), [])
        self.assertEqual([each.may_be_stored for each in self.seen[2:]], [True, True])

    def test_what_others_have_left(self) -> None:
        """It is found although there is always something to do."""
        works: list[Deferred[IResult]] = [Deferred() for _ in range(100)]
        self.answers = list(works)
        for _ in range(5):
            self.send()
        self.leave("left", NOW - 100)
        for work in works[:50]:
            self.send()
            work.callback(SAVED)
            self.pass_by(0.25)
        self.assertIn("left", [each.rcpt_to[0].user for each in self.seen])
        self.assertGreater(len(self.names()), 3)

    def test_another_process_has_tried_it(self) -> None:
        """Whoever has written it does not take it for new then."""
        for noted in (STORE_UNAVAILABLE, NOT_RUNNING):
            # The second stands for a process that was killed: nothing is noted, the lock is gone.
            works: list[Deferred[IResult]] = [Deferred(), Deferred()]
            self.answers = [*works, noted]
            for _ in range(3):
                self.send()
            other = self.open()
            self.assertEqual((len(self.seen), len(self.names())), (3, 3))
            self.successResultOf(other.stop())
            for work in works:
                work.callback(SAVED)
            self.assertEqual((len(self.seen), self.names()), (4, []))
            self.assertTrue(self.seen[3].may_be_stored)
            self.seen.clear()


class CheckTests(SynchronousTestCase):
    def test_whose_it_must_be(self) -> None:
        """Root's is no place for whom root is about to become."""
        if os.geteuid():
            self.skipTest("this is about root")
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory, 0o700)
        settings = SpoolConfig(spool_dir=directory)
        check_spool(settings, SAME_USER)
        error = self.assertRaises(ConfigError, check_spool, settings, User(65534, 65534))
        self.assertEqual(error.path, "backend_config.spool_dir")
        self.assertIn("belongs to user 0, and not to user 65534", str(error))
        os.chown(directory, 65534, 65534)
        check_spool(settings, User(65534, 65534))
        self.assertRaises(ConfigError, check_spool, settings, SAME_USER)
