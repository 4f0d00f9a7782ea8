"""Instances that finish together: what a run counts must not depend on where it begins."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.measure.checks import caveats, littles_law
from tuner.measure.measurement import ClosedLoop, Workload
from tuner.measure.statistics import latency, throughput
from tuner.measure.trace import Trace

ROUND_S = 2.0
BATCH, INSTANCES = 128, 3


def in_phase(rounds: int, rng: np.random.Generator) -> Trace:
    """Three instances whose batches begin together and end within a tenth of a second."""
    starts = np.repeat(np.arange(rounds) * ROUND_S, BATCH * INSTANCES)
    ends = np.concatenate(
        [
            (number + 1) * ROUND_S - np.repeat(rng.uniform(0, 0.1, INSTANCES), BATCH)
            for number in range(rounds)
        ]
    )
    ends = ends + np.tile(np.arange(BATCH) * 1e-6, rounds * INSTANCES)
    return Trace(
        sent_ns=(starts * 1e9).astype(np.int64),
        done_ns=(ends * 1e9).astype(np.int64),
        failed=np.zeros(len(ends), dtype=np.bool_),
    )


@pytest.mark.parametrize("rounds", [8, 12, 30])
def test_a_burst_at_the_edge_of_a_short_run_does_not_raise_the_throughput(
    rounds: int, rng: np.random.Generator
) -> None:
    """Counted by completions, eight rounds came to 9 % too much."""
    estimate = throughput(in_phase(rounds, rng))
    assert estimate.value == pytest.approx(BATCH * INSTANCES / ROUND_S, rel=0.03)


@pytest.mark.parametrize("rounds", [3, 4, 6])
def test_a_few_rounds_of_a_known_load_tell_the_throughput(
    rounds: int, rng: np.random.Generator
) -> None:
    """Counted by completions, four rounds came to a third too much, give or take everything."""
    clients = BATCH * INSTANCES
    estimate = throughput(in_phase(rounds, rng), in_flight=clients)
    assert estimate.value == pytest.approx(clients / ROUND_S, rel=0.04)
    assert estimate.high - estimate.low < 0.3 * estimate.value


def batch_by_batch(rounds: int, rng: np.random.Generator) -> Trace:
    """One instance whose clients are all in the batch that runs; a batch takes 1 s, ±3 %."""
    ends = np.cumsum(rng.normal(1.0, 0.03, rounds))
    starts = np.append(0.0, ends[:-1])
    spread = np.arange(BATCH) * 1e-6
    return Trace(
        sent_ns=((np.repeat(starts, BATCH) + np.tile(spread, rounds)) * 1e9).astype(np.int64),
        done_ns=((np.repeat(ends, BATCH) + np.tile(spread, rounds)) * 1e9).astype(np.int64),
        failed=np.zeros(rounds * BATCH, dtype=np.bool_),
    )


def test_an_interval_from_a_few_rounds_is_as_narrow_as_the_rounds_are_alike(
    rng: np.random.Generator,
) -> None:
    """Five rounds that differ by 3 % tell a mean within 4 %; from two halves it was 13 %."""
    found = [throughput(batch_by_batch(5, rng), in_flight=BATCH) for _ in range(200)]
    half_widths = [(one.high - one.low) / 2 / one.value for one in found]
    assert np.mean(half_widths) == pytest.approx(0.035, rel=0.2)
    held = sum(one.low <= BATCH <= one.high for one in found)
    assert 182 <= held <= 198  # 95 % of 200, give or take what chance does in 99 of 100 cases


def test_a_load_of_which_only_the_quickest_came_back_is_not_taken_for_known(
    rng: np.random.Generator,
) -> None:
    """Ten times as many clients are still waiting for their first answer."""
    trace = in_phase(3, rng)
    assert throughput(trace, in_flight=10 * BATCH * INSTANCES) == throughput(trace)


def test_bursts_leave_the_interval_narrow(rng: np.random.Generator) -> None:
    """The service is as steady as can be; only its answers come in bursts."""
    estimate = throughput(in_phase(60, rng))
    assert estimate.high - estimate.low < 0.02 * estimate.value


def test_a_stall_in_the_part_that_was_cut_off_is_named(rng: np.random.Generator) -> None:
    clients, ms = 16, 1_000_000
    waves = np.cumsum(rng.uniform(9.5, 10.5, 800))
    answered = np.repeat(waves, clients).reshape(-1, clients)
    sent = np.vstack([np.zeros(clients), answered[:-1]])
    # For three seconds only six clients send.
    stalled = (answered < 3000) & (np.arange(clients) >= 6)
    resumed = int(np.argmax(waves >= 3000))
    sent[resumed, 6:] = waves[resumed - 1]
    kept = ~stalled
    whole = Trace(
        sent_ns=(sent[kept] * ms).astype(np.int64),
        done_ns=(answered[kept] * ms).astype(np.int64),
        failed=np.zeros(int(kept.sum()), dtype=np.bool_),
    )
    steady = Trace(
        sent_ns=whole.sent_ns[whole.sent_ns > 3100 * ms],
        done_ns=whole.done_ns[whole.sent_ns > 3100 * ms],
        failed=whole.failed[whole.sent_ns > 3100 * ms],
    )
    workload = Workload(load=ClosedLoop(concurrency=clients))
    times = latency(steady)
    alone = caveats(steady, workload=workload, latency=times)
    both = caveats(steady, workload=workload, latency=times, whole=whole)
    assert "littles_law" not in {caveat.code for caveat in alone}
    (found,) = [caveat for caveat in both if caveat.code == "littles_law"]
    assert "cut off" in found.message


@pytest.mark.parametrize("pause_s", [0.0, 0.5])
def test_clients_that_pause_are_named_in_a_run_of_few_rounds(
    pause_s: float, rng: np.random.Generator
) -> None:
    """64 clients wait 2 s each, and with the pause a fifth of them is not waiting at any time."""
    clients, rounds = 64, 4
    waits = rng.uniform(1.8, 2.2, (rounds, clients))
    done = np.cumsum(waits + pause_s, axis=0) - pause_s + rng.uniform(0, 2, clients)
    sent = done - waits
    answered = (done < done[-1].min()).ravel()
    trace = Trace(
        sent_ns=(sent.ravel()[answered] * 1e9).astype(np.int64),
        done_ns=(done.ravel()[answered] * 1e9).astype(np.int64),
        failed=np.zeros(int(answered.sum()), dtype=np.bool_),
    )
    found = littles_law(trace, Workload(load=ClosedLoop(concurrency=clients)))
    assert (found is not None) == (pause_s > 0)
