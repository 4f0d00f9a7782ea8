"""By how much one configuration is better than another, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.judge.goal import point
from tuner.judge.rank import best_level
from tuner.measure.estimate import Estimate
from tuner.measure.gain import paired_gain, ratio_gain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.measure.record import TrialRecord
    from tuner.report.numbers import Number
    from tuner.study.spec import StudySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A configuration and the default, measured again in turn on fresh servers.

    Attributes:
        number: the trial whose configuration was measured again.
        pairs: the objective, (configuration, default) by round, in the metric's unit.
        gain: relative to the default, above 0 is better, with the paired 95 % interval; None
            where no round was complete.
    """

    number: int
    pairs: tuple[tuple[Number, Number], ...]
    gain: Estimate | None

    @property
    def holds(self) -> bool:
        """Whether the whole interval lies above «no difference»."""
        return self.gain is not None and self.gain.low > 0


def gain(this: Number, default: Number, *, minimize: bool) -> Estimate | None:
    """Relative gain from two numbers that were measured apart; above 0 is better.

    Half the latency is a gain of 1, like twice the throughput. None where a number is missing,
    not positive or without an interval.
    """
    if not isinstance(this, Estimate) or not isinstance(default, Estimate):
        return None
    if min(this.value, default.value) <= 0:
        return None
    return ratio_gain(default, this) if minimize else ratio_gain(this, default)


def proofs(trials: Iterable[TrialRecord], spec: StudySpec, *, default: int) -> tuple[Proof, ...]:
    """Every configuration that was measured again beside the default, best proved gain first.

    Args:
        trials: of the study.
        spec: for its objective and limits.
        default: number of the trial that measured the user's own configuration.
    """
    seen: dict[int, list[Number]] = {}
    for trial in trials:
        if trial.role == "proof" and trial.replicate_of is not None:
            judged = best_level(trial, spec.objective, spec.limits)
            value = None if judged is None else spec.objective.row.read(judged.level)
            seen.setdefault(trial.replicate_of, []).append(value)
    defaults = seen.pop(default, [])
    found = [_proof(number, values, defaults, spec) for number, values in seen.items()]
    return tuple(sorted(found, key=lambda p: p.gain.value if p.gain else 0.0, reverse=True))


def _proof(
    number: int, values: Sequence[Number], defaults: Sequence[Number], spec: StudySpec
) -> Proof:
    minimize = spec.objective.row.goal == "minimize"
    pairs = tuple(zip(values, defaults, strict=False))
    complete = [(t, d) for t, d in ((point(t), point(d)) for t, d in pairs) if t and d]
    if len(complete) > 1:
        mine, others = zip(*complete, strict=True)
        proved = paired_gain(others, mine) if minimize else paired_gain(mine, others)
        return Proof(number=number, pairs=pairs, gain=proved)
    once = next((gain(t, d, minimize=minimize) for t, d in pairs if t and d), None)
    return Proof(number=number, pairs=pairs, gain=once)
