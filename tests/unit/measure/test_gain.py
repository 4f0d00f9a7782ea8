from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.measure.estimate import Estimate
from tuner.measure.gain import paired_gain, ratio_gain


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, n_effective=20.0)


def test_what_both_of_a_pair_share_cancels() -> None:
    baseline = [100.0, 80.0, 120.0, 60.0]
    gain = paired_gain([1.38 * value for value in baseline], baseline)
    assert gain.value == pytest.approx(0.38)
    assert gain.high - gain.low == pytest.approx(0, abs=1e-9)


def test_the_interval_is_students_over_the_pairs() -> None:
    gain = paired_gain([math.exp(0.1), math.exp(0.3)], [1.0, 1.0])
    assert math.log1p(gain.value) == pytest.approx(0.2)
    assert math.log1p(gain.high) == pytest.approx(0.2 + 12.7062 * 0.1, rel=1e-5)


def test_equal_configurations_gain_significantly_in_5_pct_of_studies() -> None:
    rng = np.random.default_rng(7)
    false = 0
    for _ in range(1000):
        candidate, baseline = np.exp(0.05 * rng.standard_normal((2, 5)))
        gain = paired_gain(candidate.tolist(), baseline.tolist())
        false += not gain.low <= 0 <= gain.high
    assert 30 <= false <= 75


def test_a_gain_and_its_loss_are_each_others_inverse() -> None:
    there, back = paired_gain([2.0, 2.2], [1.0, 1.0]), paired_gain([1.0, 1.0], [2.0, 2.2])
    assert (1 + there.value) * (1 + back.value) == pytest.approx(1)
    assert (1 + there.low) * (1 + back.high) == pytest.approx(1)


@pytest.mark.parametrize(
    ("candidate", "baseline"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([0.0, 1.0], [1.0, 1.0])]
)
def test_what_has_no_ratio_is_refused(candidate: list[float], baseline: list[float]) -> None:
    with pytest.raises(ValueError, match="got"):
        paired_gain(candidate, baseline)


def test_a_gain_over_an_exact_baseline_keeps_the_candidates_interval() -> None:
    gain = ratio_gain(estimate(138, 131, 145), estimate(100, 100, 100))
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.38, 0.31, 0.45))


def test_two_unsure_sides_are_less_sure_than_one() -> None:
    one = ratio_gain(estimate(100, 95, 105), estimate(100, 100, 100))
    two = ratio_gain(estimate(100, 95, 105), estimate(100, 95, 105))
    assert two.low < one.low < 0 < one.high < two.high
    assert math.log1p(two.high) == pytest.approx(math.hypot(math.log(1.05), math.log(1 / 0.95)))


def test_intervals_that_reach_zero_give_open_gains() -> None:
    gain = ratio_gain(estimate(10, 0, 20), estimate(10, 0, 20))
    assert (gain.low, gain.high) == (-1, math.inf)
    with pytest.raises(ValueError, match="above 0"):
        ratio_gain(estimate(0, 0, 1), estimate(1, 1, 1))
