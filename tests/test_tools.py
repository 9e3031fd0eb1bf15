"""The developers' scripts: a wrong count would hide a failure."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tools.audit import Report, report
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


class AuditTests(SynchronousTestCase):
    def report(self, *packages: object) -> Report:
        return report(json.dumps({"dependencies": packages, "fixes": []}))

    def test_hole(self) -> None:
        hole = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}
        told = self.report(
            {"name": "bad", "version": "1.0", "vulns": [hole, {**hole, "fix_versions": []}]},
            {"name": "good", "version": "2.0", "vulns": []},
        )
        self.assertEqual(
            told.lines,
            [
                "bad 1.0: PYSEC-1, mended in 1.1",
                "bad 1.0: PYSEC-1, mended in no version yet",
                "audited: 2 packages, known holes: 2",
            ],
        )
        self.assertEqual(told.found, 2)

    def test_nothing_is_known(self) -> None:
        """pip-audit says of it that there are no known vulnerabilities."""
        told = self.report({"name": "a", "skip_reason": "Dependency not found on PyPI"})
        (line,) = told.lines
        self.assertRegex(line, "^NOT AUDITED: 1 of 1 packages.*: a$")
        self.assertEqual(told.found, 0)

    def test_nobody_can_be_asked(self) -> None:
        for answer, last in (
            ("Traceback\n  ...\nConnectionError: no\n", "ConnectionError: no"),
            ("", ""),
        ):
            told = report(answer)
            (line,) = told.lines
            self.assertRegex(line, f"^NOT AUDITED: .*{last}")
            self.assertEqual(told.found, 0)

    def test_hole_beside_what_nothing_is_known_of(self) -> None:
        hole = {"id": "PYSEC-1", "fix_versions": ["1.1"]}
        told = self.report(
            {"name": "a", "skip_reason": "?"}, {"name": "b", "version": "1", "vulns": [hole]}
        )
        self.assertEqual(told.found, 1)
        self.assertEqual(len(told.lines), 3)


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
