from __future__ import annotations

import pytest

from tuner.measure.student import t_quantile, t_tail


@pytest.mark.parametrize(
    ("degrees", "factor"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (8, 2.306), (23, 2.069), (120, 1.980)],
)
def test_quantiles_are_those_of_the_printed_table(degrees: int, factor: float) -> None:
    assert t_quantile(degrees) == pytest.approx(factor, abs=5e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 19, 40])
def test_the_tail_beyond_a_quantile_is_the_tail_asked_for(degrees: int) -> None:
    for tail in (0.5, 0.05, 1e-5):
        assert t_tail(t_quantile(degrees, tail), degrees) == pytest.approx(tail, rel=1e-3)
