"""What a proposer learns of a trial."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.judge.front import FIRST_WEIGHTS, ideal, looked_at
from tuner.judge.rank import best_level, violation
from tuner.measure.record import Aborted, Measured, Rejected
from tuner.search.port import Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.judge.front import Pair
    from tuner.judge.goal import Limit, Objective
    from tuner.measure.record import TrialRecord

THROUGHPUT = "throughput_per_s"
"""What the default search knows the shape of."""

WORST_VIOLATION = 10.0
"""What a proposer is told of a limit whose metric could not be measured."""


def tells(record: TrialRecord) -> bool:
    """Whether a trial counts: a baseline that was rejected is measured again once mended."""
    match record.outcome:
        case Measured():
            return record.role != "proof"
        case Rejected():
            return record.role == "search"
        case Aborted():
            return False


def seen(record: TrialRecord, objective: Objective, limits: Sequence[Limit]) -> Seen:
    """A trial in a proposer's terms."""
    spoken = best_level(record, objective, limits)
    levels = record.outcome.levels if isinstance(record.outcome, Measured) else ()
    if spoken is None:
        return Seen(params=record.params, value=None, rejected=True, levels=levels)
    value = objective.hint(spoken.level)
    return Seen(
        params=record.params,
        value=-value if value is not None and objective.row.goal == "minimize" else value,
        violation=min(max(spoken.violation, 0.0), WORST_VIOLATION),
        levels=levels,
    )


def first_weight(told: int) -> float:
    """How much the first of two objectives weighs in the next proposal.

    Args:
        told: configurations that have told something so far.
    """
    return FIRST_WEIGHTS[told % len(FIRST_WEIGHTS)]


def seen_along_front(
    records: Iterable[TrialRecord],
    objectives: tuple[Objective, Objective],
    limits: Sequence[Limit],
    weight: float,
) -> tuple[Seen, ...]:
    """Trials in a proposer's terms, each valued in one direction along the front.

    Args:
        records: of the study.
        objectives: both.
        limits: what to keep.
        weight: of the first objective, from `first_weight`.
    """
    told = [(r, seen(r, objectives[0], limits)) for r in records]
    best = ideal((level for _, one in told for level in one.levels), objectives)
    heavier = objectives[0 if weight >= 0.5 else 1]  # noqa: PLR2004 - of a whole of 1
    return tuple(
        replace(one, value=_along_front(one, objectives, limits, (best, weight), heavier))
        for _, one in told
    )


def _along_front(
    one: Seen,
    objectives: tuple[Objective, Objective],
    limits: Sequence[Limit],
    direction: tuple[Pair | None, float],
    heavier: Objective,
) -> float | None:
    """The value of a configuration; None where it cannot serve or lacks a number.

    Above 0 where throughput counts most, as the default search knows how that behaves; below 0,
    as for any latency, where it does not. Both are 10 % off where the point is 10 % off.
    """
    best, weight = direction
    if best is None or one.rejected:
        return None
    keeping = [level for level in one.levels if violation(level, limits) <= 0]
    short = looked_at(keeping or one.levels, objectives, ideal=best, first_weight=weight)
    if short is None:
        return None
    return math.exp(-short) if heavier.metric == THROUGHPUT else -math.exp(short)
