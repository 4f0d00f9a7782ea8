from __future__ import annotations

import pytest

from tuner.measure.estimate import Estimate
from tuner.report import numbers


def _estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, n_effective=30)


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (812.34, 790.1, 834.2, "812 infer/s (790 to 834)"),
        (812.34, 812.31, 812.37, "812.340 infer/s (812.310 to 812.370)"),
        (8123.4, 7800.0, 8600.0, "8120 infer/s (7800 to 8600)"),
        (0.0412, 0.0401, 0.0423, "0.0412 infer/s (0.0401 to 0.0423)"),
        (5.0, 5.0, 5.0, "5.000 infer/s (5.000 to 5.000)"),
    ],
)
def test_digits_follow_the_width_of_the_interval(
    value: float, low: float, high: float, shown: str
) -> None:
    assert numbers.number(_estimate(value, low, high), "infer/s") == shown


def test_what_was_not_measured_is_a_dash_and_never_zero() -> None:
    assert numbers.number(None, "ms") == numbers.MISSING
    assert numbers.cell(None) == numbers.Cell(text=numbers.MISSING, value=None)


def test_a_cell_keeps_the_whole_number_behind_the_rounded_one() -> None:
    shown = numbers.cell(_estimate(812.34, 790.1, 834.2))

    assert (shown.text, shown.interval) == ("812", "790 to 834")
    assert (shown.value, shown.low, shown.high) == (812.34, 790.1, 834.2)


@pytest.mark.parametrize(
    ("gain", "shown"),
    [
        (_estimate(0.38, 0.31, 0.45), "+38 % (+31 to +45 %)"),
        (_estimate(-0.04, -0.0421, -0.0379), "-4.0 % (-4.2 to -3.8 %)"),
        (_estimate(2.1, 1.9, 2.3), "3.10x (2.90 to 3.30x)"),
        (_estimate(33.9, 32.4, 35.4), "34.9x (33.4 to 36.4x)"),
    ],
)
def test_a_gain_is_per_cent_until_it_doubles_and_a_factor_from_there(
    gain: Estimate, shown: str
) -> None:
    assert numbers.both(numbers.gain(gain)) == shown


def test_a_narrow_place_gets_the_larger_side_of_the_interval() -> None:
    assert numbers.brief(numbers.cell(_estimate(812, 790, 840))) == "812 ±4%"
    assert numbers.brief(numbers.gain(_estimate(0.38, 0.31, 0.45))) == "+38 ±7 %"
    assert numbers.brief(numbers.words("Enabled")) == "Enabled"
    refused = numbers.Cell(text=f"{numbers.MISSING} (p50 1855.1)", note="too few requests")
    assert numbers.brief(refused) == refused.text
    assert numbers.briefest(refused) == numbers.MISSING
    assert numbers.briefest(numbers.gain(_estimate(0.38, 0.31, 0.45))) == "+38 ±7 %"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(7397.975, "7398"), (0.06, "0.060"), (28.281, "28.28"), (3.0, "3"), (2e-5, "0.000020")],
)
def test_a_number_without_an_interval_shows_four_digits(value: float, shown: str) -> None:
    assert numbers.plain(value) == shown
