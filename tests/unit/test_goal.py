"""Objectives and limits, as users type them and as levels are judged by them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import report_studies as studies

from tuner.errors import UsageError
from tuner.judge.goal import Limit, Objective, strictest
from tuner.judge.parse import (
    parse_bound,
    parse_limit,
    parse_objective,
    parse_objectives,
    parse_share,
    parse_time,
)
from tuner.judge.rank import missed


@pytest.mark.parametrize(
    ("text", "metric", "bound"),
    [
        ("p99<=200ms", "latency_p99_ms", 200.0),
        ("p99 <= 0.2 s", "latency_p99_ms", 200.0),
        ("p50<=1500us", "latency_p50_ms", 1.5),
        ("throughput>=100", "throughput_per_s", 100.0),
        ("errors<=0", "errors", 0.0),
        ("queue <= 0ms", "queue_ms", 0.0),
        ("gpu_memory_peak<=40GB", "gpu_memory_peak_mb", 40_000.0),
        ("gpu_memory_peak<=40960", "gpu_memory_peak_mb", 40_960.0),
        ("gpu_memory_peak <= 2 GiB", "gpu_memory_peak_mb", 2147.483648),
        ("throughput>=100/s", "throughput_per_s", 100.0),
        ("throughput >= 100 infer/s", "throughput_per_s", 100.0),
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
        ("p99<=0ms", "cannot be kept; it must be above 0"),
        ("throughput>=0", "always kept; it must be above 0"),
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


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("15m", 900.0), ("15 min", 900.0), ("1.5h", 5400.0)]
)
def test_a_length_of_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_time(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["15", "0m", "soon", "15 days", "-2h"])
def test_what_is_no_length_of_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"no length of time; .* 15m"):
        parse_time(text)


def test_the_first_of_two_objectives_decides() -> None:
    first, second = parse_objectives(["p99", "throughput"])
    assert (first.metric, second.metric) == ("latency_p99_ms", "throughput_per_s")


@pytest.mark.parametrize(
    ("texts", "said"),
    [(["p99", "latency"], "twice"), (["p99", "p95", "throughput"], "3 objectives")],
)
def test_a_front_has_two_different_objectives(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_objectives(texts)


def test_a_percentile_that_could_not_be_bounded_is_hinted_at_by_the_next_one_below() -> None:
    level = studies.level(1, 10.0, None)
    p99 = Objective(metric="latency_p99_ms")
    assert p99.read(level) is None
    assert level.latency.p95_ms is not None
    assert p99.hint(level) == level.latency.p95_ms.value
    assert Objective(metric="gpu_power_w").hint(studies.level(1, 10.0, None, gpu=False)) is None


def test_a_limit_on_a_percentile_that_could_not_be_bounded_is_judged_by_the_rough_one() -> None:
    limit = Limit(metric="latency_p99_ms", bound=200.0)
    unknown, bounded = studies.level(1, 10.0, None), studies.level(1, 10.0, 150.0)
    rough = studies.level(1, 10.0, None, rough_p99_ms=300.0)
    assert [limit.violation(level) for level in (unknown, bounded, rough)] == [None, -0.25, 0.5]
    assert [limit.is_rough(level) for level in (unknown, bounded, rough)] == [False, False, True]
    assert Objective(metric="latency_p99_ms").hint(rough) == 300.0


def test_limits_that_are_not_kept_come_with_how_far_they_are_missed() -> None:
    level = studies.level(1, 10.0, 300.0, gpu=False)
    power = Limit(metric="gpu_power_w", bound=300.0)
    p99 = Limit(metric="latency_p99_ms", bound=200.0)
    throughput = Limit(metric="throughput_per_s", bound=5.0)
    assert missed(level, (p99, throughput, power)) == ((power, None), (p99, 0.5))


def test_a_limit_of_0_is_kept_by_0_and_missed_by_the_value_itself() -> None:
    none = Limit(metric="errors", bound=0.0)
    level = studies.level(1, 10.0, 300.0)
    assert none.violation(replace(level, errors=0)) == 0.0
    assert none.violation(replace(level, errors=3)) == 3.0
    assert missed(replace(level, errors=0), (none,)) == ()


def test_of_several_limits_on_a_metric_the_strictest_counts() -> None:
    texts = ["p99<=200ms", "throughput>=50", "p99<=100ms", "throughput>=20", "p50<=10ms"]
    assert [limit.describe() for limit in strictest(map(parse_limit, texts))] == [
        "p99 Latency (ms) <= 100",
        "Throughput (infer/sec) >= 50",
        "p50 Latency (ms) <= 10",
    ]
