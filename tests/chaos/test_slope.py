"""A trend is seen where there is one, and only there."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.slope import Allowance, judge, slope


class SlopeTests(SynchronousTestCase):
    def test_straight(self) -> None:
        self.assertAlmostEqual(slope([(second, 3.0 * second) for second in range(20)]), 3.0)

    def test_a_peak_is_no_trend(self) -> None:
        points = [(float(second), 1000.0 if second > 95 else 5.0) for second in range(100)]
        self.assertEqual(slope(points), 0.0)

    def test_noise_is_no_trend(self) -> None:
        chance = random.Random(1)
        points = [(float(second), chance.gauss(100, 3)) for second in range(0, 3000, 10)]
        self.assertTrue(judge(points, Allowance(0.03, 0.0)).is_flat)

    def test_what_grows_beneath_noise(self) -> None:
        """By a tenth in all."""
        chance = random.Random(1)
        points = [
            (float(second), chance.gauss(100, 3) + second / 300) for second in range(0, 3000, 10)
        ]
        trend = judge(points, Allowance(0.03, 0.0))
        self.assertFalse(trend.is_flat)
        self.assertLess(abs(trend.growth - 10), 2)

    def test_what_shrinks(self) -> None:
        points = [(float(second), 100.0 - second) for second in range(50)]
        self.assertTrue(judge(points, Allowance(0.0, 0.0)).is_flat)
