"""From raw timestamps to numbers with 95 % intervals.

Two things make the requests of a run fewer than they seem. Batch-mates finish together and share
one fate. And in a closed loop each round starts when the last one ends, so neighbours in time
resemble each other. Both are met in the same way: the run is cut into slices (`slices.py`), and
the spread is taken between slices, not between requests.

- Throughput: batch means of equal lengths of time, with Student's t. Each request counts evenly
  over the time in which it was on its way. To count it as one at its end would let a burst of
  instances that finish together fall into a run or just miss it: with eight rounds in a run that
  was 10 % of the throughput, and always to the same side. Where a closed loop came back too few
  times for that, but each client a few times, Little's law: the requests in flight over their mean
  latency. Whichever burst falls into the run, that is the rate at which clients come back. Its
  spread is taken between rounds.
- Mean latency: a ratio estimator over slices, with Student's t.
- In both, slices that still resemble their neighbours widen the interval (`spread.py`).
- Percentiles: order statistics for the effective number of requests (`percentiles.py`).

What no interval from one run can know is how the next run would differ: a server with several
instances can settle into one of several rhythms and keep it. Fresh runs tell that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tuner.errors import TrialAborted
from tuner.measure.estimate import Estimate
from tuner.measure.measurement import Latency
from tuner.measure.percentiles import (
    PERCENTILES,
    EffectiveSizes,
    percentiles,
    requests_needed_for,
)
from tuner.measure.slices import Completions, Slices, complete_between_s, completions, cut, passed
from tuner.measure.spread import total_variance
from tuner.measure.student import t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tuner.measure.trace import Trace

_ROUNDS_PER_SLICE = 8
"""Long enough that a slice forgets its neighbour: a request waits for those of its own round."""
_FEWEST_SLICES, _MOST_SLICES = 8, 24
_FEWEST_EPOCHS = 3
_FEWEST_ROUNDS = 3
"""Below, so much of a run is its edges that whole bursts are counted and the interval is wide."""
_FEWEST_DEGREES = 3
"""Of freedom: with fewer, Student's t makes an interval several times as wide as need be."""
_FEWEST_RETURNS = 2
"""Answers for each client, on average: with fewer, only the quickest may have come back."""
_MOST_OF_A_MEAN = 0.9
"""An interval of a latency that reaches down to 0 would say that the rate has no upper end."""
_ROUNDS_PER_STEP = 2
"""A length of time forgets its neighbour less where it is shorter than that."""


def throughput(
    trace: Trace, rows_per_request: int = 1, *, in_flight: int | None = None
) -> Estimate:
    """Answered rows per second.

    Args:
        trace: the steady part of a run; see `stationarity.split_warm_up`.
        rows_per_request: rows in each request.
        in_flight: requests that were on their way all the time, as in a closed loop whose clients
            never stall; None where that is not so, or not known.

    Returns:
        Rows per second; ``n_effective`` counts independent slices.

    Raises:
        TrialAborted: fewer than three completions that are apart in time.
    """
    done = _enough(completions(trace))
    ratio = _steady_rate(done)
    few = ratio is None or ratio.degrees < _FEWEST_DEGREES
    if few and in_flight and len(done.done_ns) >= _FEWEST_RETURNS * in_flight:
        return _by_littles_law(done, in_flight, float(rows_per_request))
    if ratio is None:
        slices = cut(done, _slice_count(done))
        ratio = _ratio(slices.counts, slices.durations_s)
    return _interval(ratio, scale=float(rows_per_request), n_effective=ratio.degrees + 1.0)


def latency(trace: Trace) -> Latency:
    """Client-side latency of the answered requests, in ms.

    A percentile is None where the run is too short to bound it, and then comes as a rough one;
    `requests_needed` tells what would do.

    Args:
        trace: the steady part of a run; see `stationarity.split_warm_up`.

    Raises:
        TrialAborted: fewer than three completions that are apart in time.
    """
    done = _enough(completions(trace))
    slices = cut(done, _slice_count(done))
    ratio = _mean_latency_ms(slices)
    n_effective = float(np.var(done.latency_ms)) / max(ratio.error**2, 1e-300)
    mean = _interval(ratio, scale=1.0, n_effective=min(max(n_effective, 1.0), len(done.done_ns)))
    sizes = EffectiveSizes(done, slices)
    bounded = percentiles(sizes)
    p50, p90, p95, p99 = bounded
    rough50, rough90, rough95, rough99 = (
        sizes.quantile_ms(share) if known is None else None
        for share, known in zip(PERCENTILES, bounded, strict=True)
    )
    return Latency(
        mean_ms=mean,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        p50_rough_ms=rough50,
        p90_rough_ms=rough90,
        p95_rough_ms=rough95,
        p99_rough_ms=rough99,
    )


