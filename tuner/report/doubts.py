"""Reasons to doubt the numbers, and what to do about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.judge.drift import drift
from tuner.judge.verdict import decide
from tuner.measure.record import Measured
from tuner.report import describe

if TYPE_CHECKING:
    from tuner.study.spec import StudyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Where a caveat was found, and what it said there."""

    config: str
    load: str
    message: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaveatGroup:
    """One reason to doubt and every place where it applies.

    Attributes:
        code: of the check.
        advice: what to do about it; empty where it differs from place to place.
        seen: the places, in the order of time.
    """

    code: str
    advice: str
    seen: tuple[Seen, ...]


def doubts(study: StudyRecord) -> tuple[CaveatGroup, ...]:
    """Every caveat of every measured level, by code, and then what concerns the whole study."""
    model = study.header.spec.model
    by_number = {trial.number: trial for trial in study.trials}
    groups: dict[str, list[Seen]] = {}
    for trial in study.trials:
        if not isinstance(trial.outcome, Measured):
            continue
        original = trial
        if trial.replicate_of is not None:
            original = by_number.get(trial.replicate_of, trial)
        name = describe.config_name(model, original)
        for level in trial.outcome.levels:
            for caveat in level.caveats:
                seen = Seen(
                    config=f"{name} (measured again)" if original is not trial else name,
                    load=describe.load_words(level.workload),
                    message=caveat.message,
                    advice=caveat.advice,
                )
                groups.setdefault(caveat.code, []).append(seen)
    groups |= _drift(study)
    return tuple(
        CaveatGroup(code=code, advice=_common(seen), seen=tuple(seen))
        for code, seen in groups.items()
    )


def _drift(study: StudyRecord) -> dict[str, list[Seen]]:
    """Whether the default came to something else each time, where it was measured again."""
    spec = study.header.spec
    default = decide(study.trials, spec.objective, spec.limits).default
    if default is None:
        return {}
    caveat = drift(study.trials, spec.objective, spec.limits, default)
    if caveat is None:
        return {}
    seen = Seen(
        config=describe.config_name(spec.model, default.record),
        load=describe.load_words(default.level.workload),
        message=caveat.message,
        advice=caveat.advice,
    )
    return {caveat.code: [seen]}


def _common(seen: list[Seen]) -> str:
    advice = {one.advice for one in seen}
    return advice.pop() if len(advice) == 1 else ""
