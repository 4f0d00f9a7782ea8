"""Where the steady part of a run begins and ends, and whether it is steady.

A run of a fixed number of requests has a beginning and an end that are not like the rest: the
first requests leave all at once and meet an empty, cold server; the last ones run out of company.
Both are cut off. What warms up for longer than a round is found by comparing slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tuner.measure.slices import Completions, Slices, completions, cut, epoch_ends
from tuner.measure.student import t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tuner.measure.trace import Trace

TOLERANCE = 0.05
"""A difference between parts of a run below this share is not called one: services differ by as
much from minute to minute, and the intervals allow for it."""

_CERTAINTY = 1e-5
"""Chance of a false alarm in one comparison; a run makes some dozens of them."""
_WARM_UP_ROUNDS, _SHIFT_ROUNDS = 2, 4
"""Rounds in a slice, at least: short ones place the end of the warm-up, long ones forget."""
_FEWEST_SLICES, _MOST_SLICES = 8, 40
_FEWEST_EPOCHS = 2
_MEDIAN_IS_MEAN = 2
"""Up to so many values the median is the mean."""
_INSTANTS = 1001


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A run whose two parts differ.

    Attributes:
        what: ``throughput`` or ``latency``.
        before: mean of the first part, requests per second or ms.
        after: mean of the second part.
        at_s: where the second part begins, from the start of the run.
    """

    what: str
    before: float
    after: float
    at_s: float


def split_warm_up(trace: Trace) -> tuple[Trace, float]:
    """Return the steady part of a run, and the seconds before it that were cut off.

    Cut off are: the first round, in which all clients start at once; after it, slices that differ
    from the second half of the run by more than chance and by more than `TOLERANCE`, up to half
    of the run; and the drain at the end, when fewer requests are in flight than usual. A run that
    is too short to judge keeps what it has.

    Args:
        trace: a whole run, as the load generator saw it.
    """
    if len(trace.sent_ns) == 0:
        return trace, 0.0
    order = np.argsort(trace.done_ns, kind="stable")
    done_ns = trace.done_ns[order]
    ends = epoch_ends(done_ns)
    starts = np.append(0, ends[:-1])
    begin, end = _full_load(trace, done_ns)
    whole = (done_ns[starts] > begin) & (done_ns[starts] <= end)
    if np.count_nonzero(whole) < _FEWEST_EPOCHS:
        return trace, 0.0
    first, last = int(starts[whole][0]), int(ends[whole][-1])
    steady = _take(trace, order[first:last])
    warm_ns = _warm_up_end(completions(steady))
    if warm_ns is not None:
        steady = _take(steady, np.flatnonzero(steady.done_ns > warm_ns))
    discarded_ns = int(steady.done_ns.min()) - int(trace.sent_ns[0])
    return steady, discarded_ns / 1e9


def is_stationary(trace: Trace) -> bool:
    """Tell whether the parts of a run agree. See `shift`."""
    return shift(trace) is None


def shift(trace: Trace) -> Shift | None:
    """Find where throughput or latency changed for good, if they did.

    The test is the largest deviation of the slices' cumulative sum from a straight line (CUSUM),
    scaled by the spread of successive differences, which a shift does not inflate. Under the
    null hypothesis it is the supremum of a Brownian bridge (Brown, Durbin and Evans, 1975). A
    change is reported if it is beyond chance and beyond `TOLERANCE`.

    Args:
        trace: the steady part of a run; see `split_warm_up`.

    Returns:
        The larger change; None where there is none, or too few slices to tell.
    """
    done = completions(trace)
    slices = _cut(done, _SHIFT_ROUNDS)
    if slices is None:
        return None
    starts_s = (done.done_ns[slices.edges[:-1] - 1] - done.done_ns[0]) / 1e9
    found: list[Shift] = []
    for what, series in _series(slices).items():
        place = _change(series)
        if place is not None:
            found.append(
                Shift(
                    what=what,
                    before=float(series[:place].mean()),
                    after=float(series[place:].mean()),
                    at_s=float(starts_s[place]),
                )
            )
    return max(found, key=lambda one: abs(math.log(one.after / one.before)), default=None)