def requests_needed(trace: Trace, percentile: float) -> int:
    """Tell how many answered requests of this kind it takes to bound a percentile.

    Args:
        trace: the steady part of a run.
        percentile: such as 0.99.

    Raises:
        TrialAborted: fewer than three completions that are apart in time.
    """
    done = _enough(completions(trace))
    sizes = EffectiveSizes(done, cut(done, _slice_count(done)))
    return requests_needed_for(percentile, sizes.count, sizes.usable(percentile))


def bears_numbers(trace: Trace) -> bool:
    """Tell whether any number with an interval can be made of a run."""
    return len(completions(trace).ends) >= _FEWEST_EPOCHS


def _enough(done: Completions) -> Completions:
    if len(done.ends) < _FEWEST_EPOCHS:
        raise TrialAborted(
            f"The run has {len(done.done_ns)} answered requests that finished at"
            f" {len(done.ends)} moments; an interval needs at least {_FEWEST_EPOCHS} moments."
            " Send more requests."
        )
    return done


def _slice_count(done: Completions) -> int:
    by_rounds = int(done.rounds / _ROUNDS_PER_SLICE)
    return min(max(by_rounds, _FEWEST_SLICES), _MOST_SLICES, len(done.ends) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ratio:
    value: float
    error: float
    degrees: int


def _ratio(tops: NDArray[np.float64], bottoms: NDArray[np.float64]) -> _Ratio:
    """Estimate the ratio of two means, its standard error and degrees of freedom.

    Source: Cochran, «Sampling Techniques», 3rd ed., 6.3; with the correction of the module's
    docstring.
    """
    value = float(tops.sum() / bottoms.sum())
    variance, degrees = total_variance(tops - value * bottoms, negative=True)
    return _Ratio(value=value, error=math.sqrt(variance) / float(bottoms.sum()), degrees=degrees)


def _mean_latency_ms(slices: Slices) -> _Ratio:
    return _ratio(slices.mean_latency_ms * slices.counts, slices.counts)


def _by_littles_law(done: Completions, in_flight: int, rows_per_request: float) -> Estimate:
    """Estimate rows per second by the latency of a known number of requests in flight.

    Source: Little, «A proof for the queuing formula L = λW», 1961.
    """
    mean = _mean_over_rounds_ms(done, in_flight)
    half = min(t_quantile(mean.degrees) * mean.error, _MOST_OF_A_MEAN * mean.value)
    rows_ms = 1e3 * in_flight * rows_per_request
    return Estimate(
        value=rows_ms / mean.value,
        low=rows_ms / (mean.value + half),
        high=rows_ms / (mean.value - half),
        n_effective=mean.degrees + 1.0,
    )


def _mean_over_rounds_ms(done: Completions, in_flight: int) -> _Ratio:
    """Estimate the mean latency, in ms, from rounds in which each client is answered once.

    In a round, clients that wait long and clients that wait briefly are together, as in the whole
    run. Below three rounds, from slices, which share them: those have no more degrees of freedom.
    """
    rounds = len(done.latency_ms) // in_flight
    if rounds < _FEWEST_ROUNDS:
        mean = _mean_latency_ms(cut(done, _slice_count(done)))
        degrees = min(mean.degrees, max(1, round(done.rounds)))
        return _Ratio(value=mean.value, error=mean.error, degrees=degrees)
    means = done.latency_ms[-rounds * in_flight :].reshape(rounds, in_flight).mean(axis=1)
    return _Ratio(
        value=float(done.latency_ms.mean()),
        error=float(means.std(ddof=1)) / math.sqrt(rounds),
        degrees=rounds - 1,
    )


def _steady_rate(done: Completions) -> _Ratio | None:
    """Estimate answers per second, each counted evenly over its time on the way.

    What a request adds in all is still 1, so the rate is the throughput whatever the load.

    Returns:
        The rate; None where too little of the run is known whole.
    """
    begin_s, end_s = complete_between_s(done)
    rounds = (end_s - begin_s) * 1e3 / max(float(done.latency_ms.mean()), 1e-6)
    if rounds < _FEWEST_ROUNDS:
        return None
    wanted = min(max(rounds / _ROUNDS_PER_SLICE, _FEWEST_SLICES), _MOST_SLICES)
    count = max(2, int(min(wanted, rounds / _ROUNDS_PER_STEP)))
    answered = np.diff(passed(done, np.linspace(begin_s, end_s, count + 1)))
    variance, degrees = total_variance(answered - answered.mean(), negative=False)
    length_s = end_s - begin_s
    return _Ratio(
        value=float(answered.sum()) / length_s,
        error=math.sqrt(variance) / length_s,
        degrees=degrees,
    )


def _interval(ratio: _Ratio, *, scale: float, n_effective: float) -> Estimate:
    half = t_quantile(ratio.degrees) * ratio.error
    return Estimate(
        value=ratio.value * scale,
        low=max(0.0, ratio.value - half) * scale,
        high=(ratio.value + half) * scale,
        n_effective=n_effective,
    )
