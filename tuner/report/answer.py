"""The verdict in words: which configuration, how much better, how sure, at what cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tuner.judge.lean import Spared, saving
from tuner.judge.verdict import Answer, decide
from tuner.measure.duration import duration
from tuner.measure.record import Aborted, Measured, Rejected
from tuner.report import numbers
from tuner.report.describe import config_name, load_words
from tuner.report.limits import beyond, named, roughly_kept
from tuner.report.spent import spent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner.judge.proof import Proof
    from tuner.judge.rank import Ranked
    from tuner.measure.estimate import Estimate
    from tuner.measure.measurement import Measurement
    from tuner.study.spec import StudyRecord, StudySpec


def answer(study: StudyRecord) -> Answer:
    """What the study says."""
    spec = study.header.spec
    return decide(study.trials, spec.objective, spec.limits)


def simulated(environment: Mapping[str, str]) -> bool:
    """Whether the numbers come from the simulator and say nothing of a machine.

    Args:
        environment: of the study.
    """
    return environment.get("server", "").startswith("simulated")


def sentence(study: StudyRecord, found: Answer) -> str:
    """The answer in words."""
    words = _sentence(study, found)
    if found.usable and found.chosen is not None:
        words += roughly_kept(found.chosen.level, study.header.spec.limits)
    return f"Simulated: {words}" if simulated(study.header.environment) else words


def _sentence(study: StudyRecord, found: Answer) -> str:
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
    match found.verdict:
        case "none":
            return ""
        case "open":
            done = len(found.proof.rounds) if found.proof else 0
            what = f"only {_times(done)}" if done else "not"
            return (
                f"The two have {what} been measured again side by side, and the best of many "
                "single measurements tends to look better than it is."
            )
        case "proved" | "refuted":
            return "" if found.proof is None else _proof_sentence(found.proof)


def _proof_sentence(proof: Proof) -> str:
    rounds = len(proof.rounds)
    if proof.rejected:
        return f"Served again on a fresh server, it failed: {proof.rejected}"
    again = f"Measured again on fresh servers, {_times(rounds)} in turn with your configuration"
    kept = f"it kept the limits in {proof.kept} of {rounds} rounds"
    if not proof.keeps_limits or proof.gain is None:
        return f"{again}, {kept}."
    return f"{again}, its gain is {_shown(proof.gain)}."


def lead_sentence(found: Answer, model: str) -> str:
    """Why the first row leads another one whose number may be better; empty where none is."""
    if found.kind != "better":
        return ""
    first, *others = (entry for entry in found.ranked if entry.feasible)
    if found.verdict == "proved" and found.spared is not None:
        return _instead(first, found.spared, model)
    better = [entry for entry in others if entry.score > first.score]
    if not better:
        return ""
    rival = max(better, key=lambda entry: entry.score)
    leads, name = f"{config_name(model, first.record)} leads", config_name(model, rival.record)
    again = next((one for one in found.beside if one.number == rival.record.number), None)
    if found.verdict == "proved":
        return f"{leads} because measuring again proved it; {_what_became_of(name, again)}."
    if again is not None and again.standing == "refuted":
        return f"{leads}; {_what_became_of(name, again)}."
    return f"{leads} because its number is surer; the better one of {name} may be chance."


def _what_became_of(name: str, again: Proof | None) -> str:
    """Why a configuration with a better first number does not lead.

    Args:
        name: of the configuration.
        again: what measuring it again said; None where nobody did.
    """
    if again is None or (again.standing == "open" and not again.rounds):
        return f"the better number of {name} comes from a single run"
    better = f"{name}, whose first number is better,"
    match again.standing:
        case "refuted":
            return f"{better} {_fell_short(again, again.gain)}"
        case "proved":
            return f"{better} did less well when it was measured again"
        case "open":
            return f"{better} has only been measured again {_times(len(again.rounds))}"


def _instead(lean: Ranked, spared: Spared, model: str) -> str:
    """Why a configuration leads another one that may be a little better."""
    said = (
        f"{config_name(model, lean.record)} leads: measured in turn with it, "
        f"{config_name(model, spared.entry.record)} came to {_shown(spared.gain)}, no more than "
        "chance would do"
    )
    row = saving(lean.level, spared.entry.level)
    if row is None:
        return f"{said}."
    what = row.header.partition(" (")[0]
    more, less = (row.value(entry.level) for entry in (spared.entry, lean))
    return (
        f"{said}, and its {what} is {numbers.number(more, row.unit)}, not "
        f"{numbers.number(less, row.unit)}."
    )


def badge(kind: str, verdict: str) -> str:
    """The answer's standing in two words."""
    match kind, verdict:
        case "better", "proved":
            return "Proved"
        case "better" | "keep", "refuted":
            return "Not confirmed"
        case "better", _:
            return "Not proved yet"
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
    return ", ".join(parts) + _p99(level, spec)


