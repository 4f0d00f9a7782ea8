"""The answer of a study: which configuration, how much better, how sure, at what cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from tuner.judge.rank import Ranked, rank
from tuner.measure.record import Aborted, Measured, Rejected
from tuner.report import numbers
from tuner.report.describe import config_name
from tuner.report.gain import Proof, gain, proofs

if TYPE_CHECKING:
    from tuner.measure.estimate import Estimate
    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord
    from tuner.study.spec import StudyRecord, StudySpec

Kind: TypeAlias = Literal["better", "keep", "misses", "nothing"]
"""A better configuration; keep your own; nothing keeps the limits; nothing was measured."""

Verdict: TypeAlias = Literal["proved", "refuted", "open", "none"]
"""What measuring again said of the gain; ``none`` where there is no gain to prove."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a study found.

    Attributes:
        kind: of answer.
        verdict: on its gain.
        ranked: measured configurations, best first; the winner leads.
        default: the user's own one; None where it was not measured.
        chosen: the winner, the user's own one or the nearest miss; None where nothing was
            measured.
        gain: of the chosen one over the default, as first measured.
        proof: the chosen one measured again beside the default.
        trials: configurations that were tried, the default included.
        rejected: how many of them cannot serve.
    """

    kind: Kind
    verdict: Verdict
    ranked: tuple[Ranked, ...]
    default: Ranked | None
    chosen: Ranked | None
    gain: Estimate | None
    proof: Proof | None
    trials: int
    rejected: int


def answer(study: StudyRecord) -> Answer:
    """Decide what the study says."""
    spec = study.header.spec
    tried = searched(study)
    ranked = rank(tried, spec.objective, spec.limits)
    default = next((entry for entry in ranked if entry.record.role == "baseline"), None)
    proof = None
    if default is not None:
        proof = next(iter(proofs(study.trials, spec, default=default.record.number)), None)
    ranked = _winner_first(ranked, proof)
    top = ranked[0] if ranked else None
    ratio = over_default(top, default, spec)
    kind, verdict = _decide(top, default, ratio, proof)
    return Answer(
        kind=kind,
        verdict=verdict,
        ranked=ranked,
        default=default,
        chosen=default if kind == "keep" else top,
        gain=ratio,
        proof=proof,
        trials=len(tried),
        rejected=sum(isinstance(trial.outcome, Rejected) for trial in tried),
    )


def searched(study: StudyRecord) -> tuple[TrialRecord, ...]:
    """The trials that stand for a configuration of their own and told something of it."""
    return tuple(
        trial
        for trial in study.trials
        if trial.replicate_of is None
        and trial.role != "proof"
        and not isinstance(trial.outcome, Aborted)
    )


def over_default(entry: Ranked | None, default: Ranked | None, spec: StudySpec) -> Estimate | None:
    """Gain of a configuration over the default.

    None for the default itself, and where either misses a limit: what may not be run is not
    gained.
    """
    if entry is None or default is None or entry is default:
        return None
    if not entry.feasible or not default.feasible:
        return None
    row = spec.objective.row
    return gain(row.read(entry.level), row.read(default.level), minimize=row.goal == "minimize")


def sentence(study: StudyRecord, found: Answer) -> str:
    """The answer in words."""
    match found.kind:
        case "better":
            return _better(study, found)
        case "keep":
            return _keep(study, found)
        case "misses":
            return _misses(study, found)
        case "nothing":
            return _nothing(study)


def verdict_sentence(found: Answer) -> str:
    """What measuring again said, in words; empty where there is nothing to prove."""
    rounds = len(found.proof.pairs) if found.proof else 0
    again = f"Measured again on fresh servers, {_times(rounds)} in turn with your configuration"
    proved = found.proof.gain if found.proof else None
    match found.verdict:
        case "none":
            return ""
        case "open":
            return (
                "The two have not been measured again side by side, and the best of many single "
                "measurements tends to look better than it is."
            )
        case "proved" | "refuted":
            return f"{again}, its gain is {_shown(proved)}."


def badge(kind: str, verdict: str) -> str:
    """The answer's standing in two words."""
    match kind, verdict:
        case "better", "proved":
            return "Proved"
        case "better", _:
            return "Not proved yet"
        case "keep", "refuted":
            return "Not confirmed"
        case "keep", _:
            return "No improvement"
        case "misses", _:
            return "Limits not kept"
        case _:
            return "Nothing measured"


def level_words(level: Measurement, spec: StudySpec) -> str:
    """The objective, then throughput and p99 where they are not the objective."""
    row = spec.objective.row
    parts = [numbers.number(row.read(level), row.unit)]
    if row.read(level) != level.throughput_per_s:
        parts.append(numbers.number(level.throughput_per_s, "infer/sec"))
    p99 = level.latency.p99_ms
    if p99 is not None and row.read(level) != p99:
        parts.append(f"p99 {numbers.number(p99, 'ms')}")
    return ", ".join(parts)


