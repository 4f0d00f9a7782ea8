"""From measured trials to an order: the best level of each, feasible ones first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.measure.estimate import Estimate
from tuner.measure.record import Measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One measured configuration and the level that speaks for it.

    Attributes:
        record: its trial.
        level: its best level that keeps the limits, or the one that comes nearest.
        score: the objective there, larger is better; -inf where it could not be bounded.
        violation: the worst miss of a limit there, as a fraction of it; <= 0 holds them all.
    """

    record: TrialRecord
    level: Measurement
    score: float
    violation: float

    @property
    def feasible(self) -> bool:
        """Whether the level keeps every limit, and somebody can say how good it is."""
        return self.violation <= 0 and self.score > -math.inf


def violation(level: Measurement, limits: Sequence[Limit]) -> float:
    """The worst miss over all limits; a metric that was not measured misses infinitely."""
    misses = [limit.violation(level) for limit in limits]
    return max((float("inf") if miss is None else miss for miss in misses), default=0.0)


def missed(level: Measurement, limits: Sequence[Limit]) -> tuple[tuple[Limit, float | None], ...]:
    """The limits that a level does not keep, the worst miss first, each as a fraction of it.

    None where the limit's metric was not measured.
    """
    judged = [(limit, limit.violation(level)) for limit in limits]
    found = [(limit, miss) for limit, miss in judged if miss is None or miss > 0]
    return tuple(
        sorted(found, key=lambda one: math.inf if one[1] is None else one[1], reverse=True)
    )


_FAR = 2.0
"""Scores that differ by such a factor are far apart."""

_CAUTION = 0.25
"""Of the half of an interval that lies below the value."""


def surest(ranked: Sequence[Ranked], objective: Objective) -> tuple[Ranked, ...]:
    """Those that keep the limits, the best by `cautious` first."""
    keeping = [entry for entry in ranked if entry.feasible]
    return tuple(sorted(keeping, key=lambda r: cautious(r.level, objective), reverse=True))


def cautious(level: Measurement, objective: Objective) -> float:
    """The objective, larger is better, less a share of what it is unsure by.

    To choose by, among numbers of which some are far surer than others: the highest of many
    noisy ones is high by chance. -inf where it was not measured.
    """
    score, ends = objective.score(level), span(level, objective)
    if score is None or ends is None:
        return -math.inf
    return score - _CAUTION * (score - ends[0])


def best_level(
    record: TrialRecord, objective: Objective, limits: Sequence[Limit]
) -> Ranked | None:
    """The level that speaks for a trial; None where no level was measured."""
    if not isinstance(record.outcome, Measured):
        return None
    judged = []
    for level in record.outcome.levels:
        score, miss = objective.score(level), violation(level, limits)
        if score is None:
            score = -math.inf
        judged.append(Ranked(record=record, level=level, score=score, violation=miss))
    return max(
        judged,
        key=lambda one: (-max(one.violation, 0.0), cautious(one.level, objective)),
        default=None,
    )


def rank(
    records: Iterable[TrialRecord], objective: Objective, limits: Sequence[Limit]
) -> tuple[Ranked, ...]:
    """Measured trials, best first. Proof trials speak for another trial and are left out."""
    judged = (best_level(r, objective, limits) for r in records if r.role != "proof")
    return tuple(sorted((j for j in judged if j is not None), key=_order, reverse=True))


def may_beat(level: Measurement, best: Measurement, objective: Objective) -> bool:
    """Whether the intervals leave it open that a level is as good as the best so far."""
    mine, other = span(level, objective), span(best, objective)
    return mine is None or other is None or mine[1] >= other[0]


def far_apart(this: Ranked, other: Ranked) -> bool:
    """Whether one score is at least twice the other: then a rough one tells as much."""
    values = sorted((abs(this.score), abs(other.score)))
    return this.score * other.score > 0 and values[1] >= _FAR * values[0]


def span(level: Measurement, objective: Objective) -> tuple[float, float] | None:
    """The objective's interval, turned so that larger is better; None if not measured."""
    value = objective.row.read(level)
    if value is None:
        return None
    low, high = (value.low, value.high) if isinstance(value, Estimate) else (value, value)
    return (-high, -low) if objective.row.goal == "minimize" else (low, high)


def _order(ranked: Ranked) -> tuple[float, float]:
    """Feasible ones by score; the others by how little they miss."""
    return (-max(ranked.violation, 0.0), ranked.score)
