"""Two objectives: what is on the front, and how a search looks along it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import report_studies as studies
from hypothesis import given
from hypothesis import strategies as st

from tuner.judge.front import FIRST_WEIGHTS, ideal, looked_at, pareto_front
from tuner.judge.goal import Limit, Objective
from tuner.measure.estimate import Estimate
from tuner.measure.record import Rejected
from tuner.study.history import first_weight, seen_along_front

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.judge.front import Point
    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord

THROUGHPUT = Objective(metric="throughput_per_s")
P99 = Objective(metric="latency_p99_ms")
BOTH = (THROUGHPUT, P99)


def level(throughput_per_s: float, p99_ms: float | None, *, noise: float = 0.0) -> Measurement:
    """A load level whose two numbers have intervals of that relative half-width."""
    found = studies.level(8, throughput_per_s, p99_ms)
    tail = None if p99_ms is None else studies.estimate(p99_ms, noise)
    return replace(
        found,
        throughput_per_s=studies.estimate(throughput_per_s, noise),
        latency=replace(found.latency, p99_ms=tail),
    )


def trials(*configurations: Sequence[Measurement]) -> list[TrialRecord]:
    return [studies.trial(n, levels) for n, levels in enumerate(configurations)]


def on_front(records: Sequence[TrialRecord], limits: Sequence[Limit] = ()) -> list[int]:
    return [point.record.number for point in pareto_front(records, BOTH, limits)]


def test_what_is_worse_in_both_is_not_on_the_front() -> None:
    records = trials([level(100, 50)], [level(200, 80)], [level(90, 60)], [level(100, 50)])
    assert on_front(records) == [1, 0, 3]


def test_every_level_of_a_configuration_is_a_point_of_its_own() -> None:
    records = trials([level(50, 10), level(90, 30)], [level(60, 20), level(80, 40)])
    front = pareto_front(records, BOTH, ())
    assert [(p.record.number, p.scores[0]) for p in front] == [(0, 90), (1, 60), (0, 50)]


def test_a_level_that_misses_a_limit_or_lacks_a_number_is_no_point() -> None:
    records = trials([level(300, 500)], [level(400, None)], [level(100, 50)])
    assert on_front(records, [Limit(metric="latency_p99_ms", bound=100.0)]) == [2]
    refused = studies.trial(5, Rejected(reason="Out of memory.", evidence=""))
    assert on_front([refused]) == []


def test_a_difference_within_the_noise_keeps_nothing_that_is_clearly_worse_otherwise() -> None:
    records = trials([level(200, 50.5, noise=0.02)], [level(100, 50.0, noise=0.02)])
    assert on_front(records) == [0]
    apart = trials([level(200, 60, noise=0.02)], [level(100, 50, noise=0.02)])
    assert on_front(apart) == [0, 1]


def test_two_that_cannot_be_told_apart_in_either_objective_both_stay() -> None:
    records = trials([level(101, 50.5, noise=0.02)], [level(100, 50.0, noise=0.02)])
    assert on_front(records) == [0, 1]


def test_the_end_of_the_front_is_not_eaten_away_step_by_step_within_the_noise() -> None:
    """Each beats the next one within the noise of p99, but the first is clearly slower."""
    steps = [level(100 / 1.5**n, 50 / 1.03**n, noise=0.02) for n in range(5)]
    kept = on_front(trials(*[[step] for step in steps]))
    assert kept == [0, 2, 4]


@given(
    st.lists(
        st.tuples(st.floats(1, 1000), st.floats(1, 1000), st.floats(0, 0.5)),
        min_size=1,
        max_size=12,
    )
)
def test_there_is_always_a_front_and_what_is_not_on_it_is_beaten_by_it(
    points: list[tuple[float, float, float]],
) -> None:
    records = trials(*[[level(a, b, noise=c)] for a, b, c in points])
    front = pareto_front(records, BOTH, ())
    kept = {point.record.number for point in front}
    assert kept
    for record in records:
        if record.number not in kept:
            (alone,) = pareto_front([record], BOTH, ())
            assert any(_makes_superfluous(point, alone) for point in front)


def _makes_superfluous(this: Point, other: Point) -> bool:
    both = list(zip(this.scores, other.scores, strict=True))
    surely_better = any(a > b for a, b in zip(this.low, other.high, strict=True))
    surely_worse = any(a < b for a, b in zip(this.high, other.low, strict=True))
    return all(a >= b for a, b in both) or (surely_better and not surely_worse)


def test_the_ideal_is_the_best_of_each_and_is_reached_at_no_distance() -> None:
    levels = [level(100, 10), level(200, 40)]
    best = ideal(levels, BOTH)
    assert best == pytest.approx((math.log(200), -math.log(10)))
    assert looked_at([level(200, 10)], BOTH, ideal=best or (0, 0), first_weight=0.5) == 0
    assert ideal([], BOTH) is None


@pytest.mark.parametrize(("weight", "nearest"), [(0.9, 200), (0.1, 100)])
def test_the_weight_says_which_end_of_the_front_is_nearer(weight: float, nearest: float) -> None:
    levels = [level(100, 10), level(200, 40)]
    best = ideal(levels, BOTH)
    assert best is not None
    distances = {
        one.throughput_per_s.value: looked_at([one], BOTH, ideal=best, first_weight=weight)
        for one in levels
    }
    assert min(distances, key=lambda key: distances[key] or 0.0) == nearest


def test_ten_per_cent_short_in_what_counts_most_is_about_a_tenth() -> None:
    best = (math.log(100), -math.log(10))
    short = looked_at([level(100 / math.exp(0.1), 10)], BOTH, ideal=best, first_weight=0.9)
    assert short == pytest.approx(0.1, rel=0.06)


def test_weights_come_in_turn_and_reach_both_ends() -> None:
    turns = [first_weight(told) for told in range(2 * len(FIRST_WEIGHTS))]
    assert turns == [*FIRST_WEIGHTS, *FIRST_WEIGHTS]
    assert min(turns) < 0.2
    assert max(turns) > 0.8


def test_a_proposer_is_told_of_each_configurations_best_point_in_one_direction() -> None:
    records = trials([level(100, 10), level(110, 60)], [level(200, 40)])
    fast = seen_along_front(records, BOTH, (), 0.9)
    quick = seen_along_front(records, BOTH, (), 0.1)
    assert [one.value is not None and one.value > 0 for one in fast] == [True, True]
    assert [one.value is not None and one.value < 0 for one in quick] == [True, True]
    assert (fast[1].value or 0) > (fast[0].value or 0)
    assert (quick[0].value or 0) > (quick[1].value or 0)


def test_a_percentile_that_was_not_bounded_still_tells_the_search_where_to_look() -> None:
    records = trials([level(100, None)], [level(200, 40)])
    unbounded, _ = seen_along_front(records, BOTH, (), 0.5)
    assert unbounded.value is not None
    assert on_front(records) == [1]


def test_a_configuration_that_cannot_serve_has_no_value() -> None:
    refused = studies.trial(1, Rejected(reason="Out of memory.", evidence=""))
    first, second = seen_along_front([*trials([level(100, 10)]), refused], BOTH, (), 0.5)
    assert first.value is not None
    assert (second.value, second.rejected) == (None, True)


def test_points_without_an_interval_count_as_exact() -> None:
    plain = level(100, 10)
    exact = Estimate(value=100, low=100, high=100, n_effective=1)
    memory = Objective(metric="gpu_memory_peak_mb")
    records = trials([replace(plain, throughput_per_s=exact)])
    (point,) = pareto_front(records, (THROUGHPUT, memory), ())
    assert point.low == point.high == point.scores


def test_only_levels_that_keep_the_limits_count_in_any_direction() -> None:
    limits = (Limit(metric="latency_p99_ms", bound=50.0),)
    records = trials([level(100, 10), level(900, 900)], [level(200, 40)])
    slow, fast = seen_along_front(records, BOTH, limits, 0.9)
    assert (slow.violation, fast.violation) == (0, 0)
    assert (fast.value or 0) > (slow.value or 0)