def _full_load(trace: Trace, done_ns: NDArray[np.int64]) -> tuple[int, int]:
    """Return the times, in ns, between which the usual number of requests is in flight."""
    sent_ns = np.sort(trace.sent_ns)
    quarter = (int(sent_ns[-1]) - int(sent_ns[0])) / 4
    instants = np.linspace(sent_ns[0] + quarter, sent_ns[-1] - quarter, _INSTANTS)
    in_flight = np.searchsorted(sent_ns, instants, "right") - np.searchsorted(
        done_ns, instants, "right"
    )
    usual = max(1, int(np.median(in_flight)))
    first_round = np.argsort(trace.sent_ns, kind="stable")[:usual]
    before_each = np.searchsorted(sent_ns, done_ns, "left") - np.arange(len(done_ns))
    full = np.flatnonzero(before_each >= usual)
    end = int(done_ns[full[-1]]) if len(full) else int(done_ns[-1])
    return int(trace.done_ns[first_round].max()), end


def _take(trace: Trace, requests: NDArray[np.intp]) -> Trace:
    kept = np.sort(requests)
    return replace(
        trace,
        sent_ns=trace.sent_ns[kept],
        done_ns=trace.done_ns[kept],
        failed=trace.failed[kept],
    )


def _cut(done: Completions, rounds_per_slice: int) -> Slices | None:
    wanted = min(int(done.rounds / rounds_per_slice), _MOST_SLICES, len(done.ends) - 1)
    if wanted < _FEWEST_SLICES:
        return None
    return cut(done, wanted)


def _series(slices: Slices) -> dict[str, NDArray[np.float64]]:
    return {
        "throughput": slices.counts / slices.durations_s,
        "latency": slices.mean_latency_ms,
    }


def _warm_up_end(done: Completions) -> int | None:
    slices = _cut(done, _WARM_UP_ROUNDS)
    if slices is None:
        return None
    dropped = max(_slices_to_drop(series) for series in _series(slices).values())
    return int(done.done_ns[slices.edges[dropped] - 1]) if dropped else None


def _slices_to_drop(series: NDArray[np.float64]) -> int:
    """Count the leading slices that are unlike the second half, at most half of all.

    A prefix is judged by its median: one pause in the middle of a run is no warm-up.
    """
    half = len(series) // 2
    usual = series[half:]
    mean, spread = float(usual.mean()), float(usual.std(ddof=1))
    limit = t_quantile(len(usual) - 1, _CERTAINTY) * spread
    for dropped in range(half):
        lengths = np.arange(1, half - dropped + 1)
        medians = np.array([np.median(series[dropped : dropped + size]) for size in lengths])
        # A median of n is as sure as a mean of 2n / pi.
        loss = np.where(lengths > _MEDIAN_IS_MEAN, math.pi / 2, 1.0)
        errors = np.sqrt(loss / lengths + 1 / len(usual))
        off = np.abs(medians - mean)
        if not np.any((off > limit * errors) & (off > TOLERANCE * mean)):
            return dropped
    return half


def _change(series: NDArray[np.float64]) -> int | None:
    """Return the index of the first slice after the change, or None."""
    count = len(series)
    steps = np.diff(series)
    spread = math.sqrt(float(steps @ steps) / (2 * len(steps)))
    walk = np.abs(np.cumsum(series - series.mean()))[:-1]
    place = int(walk.argmax()) + 1
    before, after = float(series[:place].mean()), float(series[place:].mean())
    bridge = math.sqrt(-math.log(_CERTAINTY / 2) / 2)
    beyond_chance = float(walk.max()) > bridge * spread * math.sqrt(count)
    matters = abs(after - before) > TOLERANCE * float(series.mean())
    return place if beyond_chance and matters else None
