"""Results: what a chain may answer, and the answers that everybody needs."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from guerrilla_tw.backends import results
from guerrilla_tw.backends.results import (
    NO_SUCH_USER,
    QUOTA_EXCEEDED,
    RECIPIENT_OK,
    USER_SUSPENDED,
    RecipientResults,
    Result,
    queued,
)
from guerrilla_tw.interfaces import IRecipientResults, IResult


class ResultTests(SynchronousTestCase):
    def test_interface(self) -> None:
        verifyClass(IResult, Result)
        verifyObject(IResult, Result(250, "2.0.0", "OK"))

    def test_code_and_enhanced_code_are_of_one_class(self) -> None:
        for code, enhanced in [(250, "2.0.0"), (451, "4.3.0"), (550, "5.1.1"), (554, "5.999.999")]:
            result = Result(code, enhanced, "text")
            self.assertEqual((result.code, result.enhanced), (code, enhanced))
        for code, enhanced in [
            (250, "4.0.0"),
            (550, "4.1.1"),
            (354, "3.0.0"),
            (99, "2.0.0"),
            (600, "6.0.0"),
            (250, ""),
            (250, "2.0"),
            (250, "2.0.0 "),
            (250, "2.0.0\n"),
            (250, "2.0.1000"),
            (250, "2.0.\N{ARABIC-INDIC DIGIT ZERO}"),
        ]:
            error = self.assertRaises(ValueError, Result, code, enhanced, "text")
            self.assertEqual(str(error), f"not a result: {code!r} {enhanced!r}")

    def test_closing_the_connection_is_not_for_a_processor(self) -> None:
        self.assertRaises(ValueError, Result, 421, "4.3.2", "go away")

    def test_text_cannot_add_a_line_or_leave_ascii(self) -> None:
        result = Result(550, "5.7.1", "no\r\n250 2.0.0 yes\0\x7f\N{SNOWMAN} ~")
        self.assertEqual(result.text, "no??250 2.0.0 yes??? ~")

    def test_text_fits_a_reply_line(self) -> None:
        result = Result(550, "5.999.999", "x" * 2000)
        self.assertLessEqual(len(f"550 5.999.999 {result.text}\r\n"), 512)
        self.assertEqual(Result(550, "5.7.1", "x" * 450).text, "x" * 450)

    def test_what_was_checked_stays_so(self) -> None:
        result = Result(250, "2.0.0", "OK")
        with self.assertRaises(AttributeError):
            result.code = 354  # type: ignore[misc]

    def test_queued_names_the_id(self) -> None:
        self.assertEqual(queued("abc123"), Result(250, "2.0.0", "OK: queued as abc123"))


class PromisedReplies(SynchronousTestCase):
    """Each case has the code that is promised for it, and a text to read."""

    def test_codes(self) -> None:
        for result, code, enhanced in [
            (results.RECIPIENT_OK, 250, "2.1.5"),
            (results.NO_SUCH_USER, 550, "5.1.1"),
            (results.USER_SUSPENDED, 550, "5.2.1"),
            (results.QUOTA_EXCEEDED, 452, "4.2.2"),
            (results.STORE_UNAVAILABLE, 451, "4.3.0"),
            (results.TOO_LARGE_FOR_STORE, 552, "5.3.4"),
            (results.PROCESSING_FAILED, 451, "4.3.0"),
            (results.TIMED_OUT, 451, "4.3.0"),
            (results.NOT_RUNNING, 451, "4.3.0"),
            (results.FULL, 451, "4.3.1"),
        ]:
            self.assertEqual((result.code, result.enhanced), (code, enhanced), result)
            self.assertTrue(result.text)


class RecipientResultsTests(SynchronousTestCase):
    def test_interface(self) -> None:
        verifyObject(IRecipientResults, RecipientResults([RECIPIENT_OK]))

    def test_as_a_whole_it_is_the_worst(self) -> None:
        for answers, worst in (
            ([RECIPIENT_OK, NO_SUCH_USER, QUOTA_EXCEEDED], QUOTA_EXCEEDED),
            ([RECIPIENT_OK, NO_SUCH_USER, USER_SUSPENDED], NO_SUCH_USER),
            ([RECIPIENT_OK, queued("q")], RECIPIENT_OK),
        ):
            whole = RecipientResults(answers)
            self.assertEqual(
                (whole.code, whole.enhanced, whole.text), (worst.code, worst.enhanced, worst.text)
            )
            self.assertEqual(whole.recipients, tuple(answers))
