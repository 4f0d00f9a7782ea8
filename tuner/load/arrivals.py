"""When the requests of an open loop are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tuner.measure.measurement import OpenLoop


def intervals_us(load: OpenLoop, *, requests: int, seed: int) -> NDArray[np.int64]:
    """Return the time before each request, counted from the one before it, in whole µs.

    Args:
        load: the rate and whether arrivals are a Poisson process.
        requests: how many.
        seed: the same seed gives the same arrivals, so that configurations meet equal traffic.

    Returns:
        int64, shape (requests,), each at least 1.
    """
    mean_us = 1e6 / load.rate_per_s
    if load.poisson:
        gaps = np.random.default_rng(seed).exponential(mean_us, requests)
    else:
        gaps = np.full(requests, mean_us)
    # The times are rounded, not the gaps: else a constant rate would drift by the rounding.
    times = np.rint(np.cumsum(gaps))
    return np.maximum(np.diff(times, prepend=0.0), 1).astype(np.int64)


def due_ns(sent_ns: NDArray[np.int64], gaps_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return when each request should have left, on the clock of ``sent_ns``.

    A user's wait begins when he wanted to ask, not when a late load generator got around to
    asking for him. The schedule is laid so that the most punctual request left on time.

    Args:
        sent_ns: int64, shape (requests,), when they left, ascending.
        gaps_us: int64, of any length, from `intervals_us`.

    Returns:
        int64, shape (requests,), ascending, nowhere later than ``sent_ns``.
    """
    # Where the schedule ends, perf_analyzer begins it anew.
    schedule = np.cumsum(np.resize(gaps_us, len(sent_ns))) * 1000
    late_ns: NDArray[np.int64] = sent_ns - schedule
    return np.asarray(schedule + late_ns.min(), dtype=np.int64)
