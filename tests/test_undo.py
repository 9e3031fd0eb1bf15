"""What has been done, and is undone if what follows fails."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.undo import Undo
from tests.backends.fakes import Events


class UndoTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events = Events()
        self.undo = Undo(self.events.logger())
        self.done: list[str] = []
        self.why = Failure(ValueError("why"))

    def test_the_last_first_and_one_after_the_other(self) -> None:
        waiting: Deferred[None] = Deferred()
        self.undo.add(lambda: self.done.append("first"))
        self.undo.add(lambda: waiting)
        self.undo.add(lambda: self.done.append("last"))
        undone = self.undo.after(self.why)
        self.assertEqual(self.done, ["last"])
        self.assertNoResult(undone)
        waiting.callback(None)
        self.assertEqual(self.done, ["last", "first"])
        self.assertIs(self.failureResultOf(undone).value, self.why.value)

    def test_step_that_fails(self) -> None:
        """It is told, and keeps no other back."""

        def raise_error() -> None:
            raise OSError("at once")

        self.undo.add(lambda: self.done.append("first"))
        self.undo.add(raise_error)
        self.undo.add(lambda: fail(OSError("later")))
        self.assertIs(self.failureResultOf(self.undo.after(self.why)).value, self.why.value)
        self.assertEqual(self.done, ["first"])
        failures = [str(failure.value) for failure in self.events.failures()]
        self.assertEqual(failures, ["later", "at once"])

    def test_nothing(self) -> None:
        self.assertIs(self.failureResultOf(self.undo.after(self.why)).value, self.why.value)
        self.assertEqual(self.events, [])
