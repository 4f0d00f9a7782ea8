"""The p99 of what was measured again, where the first look was too short for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.measure.record import Measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tuner.measure.estimate import Estimate
    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord


def with_tails(trials: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The trials, each refused p99 replaced by that of a proof at the same load, if any."""
    known = _tails(trials)
    whole = []
    for trial in trials:
        outcome = trial.outcome
        if isinstance(outcome, Measured):
            levels = (_filled(level, trial.number, known) for level in outcome.levels)
            outcome = replace(outcome, levels=tuple(levels))
        whole.append(replace(trial, outcome=outcome))
    return tuple(whole)


def _filled(
    level: Measurement, number: int, known: Mapping[tuple[int, str], Estimate]
) -> Measurement:
    tail = known.get((number, str(level.workload)))
    if level.latency.p99_ms is not None or tail is None:
        return level
    return replace(level, latency=replace(level.latency, p99_ms=tail, p99_rough_ms=None))


def _tails(trials: Iterable[TrialRecord]) -> dict[tuple[int, str], Estimate]:
    """The surest p99 of each configuration and load that was measured again."""
    known: dict[tuple[int, str], Estimate] = {}
    for trial in trials:
        if trial.replicate_of is None or not isinstance(trial.outcome, Measured):
            continue
        for level in trial.outcome.levels:
            key, tail = (trial.replicate_of, str(level.workload)), level.latency.p99_ms
            sure = known.get(key)
            if tail is not None and (sure is None or tail.n_effective > sure.n_effective):
                known[key] = tail
    return known
