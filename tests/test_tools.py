"""The developers' scripts: a wrong count would hide a failure."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tools.requirements import requirements
from tools.run_tests import Summary, summarize


class SummarizeTests(SynchronousTestCase):
    def test_success(self) -> None:
        lines = ["tests.test_a ...  [OK]\n", "Ran 9 tests in 0.1s\n", "PASSED (successes=9)\n"]
        self.assertEqual(summarize(lines, 0), Summary(passed=9, failed=0, skipped=0))

    def test_every_kind_is_counted(self) -> None:
        line = (
            "FAILED (skips=1, expectedFailures=2, failures=4, errors=8, unexpectedSuccesses=16, "
            "successes=32)\n"
        )
        self.assertEqual(summarize([line], 1), Summary(passed=32, failed=28, skipped=3))

    def test_unexpected_success_fails_though_trial_passes_it(self) -> None:
        summary = summarize(["PASSED (unexpectedSuccesses=1, successes=2)\n"], 0)
        self.assertEqual(summary, Summary(passed=2, failed=1, skipped=0))

    def test_last_summary_counts(self) -> None:
        """A test may run trial itself, or print the like."""
        lines = ["PASSED (successes=99)\n", "FAILED (failures=1)\n", "PASSED: not a summary\n"]
        self.assertEqual(summarize(lines, 1), Summary(passed=0, failed=1, skipped=0))

    def test_no_tests(self) -> None:
        self.assertEqual(summarize(["PASSED\n"], 0), Summary(passed=0, failed=0, skipped=0))

    def test_killed_before_its_summary(self) -> None:
        lines = ["tests.test_a ...  [OK]\n"]
        self.assertEqual(summarize(lines, -9), Summary(passed=0, failed=1, skipped=0))

    def test_failing_status_is_a_failure_whatever_the_lines_say(self) -> None:
        summary = summarize(["PASSED (successes=9)\n"], 1)
        self.assertEqual(summary, Summary(passed=9, failed=1, skipped=0))

    def test_line(self) -> None:
        summary = Summary(passed=3, failed=2, skipped=1)
        self.assertEqual(str(summary), "3 passed, 2 failed, 1 skipped")


class RequirementsTests(SynchronousTestCase):
    def test_package_and_extras_each_once(self) -> None:
        setup_cfg = (
            "[options]\ninstall_requires =\n    Twisted>=23.10\n    msgspec\n"
            "[options.extras_require]\nredis =\n    txredisapi\n"
            "# a comment\ndev =\n    ruff\n    msgspec\n"
        )
        self.assertEqual(
            requirements(setup_cfg), ["Twisted>=23.10", "msgspec", "txredisapi", "ruff"]
        )
        self.assertEqual(
            requirements(setup_cfg, without=["dev"]), ["Twisted>=23.10", "msgspec", "txredisapi"]
        )
