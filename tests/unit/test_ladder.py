"""The load ladder against services whose throughput curve is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.load.ladder import Level, next_concurrency, room
from tuner.measure.estimate import Estimate
from tuner.measure.measurement import BatchTime

if TYPE_CHECKING:
    from collections.abc import Callable


def estimate(value: float, noise: float = 0.02) -> Estimate:
    return Estimate(value=value, low=value * (1 - noise), high=value * (1 + noise), n_effective=30)


def batched(batch: int) -> Callable[[int], float]:
    """Throughput per s of a batching server of 10 ms + 1 ms a row, by requests in flight."""

    def throughput(concurrency: int) -> float:
        rows = min(batch, max(1, concurrency // 2))
        return rows / (0.010 + 0.001 * rows)

    return throughput


def climb(  # noqa: PLR0913 - one parameter a circumstance
    throughput: Callable[[int], float],
    *,
    busy: int,
    max_concurrency: int = 1024,
    keeps: Callable[[int], bool] = lambda _: True,
    best_so_far: Estimate | None = None,
    noise: float = 0.02,
    thorough: bool = True,
    start: int | None = None,
    room: Callable[[int], float] = lambda _: math.inf,
    limited: bool = False,
) -> list[int]:
    levels: list[Level] = []
    while (
        concurrency := next_concurrency(
            levels,
            busy=busy,
            max_concurrency=max_concurrency,
            thorough=thorough,
            best_so_far=best_so_far,
            start=start,
            limited=limited,
        )
    ) is not None:
        assert concurrency not in [level.concurrency for level in levels]
        levels.append(
            Level(
                concurrency=concurrency,
                throughput=estimate(throughput(concurrency), noise),
                keeps_limits=keeps(concurrency),
                room=room(concurrency),
            )
        )
    return [level.concurrency for level in levels]


def test_a_configuration_is_screened_at_one_request_and_at_saturation() -> None:
    assert climb(batched(8), busy=8, thorough=False) == [1, 16]


def test_a_contender_is_also_measured_where_it_is_just_filled_and_above_saturation() -> None:
    assert climb(batched(8), busy=8) == [1, 16, 8, 32]


def test_a_server_that_gains_nothing_from_load_is_not_driven_beyond_saturation() -> None:
    assert climb(lambda _: 90.0, busy=4) == [1, 8, 4]


def test_a_noisy_gain_is_not_followed() -> None:
    assert climb(lambda c: 100.0 + c, busy=8, noise=0.4) == [1, 16, 8]


def test_a_single_instance_without_batching_is_saturated_by_two() -> None:
    assert climb(lambda c: 90.0 if c == 1 else 91.0, busy=1) == [1, 2]


def test_a_climb_goes_on_while_throughput_surely_grows() -> None:
    assert climb(lambda c: min(c, 64) * 10.0, busy=4) == [1, 8, 4, 16, 32, 64, 128]


def test_a_gain_that_is_sure_but_small_is_not_followed() -> None:
    assert climb(lambda c: 100.0 + c / 10, busy=8, noise=0.0001) == [1, 16, 8]


def test_the_ladder_never_leaves_the_highest_concurrency_allowed() -> None:
    assert climb(lambda c: 10.0 * c, busy=64, max_concurrency=24) == [1, 24]


def test_the_highest_load_that_keeps_the_limits_is_closed_in_on() -> None:
    levels = climb(lambda c: 10.0 * c, busy=8, keeps=lambda c: c <= 11)
    assert levels == [1, 16, 4, 8, 11, 13]


def test_screening_closes_in_on_a_limit_within_a_factor_of_two() -> None:
    levels = climb(lambda c: 10.0 * c, busy=32, keeps=lambda c: c <= 11, thorough=False)
    assert levels == [1, 64, 8, 23, 14]


def test_no_load_is_sought_between_two_levels_of_the_same_throughput() -> None:
    assert climb(lambda _: 90.0, busy=8, keeps=lambda c: c < 16) == [1, 16]


def test_one_request_may_break_a_limit_that_a_full_batch_keeps() -> None:
    assert climb(batched(8), busy=8, keeps=lambda c: c != 1)[:3] == [1, 8, 16]


def test_limits_that_neither_one_nor_a_full_batch_keeps_end_the_ladder() -> None:
    assert climb(batched(8), busy=8, keeps=lambda _: False) == [1, 8]


def test_a_configuration_that_even_doubled_stays_behind_is_given_up() -> None:
    assert climb(batched(8), busy=8, best_so_far=estimate(5000)) == [1, 16]


def test_a_configuration_that_may_still_catch_up_is_not_given_up() -> None:
    assert climb(batched(8), busy=8, best_so_far=estimate(500)) == [1, 16, 8, 32]


BEST = estimate(1000)


def test_room_is_what_instances_that_never_idle_would_yield_with_full_batches() -> None:
    batches = (
        BatchTime(size=4, count=30, compute_ms=20.0),
        BatchTime(size=8, count=10, compute_ms=20.0),
    )
    # Two instances of batches of 8 in 20 ms: 800 rows/s at the most.
    assert room(400.0, batches, instances=2, largest=8) == pytest.approx(2.0)
    assert room(900.0, batches, instances=2, largest=8) == 1.0
    assert room(400.0, (), instances=2, largest=8) == math.inf


def test_a_ladder_begins_where_it_is_expected_to_yield_what_it_can() -> None:
    assert climb(batched(8), busy=8, start=12, thorough=False)[0] == 12


def test_one_level_is_enough_where_even_its_room_leaves_it_behind() -> None:
    assert climb(lambda _: 400.0, busy=8, start=12, room=lambda _: 2.0, best_so_far=BEST) == [12]


def test_room_that_reaches_the_best_keeps_the_ladder_going() -> None:
    levels = climb(lambda _: 400.0, busy=8, start=8, room=lambda _: 2.6, best_so_far=BEST)
    assert levels == [8, 16]


def test_a_level_without_room_is_all_that_a_contender_needs() -> None:
    assert climb(lambda _: 2000.0, busy=8, start=12, room=lambda _: 1.05, best_so_far=BEST) == [12]


def test_without_word_from_the_server_a_ladder_that_starts_somewhere_goes_on_as_any_other() -> (
    None
):
    assert climb(batched(8), busy=8, start=4) == [4, 16, 8, 32]


def test_a_start_is_never_above_twice_what_can_be_worked_on_at_once() -> None:
    assert climb(batched(8), busy=8, start=500, thorough=False) == [16]
    assert climb(batched(8), busy=8, start=500, max_concurrency=12, thorough=False) == [12]


def test_a_start_that_breaks_a_limit_is_halved_and_the_limit_closed_in_on() -> None:
    levels = climb(lambda c: 10.0 * c, busy=8, start=16, keeps=lambda c: c <= 11, limited=True)
    assert levels == [16, 8, 11, 13]


def test_a_start_far_above_a_limit_goes_on_at_one_request() -> None:
    levels = climb(lambda c: 10.0 * c, busy=32, start=64, keeps=lambda c: c <= 11, limited=True)
    assert levels == [64, 32, 1, 6, 14, 9, 11, 12]


def test_a_start_that_keeps_a_limit_is_doubled_not_left_for_saturation() -> None:
    levels = climb(lambda c: 10.0 * c, busy=64, start=8, keeps=lambda c: c <= 11, limited=True)
    assert levels == [8, 16, 11, 13]


@given(
    busy=st.integers(1, 500),
    top=st.integers(1, 2000),
    saturated_at=st.integers(1, 2000),
    kept_until=st.integers(0, 2000),
    noise=st.floats(0, 0.5),
    thorough=st.booleans(),
    start=st.none() | st.integers(1, 2000),
    room_left=st.sampled_from([1.0, 1.5, math.inf]),
    limited=st.booleans(),
)
def test_a_ladder_ends_within_ten_levels_and_its_bounds(  # noqa: PLR0913 - one a circumstance
    *,
    busy: int,
    top: int,
    saturated_at: int,
    kept_until: int,
    noise: float,
    thorough: bool,
    start: int | None,
    room_left: float,
    limited: bool,
) -> None:
    levels = climb(
        lambda c: 10.0 * min(c, saturated_at),
        busy=busy,
        max_concurrency=top,
        keeps=lambda c: c <= kept_until,
        noise=noise,
        thorough=thorough,
        start=start,
        room=lambda _: room_left,
        limited=limited,
    )
    assert 1 <= len(levels) <= 10
    assert all(1 <= level <= top for level in levels)
