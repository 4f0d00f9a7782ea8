"""What a proposer learns of a trial."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tuner.judge.rank import best_level
from tuner.measure.record import Aborted, Measured, Rejected
from tuner.search.port import Seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord

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
    bounded = math.isfinite(spoken.score)
    return Seen(
        params=record.params,
        value=spoken.score if bounded else _hint(spoken.level),
        violation=min(max(spoken.violation, 0.0), WORST_VIOLATION),
        levels=levels,
    )


def _hint(level: Measurement) -> float:
    """A score for a latency that could not be bounded: of the highest percentile that could."""
    latency = level.latency
    bounded = (latency.p95_ms, latency.p90_ms, latency.p50_ms, latency.mean_ms)
    return -next(one.value for one in bounded if one is not None)
