"""When a search has found what it will find."""

from __future__ import annotations

import pytest

from tuner.search.patience import NEGLIGIBLE_GAIN, PATIENCE, worth_going_on

LITTLE, MUCH = NEGLIGIBLE_GAIN / 2, NEGLIGIBLE_GAIN * 2


def test_the_search_ends_after_so_many_proposals_in_a_row_that_promise_nothing() -> None:
    assert worth_going_on([MUCH] + [LITTLE] * (PATIENCE - 1))
    assert not worth_going_on([MUCH] + [LITTLE] * PATIENCE)


def test_one_promising_proposal_in_between_starts_the_count_anew() -> None:
    gains = [LITTLE] * (PATIENCE - 1) + [MUCH] + [LITTLE] * (PATIENCE - 1)
    assert worth_going_on(gains)


def test_a_gain_that_nobody_can_tell_always_promises_something() -> None:
    assert worth_going_on([None] * 20)
    assert worth_going_on([LITTLE] * (PATIENCE - 1) + [None])


def test_too_few_proposals_end_nothing() -> None:
    assert worth_going_on([])
    assert worth_going_on([0.0] * (PATIENCE - 1))


@pytest.mark.parametrize("patience", [1, 2, 9])
def test_the_patience_is_the_callers_to_choose(patience: int) -> None:
    assert worth_going_on([MUCH] + [0.0] * (patience - 1), patience=patience)
    assert not worth_going_on([MUCH] + [0.0] * patience, patience=patience)
