"""A seed says what happens."""

from __future__ import annotations

import shlex

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.plan import FAULTS, MAIN_STORES, ROWS, cells, make_plans


class PlanTests(SynchronousTestCase):
    def test_a_round_alone_is_the_same(self) -> None:
        for plan in make_plans(100, 50, MAIN_STORES, FAULTS):
            words = shlex.split(plan.replay)
            options = dict(zip(words[3::2], words[4::2], strict=True))
            (again,) = make_plans(
                int(options["--seed"]), 1, [options["--store"]], [options["--fault"]]
            )
            self.assertEqual(again, plan)

    def test_every_fault_of_every_store(self) -> None:
        every = cells(ROWS, FAULTS)
        plans = list(make_plans(1, len(every), ROWS, FAULTS))
        self.assertEqual({(plan.row, plan.fault) for plan in plans}, set(every))

    def test_what_a_store_does_not_have(self) -> None:
        self.assertRaises(ValueError, list, make_plans(1, 1, ["sqlite"], ["network drops"]))
