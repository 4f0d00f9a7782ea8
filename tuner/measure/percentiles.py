"""Percentiles of a run by order statistics (binomial ranks), for as many requests as it is worth.

The share of requests above a percentile is a mean like any other, so its variance between slices
tells how many independent requests would be as sure: the effective sample size. The ranks are
taken for that size (Woodruff, 1952).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tuner.measure.estimate import Estimate
from tuner.measure.spread import total_variance
from tuner.measure.student import CONFIDENCE, t_quantile

if TYPE_CHECKING:
    from tuner.measure.slices import Completions, Slices

PERCENTILES = (0.50, 0.90, 0.95, 0.99)

_NORMAL = 1.959964
_BEYOND_CHANCE = 1.3
"""Slices have to spread by so much more than their epochs to say that these hang together."""


def requests_needed_for(percentile: float, n: int, n_effective: float) -> int:
    """Scale a run up until the percentile can be bounded from both sides.

    The largest of m independent values lies below the percentile with the chance
    ``percentile ** m``; an upper bound exists once that is at most 2.5 %.

    Args:
        percentile: such as 0.99.
        n: requests of the run at hand.
        n_effective: how many independent ones they are worth.
    """
    return math.ceil(_independent_needed(percentile) * n / n_effective)


def _independent_needed(percentile: float) -> int:
    extreme = max(percentile, 1 - percentile)
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(extreme))


class EffectiveSizes:
    """How many independent requests a run is worth, percentile by percentile."""

    def __init__(self, done: Completions, slices: Slices) -> None:
        start = int(slices.edges[0])
        self._latency_ms = done.latency_ms[start:]
        self._slice_edges = slices.edges - start
        self._epoch_edges = done.ends - start
        self.sorted_ms = np.sort(self._latency_ms)
        self.count = len(self.sorted_ms)
        central = [self.at(share) for share in (0.25, 0.50, 0.75)]
        self._central = 3 / sum(1 / size for size in central)

    def quantile_ms(self, share: float) -> float:
        """Return the latency that this share of the answered requests stayed below."""
        return float(np.interp(share * self.count - 0.5, np.arange(self.count), self.sorted_ms))

    def usable(self, percentile: float) -> float:
        """Return the size that decides whether the percentile can be had at all.

        The few requests beyond a high percentile tell little of how they hang together, and
        refusing by them would let pass the runs that are wrong about it. The middle of the
        distribution tells it well and is no less correlated, so the smaller size counts.
        """
        return min(self._central, self.at(percentile))

    def at(self, percentile: float) -> float:
        """Return the size that the variance between slices, or between epochs, supports."""
        above = self._latency_ms > self.sorted_ms[math.ceil(percentile * self.count) - 1]
        sums = np.append(0.0, np.cumsum(above))
        share = sums[-1] / self.count
        if share == 0:
            return float(len(self._epoch_edges) - 1)
        edges, epochs = self._slice_edges, self._epoch_edges
        between_slices, degrees = total_variance(
            np.diff(sums[edges]) - share * np.diff(edges), negative=False
        )
        # A variance from few slices is itself unsure: Student's t in place of the normal.
        between_slices *= (t_quantile(degrees) / _NORMAL) ** 2
        within = np.diff(sums[epochs]) - share * np.diff(epochs)
        independent = self.count * percentile * (1 - percentile)
        known = max(float(within @ within), independent)
        # The larger of two guesses at the same is too large; a few slices guess wildly.
        variance = between_slices if between_slices > _BEYOND_CHANCE * known else known
        return self.count * independent / variance


def percentiles(sizes: EffectiveSizes) -> list[Estimate | None]:
    """Estimate each of `PERCENTILES`, in ms; None where the run is too short to bound it."""
    return [_percentile(sizes, percentile) for percentile in PERCENTILES]


def _percentile(sizes: EffectiveSizes, percentile: float) -> Estimate | None:
    if sizes.usable(percentile) < _independent_needed(percentile):
        return None
    n_effective = sizes.at(percentile)
    low, high = _shares(percentile, round(n_effective))
    at_low, value, at_high = (sizes.quantile_ms(share) for share in (low, percentile, high))
    return Estimate(value=value, low=at_low, high=at_high, n_effective=n_effective)


def _shares(percentile: float, n: int) -> tuple[float, float]:
    """Return the sample shares between which the percentile lies in 95 % of samples.

    Source: binomial ranks, David and Nagaraja, «Order Statistics», 3rd ed., 7.1, interpolated
    between ranks so that the nominal level is met rather than exceeded (Nyblom, 1992).

    Args:
        percentile: of the population.
        n: independent values in the sample, enough for both bounds to exist.
    """
    mean, spread = n * percentile, math.sqrt(n * percentile * (1 - percentile))
    first = max(0, math.floor(mean - 12 * spread - 20))
    last = min(n, math.ceil(mean + 12 * spread + 20))
    below = np.arange(first + 1, last + 1)
    odds = percentile / (1 - percentile)
    log_mass = np.append(0.0, np.cumsum(np.log((n - below + 1) / below * odds)))
    mass = np.exp(log_mass - log_mass.max())
    chance = np.cumsum(mass) / mass.sum()
    ranks = np.arange(first, last + 1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.interp([tail, 1 - tail], np.append(0.0, chance), np.append(first - 1, ranks))
    return max((low + 0.5) / n, 0.0), min((high + 0.5) / n, 1.0)