def _winner_first(ranked: tuple[Ranked, ...], proof: Proof | None) -> tuple[Ranked, ...]:
    """What was proved leads: being first among many single measurements is partly luck."""
    if proof is None or proof.gain is None or proof.gain.value <= 0:
        return ranked
    return tuple(sorted(ranked, key=lambda e: e.record.number != proof.number or not e.feasible))


def _decide(
    top: Ranked | None, default: Ranked | None, ratio: Estimate | None, proof: Proof | None
) -> tuple[Kind, Verdict]:
    if top is None:
        return "nothing", "none"
    if not top.feasible:
        return "misses", "none"
    if default is None or not default.feasible:
        return "better", "open"
    if proof is not None and proof.gain is not None:
        return ("better", "proved") if proof.holds else ("keep", "refuted")
    if top is default or (ratio is not None and ratio.low <= 0):
        return "keep", "none"
    return "better", "open"


def _better(study: StudyRecord, found: Answer) -> str:
    spec, chosen, default = study.header.spec, found.chosen, found.default
    if chosen is None:
        return _nothing(study)
    name = config_name(spec.model, chosen.record)
    shown = level_words(chosen.level, spec)
    if default is None:
        return f"{name} comes to {shown}, {_cost(study, found)}. Your own was not measured."
    against = level_words(default.level, spec)
    if not default.feasible:
        return (
            f"{name} keeps {_limits(spec)} with {shown}. Your configuration does not keep it at "
            f"any load; it comes nearest with {against}. This was {_cost(study, found)}."
        )
    return f"{name} {_claim(found, spec)}: {shown}, against {against}; {_cost(study, found)}."


def _claim(found: Answer, spec: StudySpec) -> str:
    proved = found.proof.gain if found.proof and found.verdict == "proved" else None
    ratio = proved or found.gain
    row = spec.objective.row
    what = row.header.partition(" (")[0]
    if ratio is None:
        return f"is better than your configuration in {what}"
    shown = numbers.gain(ratio).text
    if row.goal == "minimize":
        return (
            f"cuts your configuration's {what} by {numbers.share(ratio.value / (1 + ratio.value))}"
        )
    if shown.endswith("x"):
        return f"serves {shown} the {what.lower()} of your configuration"
    return f"serves {shown.lstrip('+')} more {what.lower()} than your configuration"


def _keep(study: StudyRecord, found: Answer) -> str:
    spec, top = study.header.spec, found.ranked[0]
    others = found.trials - 1
    if top.record.role == "baseline" or found.default is None:
        why = _none_better(others)
    else:
        ratio = found.proof.gain if found.proof and found.proof.gain else found.gain
        name = config_name(spec.model, top.record)
        why = (
            f"no significant improvement was found. The best of {others} others, {name}, came to "
            f"{_shown(ratio)}, which includes no gain"
        )
    own = level_words((found.default or top).level, spec)
    return f"Keep your configuration: {why}. Yours serves {own}; {_cost(study, found)}."


def _none_better(others: int) -> str:
    match others:
        case 0:
            return "no other one has been tried"
        case 1:
            return "the one other that was tried did not do better"
        case _:
            return f"none of the {others} others that were tried did better"


def _misses(study: StudyRecord, found: Answer) -> str:
    spec, nearest = study.header.spec, found.ranked[0]
    by = ""
    if nearest.violation != float("inf"):
        by = f", {numbers.share(nearest.violation)} beyond the limit"
    return (
        f"Nothing that was tried keeps {_limits(spec)}. The nearest miss is "
        f"{config_name(spec.model, nearest.record)} with {level_words(nearest.level, spec)}{by}; "
        f"{_cost(study, found)}."
    )


def _nothing(study: StudyRecord) -> str:
    for trial in study.trials:
        match trial.outcome:
            case Rejected(reason=reason) if trial.role == "baseline":
                return f"Your configuration cannot be served: {reason}"
            case Aborted(cause=cause):
                return f"Nothing was measured: {cause}"
            case Rejected() | Measured():
                continue
    return "Nothing was measured yet."


def _cost(study: StudyRecord, found: Answer) -> str:
    trials = f"{found.trials} trial{'' if found.trials == 1 else 's'}"
    return f"measured in {trials} and {numbers.duration(study.wall_clock_s)}"


def _limits(spec: StudySpec) -> str:
    return " and ".join(limit.describe() for limit in spec.limits) or "the limits"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _shown(ratio: Estimate | None) -> str:
    return numbers.both(numbers.gain(ratio)) if ratio else numbers.MISSING
