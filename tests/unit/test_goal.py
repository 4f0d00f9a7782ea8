"""Objectives and limits, as users type them and as levels are judged by them."""

from __future__ import annotations

import pytest

from tuner.errors import UsageError
from tuner.judge.goal import Limit, Objective
from tuner.judge.parse import parse_bound, parse_limit, parse_objective, parse_share


@pytest.mark.parametrize(
    ("text", "metric", "bound"),
    [
        ("p99<=200ms", "latency_p99_ms", 200.0),
        ("p99 <= 0.2 s", "latency_p99_ms", 200.0),
        ("p50<=1500us", "latency_p50_ms", 1.5),
        ("throughput>=100", "throughput_per_s", 100.0),
        ("gpu_memory_peak<=40GB", "gpu_memory_peak_mb", 40_000.0),
    ],
)
def test_a_limit_is_read_in_the_metrics_own_unit(text: str, metric: str, bound: float) -> None:
    limit = parse_limit(text)
    assert limit.metric == metric
    assert limit.bound == pytest.approx(bound)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p99", "METRIC<=BOUND"),
        ("p99<=fast", "not a bound"),
        ("p99<=200 GB", "not a bound"),
        ("p99<=0ms", "above 0"),
        ("p99>=200ms", "smaller is better"),
        ("throughput<=3", "larger is better"),
        ("p98<=3", "p9"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_limit(text)


def test_a_bound_alone_is_enough_for_an_option_that_names_its_metric() -> None:
    assert parse_bound("p99", "200ms") == Limit(metric="latency_p99_ms", bound=200.0)


def test_an_unknown_objective_is_told_the_nearest_ones() -> None:
    assert parse_objective("throughput") == Objective(metric="throughput_per_s")
    with pytest.raises(UsageError, match="throughput_per_s"):
        parse_objective("throughputt")


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("2.5 %", 0.025)])
def test_a_share_is_read_in_per_cent_or_as_it_is(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "0", "100%", "five", "5ms", "-1%"])
def test_what_is_no_share_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a share; .* such as 5%"):
        parse_share(text)
