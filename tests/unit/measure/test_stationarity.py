from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tuner.measure.stationarity import is_stationary, shift, split_warm_up
from tuner.measure.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Loop = Callable[..., Trace]


def noisy(rng: np.random.Generator, batches: int) -> NDArray[np.float64]:
    return rng.lognormal(math.log(10), 0.05, batches)


def test_a_hundred_clean_runs_lose_little_and_are_called_steady(
    loop: Loop, rng: np.random.Generator
) -> None:
    for index in range(100):
        clients = (1, 8, 32)[index % 3]
        trace = loop(noisy(rng, 300), clients)
        steady, discarded_s = split_warm_up(trace)
        assert len(steady.sent_ns) >= len(trace.sent_ns) - 2 * clients
        assert discarded_s < 0.05
        assert is_stationary(steady)


def test_a_stall_at_the_start_is_cut_off(loop: Loop, rng: np.random.Generator) -> None:
    service_ms = noisy(rng, 200)
    service_ms[2] = 3000
    steady, discarded_s = split_warm_up(loop(service_ms, 16))
    assert discarded_s == pytest.approx(3.03, abs=0.15)
    assert steady.latency_ms.max() < 20
    assert len(steady.sent_ns) > 180 * 16


def test_a_server_that_warms_up_is_cut_to_its_steady_part(
    loop: Loop, rng: np.random.Generator
) -> None:
    """Twice as slow at the start, and better by a factor e every 2 s."""
    service_ms = noisy(rng, 2000)
    service_ms *= 1 + np.exp(-np.cumsum(service_ms) / 2000)
    steady, discarded_s = split_warm_up(loop(service_ms, 4))
    assert 3 < discarded_s < 9
    assert is_stationary(steady)
    assert steady.latency_ms.mean() == pytest.approx(10, rel=0.03)


def test_a_warm_up_longer_than_half_of_the_run_is_not_hidden(
    loop: Loop, rng: np.random.Generator
) -> None:
    service_ms = noisy(rng, 1000)
    service_ms[:750] *= 2
    steady, _ = split_warm_up(loop(service_ms, 4))
    change = shift(steady)
    assert change is not None
    assert change.after / change.before == pytest.approx(
        2 if change.what == "throughput" else 0.5, rel=0.1
    )


def test_a_pause_in_the_middle_is_no_warm_up(loop: Loop, rng: np.random.Generator) -> None:
    service_ms = noisy(rng, 1000)
    service_ms[300] = 3000
    steady, discarded_s = split_warm_up(loop(service_ms))
    assert discarded_s < 0.1
    assert len(steady.sent_ns) > 990


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_a_lasting_change_is_found_where_it_happened(
    loop: Loop, rng: np.random.Generator, factor: float
) -> None:
    service_ms = noisy(rng, 1000)
    service_ms[600:] *= factor
    change = shift(loop(service_ms, 8))
    assert change is not None
    assert change.at_s == pytest.approx(6.0, abs=0.4)


def test_a_change_too_small_to_matter_is_none(loop: Loop, rng: np.random.Generator) -> None:
    service_ms = noisy(rng, 20_000)
    service_ms[10_000:] *= 1.02
    assert is_stationary(loop(service_ms))


def test_the_drain_at_the_end_is_cut_off() -> None:
    """One instance, one request at a time: the last of 16 waits alone and is served at once."""
    done = np.arange(1, 401) * 10_000_000
    sent = np.concatenate([np.zeros(16, dtype=np.int64), done[: 400 - 16]])
    steady, discarded_s = split_warm_up(
        Trace(sent_ns=sent, done_ns=done, failed=np.zeros(400, dtype=np.bool_))
    )
    assert steady.done_ns[0] == done[16]
    assert steady.done_ns[-1] <= done[-15]
    assert set(steady.latency_ms.tolist()) == {160.0}
    assert discarded_s == pytest.approx(0.17)


def test_a_run_too_short_to_judge_is_kept_whole(loop: Loop) -> None:
    trace = loop(np.full(2, 10.0), clients=8)
    assert split_warm_up(trace) == (trace, 0.0)
    assert is_stationary(trace)


def test_an_empty_run_stays_empty() -> None:
    empty = np.zeros(0, dtype=np.int64)
    trace = Trace(sent_ns=empty, done_ns=empty, failed=np.zeros(0, dtype=np.bool_))
    assert split_warm_up(trace) == (trace, 0.0)
    assert is_stationary(trace)


def test_a_run_in_which_everything_failed_is_no_error(loop: Loop) -> None:
    trace = loop(np.full(100, 10.0), 4)
    trace.failed[:] = True
    trace.done_ns[:] = trace.sent_ns
    steady, _ = split_warm_up(trace)
    assert steady.failed.all()
    assert is_stationary(steady)
