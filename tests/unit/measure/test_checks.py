from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tuner.measure.checks import CODES, caveats, few_samples, pauses
from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload
from tuner.measure.stationarity import split_warm_up
from tuner.measure.statistics import latency, requests_needed
from tuner.measure.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Loop = Callable[..., Trace]


def noisy(rng: np.random.Generator, batches: int) -> NDArray[np.float64]:
    return rng.lognormal(math.log(10), 0.05, batches)


def found(trace: Trace, clients: int, client_cores: float = 1.0) -> dict[str, str]:
    steady, _ = split_warm_up(trace)
    workload = Workload(load=ClosedLoop(concurrency=clients))
    seen = caveats(steady, workload=workload, latency=latency(steady), client_cores=client_cores)
    assert all(caveat.code in CODES for caveat in seen)
    return {caveat.code: caveat.message for caveat in seen}


def test_a_hundred_clean_runs_raise_no_doubt(loop: Loop, rng: np.random.Generator) -> None:
    for index in range(100):
        clients = (1, 8, 32)[index % 3]
        assert found(loop(noisy(rng, 2500), clients, client_cpu_pct=30.0), clients) == {}


def test_a_warm_up_that_outlasts_the_run_is_unstable(loop: Loop, rng: np.random.Generator) -> None:
    service_ms = noisy(rng, 1200)
    service_ms[:900] *= 1.5
    message = found(loop(service_ms, 4), 4)["unstable"]
    assert "ms" in message or "requests/s" in message


def test_a_slow_client_breaks_littles_law(loop: Loop, rng: np.random.Generator) -> None:
    """A fifth of each round passes between the answers and the next requests."""
    codes = found(loop(noisy(rng, 1200), 8, think_ms=2.5), 8)
    assert set(codes) == {"littles_law"}
    assert "requests in flight instead of 8 in the worst of 19 slices" in codes["littles_law"]


def test_a_client_that_stalls_once_breaks_littles_law_in_one_slice(
    loop: Loop, rng: np.random.Generator
) -> None:
    think_ms = np.zeros(1200)
    think_ms[600] = 3000
    message = found(loop(noisy(rng, 1200), 8, think_ms=think_ms), 8)["littles_law"]
    assert message.endswith("too few in 1.")


@pytest.mark.parametrize(("cores", "codes"), [(1.0, {"client_saturated"}), (4.0, set[str]())])
def test_a_client_at_its_limit_is_saturated(
    loop: Loop, rng: np.random.Generator, cores: float, codes: set[str]
) -> None:
    trace = loop(noisy(rng, 1200), client_cpu_pct=97.0)
    assert set(found(trace, 1, client_cores=cores)) == codes


def test_an_open_loop_that_sends_too_slowly_is_saturated(
    loop: Loop, rng: np.random.Generator
) -> None:
    trace = loop(noisy(rng, 1200))
    workload = Workload(load=OpenLoop(rate_per_s=150))
    seen = caveats(trace, workload=workload, latency=latency(trace))
    assert [caveat.code for caveat in seen] == ["client_saturated"]


def test_one_percent_of_failures_is_named_with_its_numbers(
    loop: Loop, rng: np.random.Generator
) -> None:
    trace = loop(noisy(rng, 1201))
    failed = trace.failed.copy()
    failed[50::100] = True
    codes = found(replace(trace, failed=failed), 1)
    assert set(codes) == {"errors"}
    assert codes["errors"] == "12 of 1200 requests failed (1 %)."


def test_failed_requests_are_not_taken_for_a_client_that_stalled(
    loop: Loop, rng: np.random.Generator
) -> None:
    trace = loop(noisy(rng, 2500), clients=4)
    failed = trace.failed.copy()
    failed[::4] = True
    done_ns = np.where(failed, trace.sent_ns, trace.done_ns)  # as perf_analyzer's export reads
    assert set(found(replace(trace, done_ns=done_ns, failed=failed), 4)) == {"errors"}


def test_a_refused_percentile_is_named(loop: Loop, rng: np.random.Generator) -> None:
    codes = found(loop(noisy(rng, 60), clients=16), 16)
    assert set(codes) == {"few_samples"}
    assert "p99" in codes["few_samples"]


def test_a_higher_percentile_is_never_said_to_need_fewer_requests(
    loop: Loop, rng: np.random.Generator
) -> None:
    """Slow requests in one place say little of p90, and very slow ones everywhere much of p95."""
    service_ms = noisy(rng, 100)
    service_ms[25:32] += 20
    service_ms[::20] += 100
    trace = loop(service_ms)
    assert requests_needed(trace, 0.90) > requests_needed(trace, 0.95)
    caveat = few_samples(trace, latency(trace))
    assert caveat is not None
    told = [int(count) for count in re.findall(r"(\d+) for p", caveat.advice)]
    assert len(told) > 1
    assert told == sorted(told)


def test_periodic_pauses_are_named(loop: Loop, rng: np.random.Generator) -> None:
    service_ms = noisy(rng, 1200)
    service_ms[100::200] += 200
    codes = found(loop(service_ms, 8), 8)
    assert "pauses" in codes
    assert "6 times" in codes["pauses"]
    assert "unstable" not in codes
    assert "littles_law" not in codes


def test_a_server_that_pauses_with_a_full_queue_is_no_stalled_client() -> None:
    """Half of the clients wait in the queue, so a pause is paid in the slice after it as well."""
    service_ms = np.full(2000, 10.0)
    service_ms[150::300] += 300
    done = (np.cumsum(service_ms) * 1e6).astype(np.int64)
    sent = np.concatenate([np.zeros(8, dtype=np.int64), done[:-8]])
    trace = Trace(sent_ns=sent, done_ns=done, failed=np.zeros(2000, dtype=np.bool_))
    assert "littles_law" not in found(trace, 8)


def test_waiting_for_requests_is_no_pause(loop: Loop, rng: np.random.Generator) -> None:
    idle_ms = np.zeros(1200)
    idle_ms[100::200] = 500
    assert pauses(loop(noisy(rng, 1200), think_ms=idle_ms)) is None
