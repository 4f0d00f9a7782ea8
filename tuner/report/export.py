"""The configuration to use, with where it came from at its top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.judge.rank import best_level
from tuner.judge.verdict import over_default, searched
from tuner.measure.record import Aborted, Measured, Rejected
from tuner.model.config import ModelConfig
from tuner.report import answer as answers
from tuner.report import describe, numbers
from tuner.report.front import front_lines

if TYPE_CHECKING:
    from tuner.judge.verdict import Answer
    from tuner.measure.record import TrialRecord
    from tuner.study.spec import StudyRecord


def exported_config(study: StudyRecord, trial: int | None) -> str:
    """A config.pbtxt that Triton loads, with its provenance as a comment.

    Args:
        study: the record.
        trial: whose configuration; None takes what the study's answer is.

    Raises:
        UsageError: there is no such trial, it did not serve or only measured again, or nothing
            keeps the limits.
    """
    found = answers.answer(study)
    record = _chosen(study, found) if trial is None else _numbered(study, trial)
    config = ModelConfig.parse(record.config_pbtxt, path=Path("config.pbtxt"))
    return config.with_provenance(_provenance(study, found, record))


def _chosen(study: StudyRecord, found: Answer) -> TrialRecord:
    if found.chosen is None or not found.usable:
        raise UsageError(
            f"{answers.sentence(study, found)} To export a configuration all the same, name its "
            "trial with --trial N."
        )
    return found.chosen.record


def _numbered(study: StudyRecord, number: int) -> TrialRecord:
    name = study.header.spec.name
    record = next((trial for trial in study.trials if trial.number == number), None)
    own = searched(study.trials)
    known = ", ".join(str(trial.number) for trial in own) or "none yet"
    if record is None:
        raise UsageError(f"study {name} has no trial {number}; it has {known}.")
    match record.outcome:
        case Measured():
            if record not in own:
                raise UsageError(
                    f"trial {number} of study {name} only measured again; trials with a "
                    f"configuration of their own: {known}."
                )
            return record
        case Rejected(reason=reason) | Aborted(cause=reason):
            raise UsageError(f"trial {number} of study {name} did not serve: {reason}")


def _provenance(study: StudyRecord, found: Answer, record: TrialRecord) -> list[str]:
    spec = study.header.spec
    judged = best_level(record, spec.objective, spec.limits)
    lines = [
        f"{describe.config_name(spec.model, record)}, exported by tuner.",
        f"Study {spec.name}, trial {record.number}, measured {record.started_at_utc}.",
    ]
    if judged is not None:
        load = describe.load_words(judged.level.workload)
        lines.append(f"Measured: {answers.level_words(judged.level, spec)}, at {load}.")
        ratio = over_default(judged, found.default, spec.objective)
        if ratio is not None and judged.record.role != "baseline":
            lines.append(f"Gain over the default: {numbers.both(numbers.gain(ratio))}.")
    lines += front_lines(study, record.number)
    if found.chosen is not None and found.chosen.record.number == record.number:
        verdict = answers.verdict_sentence(found) or answers.sentence(study, found)
        lines.append(f"{answers.badge(found.kind, found.verdict)}: {verdict}")
    if spec.weights is not None:
        lines.append(f"weights: {spec.weights}")
    lines += [f"{key}: {text}" for key, text in study.header.environment.items()]
    lines.append("")
    # What comes from outside may hold a line break; one line of comment it stays.
    return [" ".join(line.split()) for line in lines]
