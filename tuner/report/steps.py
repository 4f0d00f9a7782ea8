"""How the search went, trial by trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.judge.rank import best_level
from tuner.measure.record import Aborted, Measured, Rejected
from tuner.report import describe

if TYPE_CHECKING:
    from tuner.judge.rank import Ranked
    from tuner.measure.record import TrialRecord
    from tuner.report.numbers import Number
    from tuner.study.spec import StudyRecord, StudySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One trial of the search, in the order of time.

    Attributes:
        number: of the trial.
        name: of its configuration.
        knobs: its values in one line.
        proposal: how it came to be tried.
        status: ``measured``, ``misses the limits``, ``rejected``, ``aborted``.
        value: the objective; None where nothing was measured.
        best: the best objective that keeps the limits up to here.
        reason: why it was rejected or aborted.
        evidence: what shows it.
        seconds: that it took.
    """

    number: int
    name: str
    knobs: str
    proposal: str
    status: str
    value: Number
    best: float | None
    reason: str
    evidence: str
    seconds: float


def history(study: StudyRecord) -> tuple[Step, ...]:
    """Every trial of the search; those that measure a configuration again are left out."""
    spec, gpus = study.header.spec, describe.gpus_of(study.trials)
    steps: list[Step] = []
    top: Ranked | None = None
    for trial in study.trials:
        if trial.role == "proof" or trial.replicate_of is not None:
            continue
        judged = best_level(trial, spec.objective, spec.limits)
        if judged is not None and judged.feasible and (top is None or judged.score > top.score):
            top = judged
        best = None if top is None else spec.objective.read(top.level)
        steps.append(_step(trial, judged, best, spec, gpus=gpus))
    return tuple(steps)


def _step(
    trial: TrialRecord, judged: Ranked | None, best: float | None, spec: StudySpec, *, gpus: int
) -> Step:
    match trial.outcome:
        case Measured():
            feasible = judged is not None and judged.feasible
            status, reason, evidence = "measured" if feasible else "misses the limits", "", ""
        case Rejected(reason=reason, evidence=evidence):
            status = "rejected"
        case Aborted(cause=reason):
            status, evidence = "aborted", ""
    level = None if judged is None else judged.level
    return Step(
        number=trial.number,
        name=describe.config_name(spec.model, trial),
        knobs=describe.knobs(trial, level, gpus=gpus),
        proposal=trial.proposal,
        status=status,
        value=None if level is None else spec.objective.row.read(level),
        best=best,
        reason=reason,
        evidence=evidence,
        seconds=sum(trial.phases_s.values()),
    )
