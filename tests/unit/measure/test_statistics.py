from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import TrialAborted
from tuner.measure.percentiles import requests_needed_for
from tuner.measure.statistics import latency, requests_needed, throughput
from tuner.measure.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    Loop = Callable[..., Trace]


def test_throughput_counts_rows_between_completions(loop: Loop) -> None:
    estimate = throughput(loop(np.full(100, 20.0), clients=4), rows_per_request=3)
    assert estimate.value == pytest.approx(4 * 3 / 0.020)
    assert estimate.low == pytest.approx(estimate.high)


def test_throughput_leaves_failed_requests_out(loop: Loop) -> None:
    trace = loop(np.full(400, 10.0))
    trace.failed[::4] = True
    assert throughput(trace).value == pytest.approx(75, rel=0.01)


def test_throughput_of_a_batch_does_not_depend_on_where_the_run_ends(loop: Loop) -> None:
    """A window of fixed length would see one batch more or fewer: 67 or 77 instead of 72."""
    for batches in range(7, 15):
        assert throughput(loop(np.full(batches, 668.0), 48)).value == pytest.approx(48 / 0.668)


def test_95_pct_intervals_hold_the_truth_in_about_95_pct_of_runs(
    loop: Loop, rng: np.random.Generator
) -> None:
    held = {"throughput": 0, "mean": 0, "p50": 0, "p90": 0}
    z90 = 1.2815516
    for _ in range(400):
        trace = loop(10 * np.exp(0.2 * rng.standard_normal(500)), clients=8)
        times = latency(trace)
        assert times.p50_ms is not None
        assert times.p90_ms is not None
        mean = 10 * np.exp(0.02)
        rate = throughput(trace)
        held["throughput"] += rate.low <= 8000 / mean <= rate.high
        held["mean"] += times.mean_ms.low <= mean <= times.mean_ms.high
        held["p50"] += times.p50_ms.low <= 10 <= times.p50_ms.high
        held["p90"] += times.p90_ms.low <= 10 * np.exp(0.2 * z90) <= times.p90_ms.high
    # Four standard errors of a share of 400: 4.4 %; the seed is fixed.
    assert all(0.91 <= count / 400 <= 0.99 for count in held.values()), held


def test_batch_mates_count_once(loop: Loop, rng: np.random.Generator) -> None:
    service_ms = rng.uniform(8, 12, 3000)
    alone, together = latency(loop(service_ms)).p50_ms, latency(loop(service_ms, 16)).p50_ms
    assert alone is not None
    assert together is not None
    assert together.n_effective <= 3000
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.3)


def test_noise_that_lasts_widens_the_intervals(loop: Loop, rng: np.random.Generator) -> None:
    fresh = rng.standard_normal(4000)
    lasting = fresh.copy()
    for index in range(1, len(lasting)):
        lasting[index] = 0.9 * lasting[index - 1] + np.sqrt(1 - 0.81) * fresh[index]
    short = throughput(loop(10 * np.exp(0.1 * fresh)))
    long = throughput(loop(10 * np.exp(0.1 * lasting)))
    assert long.half_width_relative > 2.5 * short.half_width_relative


def test_a_percentile_is_refused_where_its_upper_bound_does_not_exist(
    loop: Loop, rng: np.random.Generator
) -> None:
    times = latency(loop(rng.uniform(8, 12, 200)))
    assert times.p50_ms is not None
    assert times.p90_ms is not None
    assert times.p99_ms is None
    assert times.p90_rough_ms is None, "a rough value stands only where there is no better one"


def test_a_thousand_requests_in_batches_of_fifty_do_not_give_a_p99(
    loop: Loop, rng: np.random.Generator
) -> None:
    trace = loop(rng.uniform(8, 12, 20), clients=50)
    times = latency(trace)
    assert times.p99_ms is None
    assert times.p99_rough_ms == pytest.approx(np.quantile(trace.latency_ms, 0.99), rel=0.02)
    assert requests_needed(trace, 0.99) > 10_000


def test_the_run_length_asked_for_is_enough(loop: Loop, rng: np.random.Generator) -> None:
    needed = requests_needed(loop(rng.uniform(8, 12, 100), clients=4), 0.99)
    again = loop(rng.uniform(8, 12, int(1.3 * needed / 4)), clients=4)
    assert latency(again).p99_ms is not None


def test_independent_requests_needed_are_those_of_the_binomial() -> None:
    """0.99 ** 368 is the first power of 0.99 below 2.5 %."""
    assert requests_needed_for(0.99, 1000, 1000) == 368
    assert requests_needed_for(0.50, 1000, 1000) == 6
    assert requests_needed_for(0.99, 1000, 100) == 3680


def test_too_few_completions_are_said_to_be_too_few(loop: Loop) -> None:
    with pytest.raises(TrialAborted, match=r"at 2 moments.*Send more requests"):
        throughput(loop(np.full(2, 10.0), clients=64))


def test_a_run_without_answers_is_said_to_have_none() -> None:
    empty = np.zeros(0, dtype=np.int64)
    with pytest.raises(TrialAborted, match="0 answered requests"):
        latency(Trace(sent_ns=empty, done_ns=empty, failed=np.zeros(0, dtype=np.bool_)))


@settings(max_examples=60, deadline=None)
@given(
    service_ms=st.lists(st.integers(1, 5000), min_size=4, max_size=120),
    clients=st.integers(1, 9),
)
def test_any_run_gives_ordered_estimates(loop: Loop, service_ms: list[int], clients: int) -> None:
    trace = loop(np.array(service_ms, dtype=np.float64), clients)
    if len(np.unique(trace.done_ns)) < 3:
        return
    try:
        times = latency(trace)
    except TrialAborted:
        return
    values = [times.p50_ms, times.p90_ms, times.p95_ms, times.p99_ms]
    given_ones = [one.value for one in values if one is not None]
    assert given_ones == sorted(given_ones)
    assert throughput(trace).low >= 0
    assert 1 <= times.mean_ms.n_effective <= len(trace.done_ns)


def test_two_unequal_epochs_still_give_a_spread(loop: Loop) -> None:
    """Cut into equal halves of the requests, both would fall into one slice."""
    estimate = throughput(loop(np.array([1.0, 2.0, 4.0, 1.0])))
    assert estimate.low < estimate.value < estimate.high


def test_noise_that_outlasts_a_slice_is_allowed_for(loop: Loop, rng: np.random.Generator) -> None:
    """Without the correction for slices that resemble their neighbours, 84 % are held."""
    held = 0
    for _ in range(200):
        noise = rng.standard_normal(1500)
        for index in range(1, len(noise)):
            noise[index] = 0.97 * noise[index - 1] + np.sqrt(1 - 0.97**2) * noise[index]
        rate = throughput(loop(10 * np.exp(0.05 * noise)))
        held += rate.low <= 100 / np.exp(0.05**2 / 2) <= rate.high
    assert held / 200 >= 0.90
