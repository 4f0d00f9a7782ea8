"""Whether the machine changed while a study ran: the default, measured again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.judge.rank import best_level
from tuner.measure.estimate import Estimate
from tuner.measure.measurement import Caveat

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.judge.rank import Ranked
    from tuner.measure.record import TrialRecord

DRIFT = "drift"

TOLERANCE = 0.05
"""A difference below this share is no drift: fresh servers differ by as much."""


def drift(
    records: Iterable[TrialRecord],
    objective: Objective,
    limits: Sequence[Limit],
    default: Ranked,
) -> Caveat | None:
    """Compare all measurements of the default at the load that speaks for it.

    Those of a `tune verify` are left out: that a machine is another one weeks later is no drift.

    They disagree where the highest and the lowest differ by more than `TOLERANCE`, and neither
    one's interval reaches the other's.

    Args:
        records: of the study.
        objective: the metric that is compared.
        limits: of the study.
        default: the user's own configuration as it was measured first.
    """
    row, load = objective.row, default.level.workload
    own = default.record.number
    again = [r for r in records if r.replicate_of == own and r.verification is None]
    judged = [best_level(record, objective, limits) for record in again]
    seen: list[tuple[Estimate, int]] = []
    for entry in (default, *judged):
        if entry is None or entry.level.workload != load:
            continue
        value = row.read(entry.level)
        if isinstance(value, Estimate):
            seen.append((value, entry.record.number))
    if not seen:
        return None
    low, high = min(seen, key=lambda s: s[0].value), max(seen, key=lambda s: s[0].value)
    apart = high[0].low > low[0].high
    if not apart or high[0].value < (1 + TOLERANCE) * low[0].value:
        return None
    first, last = sorted((low, high), key=lambda s: s[1])
    return Caveat(
        code=DRIFT,
        message=(
            f"Your own configuration, measured {len(seen)} times, came to"
            f" {_shown(first[0], row.unit)} in trial {first[1]} and to"
            f" {_shown(last[0], row.unit)} in trial {last[1]}."
        ),
        advice=(
            "The machine changed while the study ran, or each start of the server settles"
            " differently: trust the rounds that were measured in turn more than the ranking."
            " Look for other work, falling clocks and heat, then run again with --fresh."
        ),
    )


def _shown(value: Estimate, unit: str) -> str:
    return f"{value.value:.4g} {unit} ({value.low:.4g} to {value.high:.4g})"
