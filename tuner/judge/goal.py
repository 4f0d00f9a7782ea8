"""What is wanted: an objective to improve and limits to keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner.measure.estimate import Estimate
from tuner.measure.metrics import METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.measure.measurement import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The metric to improve, in the direction that its row in METRICS gives.

    Attributes:
        metric: key of a row of METRICS.
    """

    metric: str

    @property
    def name(self) -> str:
        """Such as ``p99 Latency``."""
        return self.row.header.partition(" (")[0]

    @property
    def row(self) -> Metric:
        """Its row in METRICS."""
        return METRICS[self.metric]

    def read(self, level: Measurement) -> float | None:
        """The metric's value in its own unit; None where it was not measured."""
        return point(self.row.read(level))

    def score(self, level: Measurement) -> float | None:
        """The value with its sign turned so that larger is better."""
        value = self.read(level)
        return -value if value is not None and self.row.goal == "minimize" else value

    def hint(self, level: Measurement) -> float | None:
        """The value, or for a percentile that could not be bounded the rough one.

        Records of earlier versions have none; there it is the next percentile below.

        Good enough to choose what to try next, and for nothing else.
        """
        latency = level.latency
        below = (latency.p95_ms, latency.p90_ms, latency.p50_ms, latency.mean_ms)
        value = self.read(level)
        if value is None:
            value = self.row.rough(level)
        if value is None and self.metric.startswith("latency_p"):
            return next(one.value for one in below if one is not None)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound on a metric: an upper one where smaller is better, else a lower one.

    Attributes:
        metric: key of a row of METRICS.
        bound: in the metric's unit.
    """

    metric: str
    bound: float

    def violation(self, level: Measurement) -> float | None:
        """By how much the level misses the bound, as a fraction of it; <= 0 holds.

        There is no fraction of 0: what misses that bound does so by the value itself. A
        percentile that could not be bounded is judged by its rough value (`is_rough`).

        None where the metric was not measured, so that nobody can say that it holds.
        """
        row = METRICS[self.metric]
        value = point(row.read(level))
        if value is None:
            value = row.rough(level)
        if value is None:
            return None
        excess = value - self.bound if row.goal == "minimize" else self.bound - value
        return excess / abs(self.bound) if self.bound else excess

    def is_rough(self, level: Measurement) -> bool:
        """Whether the level is judged by a rough value, which is too little to be sure."""
        return METRICS[self.metric].rough(level) is not None

    def describe(self) -> str:
        """Such as ``p99 Latency (ms) <= 200``."""
        row = METRICS[self.metric]
        return f"{row.header} {'<=' if row.goal == 'minimize' else '>='} {self.bound:g}"


def strictest(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """One limit a metric, the one that implies the others of it."""
    kept: dict[str, Limit] = {}
    for limit in limits:
        other = kept.get(limit.metric, limit)
        tighter = min if METRICS[limit.metric].goal == "minimize" else max
        kept[limit.metric] = replace(limit, bound=tighter(limit.bound, other.bound))
    return tuple(kept.values())


def point(value: Estimate | float | None) -> float | None:
    """The number itself, whether or not it comes with an interval."""
    return value.value if isinstance(value, Estimate) else value
