"""Two objectives: which points are on the front, and how a search looks along it.

A point is a configuration at one of its load levels: a configuration under little load and the
same one under much are two answers to «how much throughput at what latency».
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tuner.judge.rank import span, violation
from tuner.measure.record import Measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord

Pair: TypeAlias = tuple[float, float]

FIRST_WEIGHTS = (0.5, 0.9, 0.1, 0.7, 0.3)
"""How much the first objective weighs against the second, proposal by proposal in turn."""

_AUGMENTED = 0.05
"""Share of the plain weighted sum in Chebyshev's, so that of two points that are equal in the
worse objective the one that is better in the other counts for more (Steuer and Choo, «An
interactive weighted Tchebycheff procedure», 1983)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A configuration at one load level.

    Attributes:
        record: its trial.
        level: the load level.
        scores: both objectives there, larger is better.
        low: the lower ends of their intervals; the values themselves where there is none.
        high: the upper ends.
    """

    record: TrialRecord
    level: Measurement
    scores: Pair
    low: Pair
    high: Pair


def pareto_front(
    records: Iterable[TrialRecord],
    objectives: tuple[Objective, Objective],
    limits: Sequence[Limit],
) -> tuple[Point, ...]:
    """The points that no other one makes superfluous, the best in the first objective first.

    A point is superfluous beside another one that is at least as good in both objectives, and
    also beside one that is surely better in one of them (the intervals are apart) while in the
    other the two cannot be told apart (the intervals meet). So a difference within the noise
    keeps nothing on the front that is clearly worse otherwise. As «cannot be told apart» goes
    step by step from one end of the front to the other, only a point that is itself on the front
    makes another one superfluous.

    Args:
        records: configurations, each to be looked at level by level.
        objectives: the two.
        limits: a level that misses one is no point.
    """
    points = list(_points(records, objectives, limits))
    beaten_by = [{i for i, one in enumerate(points) if _beats(one, other)} for other in points]
    left = set(range(len(points)))
    front: list[int] = []
    while left:
        # There is always one that nothing beats; were there none, any would do.
        free = {i for i in left if not beaten_by[i] & left} or {min(left)}
        front += sorted(free)
        left = {i for i in left - free if not beaten_by[i] & free}
    return tuple(sorted((points[i] for i in front), key=lambda p: p.scores, reverse=True))


def looked_at(
    levels: Iterable[Measurement],
    objectives: tuple[Objective, Objective],
    *,
    ideal: Pair,
    first_weight: float,
) -> float | None:
    """How far the best of some levels is from the ideal, in one direction along the front.

    Augmented Chebyshev: the larger of the two weighted shortfalls, each a logarithm of a ratio,
    over the larger weight; 0 is the ideal itself, 0.1 about 10 % short of it in what counts more.

    Args:
        levels: of one configuration.
        objectives: the two.
        ideal: from `ideal`.
        first_weight: of the first objective, above 0 and below 1; the second has the rest.

    Returns:
        None where no level has both numbers.
    """
    weights = (first_weight, 1 - first_weight)
    found = []
    for level in levels:
        logs = _logs(level, objectives)
        if logs is None:
            continue
        short = [w * (top - own) for w, top, own in zip(weights, ideal, logs, strict=True)]
        found.append((max(short) + _AUGMENTED * sum(short)) / max(weights))
    return min(found, default=None)


def ideal(levels: Iterable[Measurement], objectives: tuple[Objective, Objective]) -> Pair | None:
    """The best of each objective over all levels, as logarithms; larger is better.

    None where no level has both numbers.
    """
    known = [logs for level in levels if (logs := _logs(level, objectives)) is not None]
    if not known:
        return None
    first, second = zip(*known, strict=True)
    return max(first), max(second)


def _logs(level: Measurement, objectives: tuple[Objective, Objective]) -> Pair | None:
    logs = []
    for objective in objectives:
        value = objective.hint(level)
        if value is None or value <= 0:
            return None
        logs.append(math.log(value) * (-1 if objective.row.goal == "minimize" else 1))
    return logs[0], logs[1]


def _points(
    records: Iterable[TrialRecord],
    objectives: tuple[Objective, Objective],
    limits: Sequence[Limit],
) -> Iterable[Point]:
    for record in records:
        levels = record.outcome.levels if isinstance(record.outcome, Measured) else ()
        for level in levels:
            if violation(level, limits) > 0:
                continue
            first, second = (_with_interval(level, objective) for objective in objectives)
            if first is None or second is None:
                continue
            (one, one_low, one_high), (two, two_low, two_high) = first, second
            yield Point(
                record=record,
                level=level,
                scores=(one, two),
                low=(one_low, two_low),
                high=(one_high, two_high),
            )


def _with_interval(level: Measurement, objective: Objective) -> tuple[float, float, float] | None:
    """The score with both ends of its interval; None where it was not measured."""
    score, ends = objective.score(level), span(level, objective)
    return None if score is None or ends is None else (score, *ends)


def _beats(this: Point, other: Point) -> bool:
    """Whether ``other`` is superfluous beside ``this``."""
    if this.scores != other.scores and all(
        mine >= its for mine, its in zip(this.scores, other.scores, strict=True)
    ):
        return True
    surely_better = [low > high for low, high in zip(this.low, other.high, strict=True)]
    surely_worse = [high < low for high, low in zip(this.high, other.low, strict=True)]
    return any(surely_better) and not any(surely_worse)
