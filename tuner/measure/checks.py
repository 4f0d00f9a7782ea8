"""What to doubt in a run: each check looks at the raw timestamps and gives a caveat or none.

==================== =======================================================================
code                 what was seen
==================== =======================================================================
``unstable``         throughput or latency changed for good while the run was measured
``littles_law``      throughput x mean latency falls short of the concurrency: the client stalled
``client_saturated`` the load generator itself was at its limit
``errors``           requests failed
``few_samples``      a percentile is refused: the run is too short to bound it
``pauses``           a few gaps without any answer hold a noticeable share of the time
==================== =======================================================================
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from tuner.measure.measurement import Caveat, ClosedLoop, OpenLoop
from tuner.measure.percentiles import PERCENTILES
from tuner.measure.slices import completions, cut
from tuner.measure.stationarity import shift
from tuner.measure.statistics import requests_needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tuner.measure.measurement import Latency, Workload
    from tuner.measure.slices import Completions, Slices
    from tuner.measure.trace import Trace

Code: TypeAlias = Literal[
    "unstable", "littles_law", "client_saturated", "errors", "few_samples", "pauses"
]
CODES: tuple[Code, ...] = get_args(Code)

SHORTFALL = 0.10
"""A client may keep so much less in flight, or send so much slower, than was asked for."""
CPU_SHARE = 0.80
"""Above this share of the processor time that it can use, the generator delays what it times."""
PAUSE_LENGTH = 5.0
"""A pause is a gap so many times the gap that nine in ten do not exceed."""
PAUSE_SHARE = 0.02
"""Pauses matter from this share of the run: a p99 starts to be made of them."""

_ROUNDS_PER_SLICE = 5
_MOST_SLICES = 20
_FEWEST_EPOCHS = 3
_FEWEST_GAPS = 10


def caveats(
    trace: Trace,
    *,
    workload: Workload,
    latency: Latency,
    client_cores: float = 1.0,
    whole: Trace | None = None,
) -> tuple[Caveat, ...]:
    """Run every check.

    Args:
        trace: the measured part of a run, as `stationarity.split_warm_up` gives it.
        workload: the traffic that was asked for.
        latency: what `statistics.latency` made of the trace.
        client_cores: processor cores that the load generator could use: the number of its
            threads or of the machine's cores, whichever is smaller.
        whole: the run with what was cut off; None checks only the measured part.
    """
    found = (
        unstable(trace),
        littles_law(trace, workload) or _stalled_start(whole, workload),
        client_saturated(trace, workload, client_cores),
        errors(trace),
        few_samples(trace, latency),
        pauses(trace),
    )
    return tuple(caveat for caveat in found if caveat is not None)


def unstable(trace: Trace) -> Caveat | None:
    """Check that the parts of the run agree."""
    change = shift(trace)
    if change is None:
        return None
    unit = "requests/s" if change.what == "throughput" else "ms"
    return _caveat(
        "unstable",
        f"The {change.what} went from {change.before:.4g} to {change.after:.4g} {unit}"
        f" {change.at_s:.3g} s into the measured part.",
        "Measure for longer, so that warming up is a small part of the run; look for other work"
        " on the machine and for falling clocks.",
    )


def littles_law(trace: Trace, workload: Workload) -> Caveat | None:
    """Check that a closed loop kept its requests in flight, slice by slice.

    Source: Little, «A proof for the queuing formula L = λW», 1961. A load generator does not tell
    when a failed request ended, so the check is left out where more than a few failed.
    """
    match workload.load:
        case OpenLoop():
            return None
        case ClosedLoop(concurrency=concurrency):
            pass
    done = completions(trace)
    failed_share = float(np.mean(trace.failed)) if len(trace.failed) else 0.0
    if len(done.ends) < _FEWEST_EPOCHS or failed_share > SHORTFALL / 2:
        return None
    slices = cut(done, max(1, min(int(done.rounds / _ROUNDS_PER_SLICE), _MOST_SLICES)))
    in_flight = _in_flight(done, slices, concurrency)
    if len(in_flight) == 0:
        return None
    worst = int(in_flight.argmin())
    if in_flight[worst] >= (1 - SHORTFALL) * concurrency:
        return None
    short = int(np.count_nonzero(in_flight < (1 - SHORTFALL) * concurrency))
    return _caveat(
        "littles_law",
        f"Throughput x mean latency gives {in_flight[worst]:.3g} requests in flight instead of"
        f" {concurrency} in the worst of {len(in_flight)} slices, and too few in {short}.",
        "The client stalled: drop the start of the run, address the server as 127.0.0.1, or give"
        " the load generator processor cores of its own.",
    )


def _stalled_start(whole: Trace | None, workload: Workload) -> Caveat | None:
    """Check what was cut off: a client that stalled there may stall again."""
    found = None if whole is None else littles_law(whole, workload)
    if found is None:
        return None
    return replace(found, message=f"{found.message} That was in the part that was cut off.")


def client_saturated(trace: Trace, workload: Workload, client_cores: float) -> Caveat | None:
    """Check that the load generator had time to spare, and kept up with an open loop."""
    advice = (
        "Run the load generator on another machine or on cores of its own, or ask for less load:"
        " what it measures now includes its own delays."
    )
    cpu_pct = trace.client_cpu_pct
    if cpu_pct is not None and cpu_pct > CPU_SHARE * 100 * client_cores:
        return _caveat(
            "client_saturated",
            f"The load generator used {cpu_pct:.0f} % of a core;"
            f" it can use {100 * client_cores:.0f} %.",
            advice,
        )
    if isinstance(workload.load, OpenLoop) and len(trace.sent_ns) > _FEWEST_GAPS:
        asked = workload.load.rate_per_s
        span_s = float(trace.sent_ns.max() - trace.sent_ns.min()) / 1e9
        sent = (len(trace.sent_ns) - 1) / span_s
        # Poisson arrivals alone vary by 1 / sqrt(n); four of those are not chance.
        chance = 4 / len(trace.sent_ns) ** 0.5 if workload.load.poisson else 0.0
        if sent < asked * (1 - SHORTFALL - chance):
            return _caveat(
                "client_saturated",
                f"The load generator sent {sent:.4g} of the {asked:.4g} requests/s asked for.",
                advice,
            )
    return None


def errors(trace: Trace) -> Caveat | None:
    """Check that every request was answered."""
    failed, total = int(np.count_nonzero(trace.failed)), len(trace.failed)
    if failed == 0:
        return None
    return _caveat(
        "errors",
        f"{failed} of {total} requests failed ({100 * failed / total:.2g} %).",
        "Read the server's log; the latency and the throughput count answered requests only.",
    )


def few_samples(trace: Trace, latency: Latency) -> Caveat | None:
    """Name the percentiles that are refused, and the run length that would do."""
    values = (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
    refused = [share for share, value in zip(PERCENTILES, values, strict=True) if value is None]
    if not refused:
        return None
    # Each is a guess; a higher percentile does not need fewer.
    counts = accumulate((requests_needed(trace, share) for share in refused), max)
    needed = {f"p{100 * s:.0f}": count for s, count in zip(refused, counts, strict=True)}
    wanted = ", ".join(f"{count} for {name}" for name, count in needed.items())
    answered = int(np.count_nonzero(~trace.failed))
    return _caveat(
        "few_samples",
        f"{answered} answered requests are too few to bound {', '.join(needed)}:"
        " batch-mates finish together, and neighbours in time resemble each other.",
        f"About this many requests would do: {wanted}.",
    )


def pauses(trace: Trace) -> Caveat | None:
    """Check that answers come steadily while requests wait."""
    gaps_ns = _gaps_ns(trace)
    if len(gaps_ns) < _FEWEST_GAPS:
        return None
    usual_ns = float(np.quantile(gaps_ns, 0.9))
    long_ns = gaps_ns[gaps_ns > PAUSE_LENGTH * usual_ns]
    share = float(long_ns.sum()) / float(gaps_ns.sum())
    if share < PAUSE_SHARE:
        return None
    return _caveat(
        "pauses",
        f"No answer came for up to {long_ns.max() / 1e6:.4g} ms, {len(long_ns)} times, while"
        f" nine in ten gaps were below {usual_ns / 1e6:.3g} ms:"
        f" {100 * share:.2g} % of the run.",
        "Look for what stops the server now and then: garbage collection, other processes, a"
        " batch size seen for the first time, falling clocks.",
    )


def _gaps_ns(trace: Trace) -> NDArray[np.int64]:
    """Return the times between epochs in which at least one request waited, in ns."""
    done = completions(trace)
    if len(done.ends) < _FEWEST_EPOCHS:
        return np.zeros(0, dtype=np.int64)
    sent_ns = done.done_ns - (done.latency_ms * 1e6).astype(np.int64)
    earliest_waiting = np.minimum.accumulate(sent_ns[::-1])[::-1]
    starts = done.ends[:-1]
    begins = np.maximum(done.done_ns[starts - 1], earliest_waiting[starts])
    return np.asarray(done.done_ns[starts] - begins)


def _in_flight(done: Completions, slices: Slices, concurrency: int) -> NDArray[np.float64]:
    """Return the mean number of requests in flight, slice by slice.

    That is throughput x mean latency, with the latency of a request counted in the slices in
    which it passed. The last slices are left out where the trace may lack requests that were
    still on their way when it ended; a run of few rounds is one slice up to there.
    """
    origin = int(done.done_ns[0])
    done_s = (done.done_ns - origin) / 1e9
    sent_s = done_s - done.latency_ms / 1e3
    complete_until = float(sent_s[-concurrency:].min())
    edges = done_s[slices.edges - 1]
    if len(slices.counts) == 1:
        edges = np.minimum(edges, complete_until)
    edges = np.unique(edges[edges <= complete_until])
    if len(edges) == 0:
        return np.zeros(0)
    passed = _integral(np.sort(sent_s), edges) - _integral(done_s, edges)
    return np.asarray(np.diff(passed) / np.diff(edges))


def _integral(events_s: NDArray[np.float64], until_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integrate the number of events that have happened, up to each of the given times."""
    happened = np.searchsorted(events_s, until_s, "right")
    sums = np.append(0.0, np.cumsum(events_s))
    return np.asarray(happened * until_s - sums[happened])


def _caveat(code: Code, message: str, advice: str) -> Caveat:
    return Caveat(code=code, message=message, advice=advice)