def _p99(level: Measurement, spec: StudySpec) -> str:
    """The p99 to put behind the objective, where it is known and not the objective itself."""
    p99 = level.latency.p99_ms
    if p99 is None or spec.objective.row.read(level) == p99:
        return ""
    return f", p99 {numbers.number(p99, 'ms')}"


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
            f"{name} keeps {named(spec.limits)} with {shown}. {_yours(default, spec)} This was "
            f"{_cost(study, found)}."
        )
    if found.verdict == "proved" and found.proof is not None and found.proof.means is not None:
        mine, other = (numbers.plain(mean) for mean in found.proof.means)
        shown = f"{mine} {spec.objective.row.unit}{_p99(chosen.level, spec)}"
        against = f"{other}{_p99(default.level, spec)}"
        against += f", each {_times(len(found.proof.rounds))} in turn on fresh servers"
    return f"{name} {claim(found, spec)}: {shown}, against {against}; {_cost(study, found)}."


def _yours(default: Ranked, spec: StudySpec) -> str:
    """How the user's own configuration misses the limits, as a sentence."""
    shown = level_words(default.level, spec)
    if math.isinf(default.violation):
        return (
            "Whether yours does is open: no run of your configuration was long enough to tell "
            f"(--window); it comes to {shown}."
        )
    return f"Your configuration does not keep it at any load; it comes nearest with {shown}."


def claim(found: Answer, spec: StudySpec) -> str:
    """How much better the winner is, as the sentence's verb and what follows it."""
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
    if spec.objective.metric != "throughput_per_s":
        by = f"to {shown}" if shown.endswith("x") else f"by {shown.lstrip('+')}"
        return f"raises your configuration's {what} {by}"
    if shown.endswith("x"):
        return f"serves {shown} the {what.lower()} of your configuration"
    return f"serves {shown.lstrip('+')} more {what.lower()} than your configuration"


def _keep(study: StudyRecord, found: Answer) -> str:
    spec, rival = study.header.spec, _rival(found)
    others = found.trials - 1
    if rival is None or found.default is None:
        unknown = sum(entry.score == -math.inf for entry in found.ranked)
        why = _none_better(others)
        if unknown:
            why += (
                f", and of {unknown} no run was long enough to bound the "
                f"{spec.objective.row.header} (--window measures for longer)"
            )
    else:
        name = config_name(spec.model, rival.record)
        gain = (found.proof.gain if found.proof else None) or found.gain
        why = (
            f"no significant improvement was found. The best of {others} others, {name}, "
            f"{_fell_short(found.proof, gain)}"
        )
    own = level_words((found.default or found.ranked[0]).level, spec)
    comes_to = "serves" if spec.objective.metric == "throughput_per_s" else "comes to"
    return f"Keep your configuration: {why}. Yours {comes_to} {own}; {_cost(study, found)}."


def _rival(found: Answer) -> Ranked | None:
    """What came nearest to beating the user's own; None where nothing did better at all."""
    if found.proof is not None:
        number = found.proof.number
        return next((entry for entry in found.ranked if entry.record.number == number), None)
    top = found.ranked[0]
    return None if top is found.default else top


def _fell_short(proof: Proof | None, gain: Estimate | None) -> str:
    """Why a configuration is no improvement, as the rest of a sentence about it."""
    if proof is not None and proof.rejected:
        return "could not serve when it was measured again"
    if proof is not None and not proof.keeps_limits and proof.rounds:
        rounds = len(proof.rounds)
        return f"kept the limits in {proof.kept} of {rounds} rounds when it was measured again"
    when = "" if proof is None else " when it was measured again"
    below = gain is not None and gain.high < 0
    return f"came to {_shown(gain)}{when}, which {'is a loss' if below else 'includes no gain'}"


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
    if nearest.score == -math.inf and nearest.violation <= 0:
        return (
            f"No run was long enough to bound the {spec.objective.row.header} of any "
            "configuration: measure for longer (--window), or name another --objective; "
            f"{_cost(study, found)}."
        )
    return (
        f"Nothing that was tried keeps {named(spec.limits)}. The nearest miss is "
        f"{config_name(spec.model, nearest.record)} with {level_words(nearest.level, spec)} at "
        f"{load_words(nearest.level.workload)}{beyond(nearest.level, spec.limits)}; "
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
    return f"measured in {trials} and {duration(spent(study).total_s)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _shown(ratio: Estimate | None) -> str:
    return numbers.both(numbers.gain(ratio)) if ratio else numbers.MISSING
