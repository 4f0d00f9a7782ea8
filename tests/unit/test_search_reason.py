"""The words that a proposal comes with."""

from __future__ import annotations

import math

import pytest

from tuner.search.reason import reason

OF_WHAT_IS_LEFT = "likeliest to win of what is left"


@pytest.mark.parametrize(
    ("ratio", "gain", "said"),
    [
        (36.31, 30.0, "predicts 36.3x the best so far; most likely improvement"),
        (1.554, 0.5, "predicts +55% against the best so far; most likely improvement"),
        (1.001, 0.01, "predicts as much as the best so far; most likely improvement"),
        (0.999, 0.01, "predicts as much as the best so far, give or take 2%; may still win"),
        (0.9, 0.01, "predicts -10% against the best so far, give or take 2%; may still win"),
        (0.999, 0.0, f"predicts as much as the best so far, give or take 2%; {OF_WHAT_IS_LEFT}"),
    ],
)
def test_a_proposal_says_what_it_promises(ratio: float, gain: float, said: str) -> None:
    assert reason(math.log(ratio), math.log(1.02), gain) == said
