"""The verdict on a study: which configuration, how much better, how sure. The one place for it.

The report words it, `tune export` writes its choice, and exit codes follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from tuner.judge.lean import Spared, leanest_as_good
from tuner.judge.proof import Number, Proof, proofs
from tuner.judge.rank import Ranked, rank, surest
from tuner.judge.tails import with_tails
from tuner.measure.estimate import Estimate
from tuner.measure.gain import ratio_gain
from tuner.measure.record import Aborted, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.measure.record import TrialRecord

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
        ranked: measured configurations, best first; a proved winner leads.
        default: the user's own one; None where it was not measured.
        chosen: the winner, the user's own one or the nearest miss; None where nothing was
            measured.
        gain: of the best one over the default, as first measured.
        proof: the best one measured again beside the default.
        beside: the other candidates that were measured again; in the study's own proof where a
            verification measured the winner alone.
        spared: what the proof made out to gain most, where a leaner winner does as well.
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
    spared: Spared | None = None
    beside: tuple[Proof, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether there is a configuration to use, be it the user's own."""
        return self.kind in {"better", "keep"}


def decide(
    records: Iterable[TrialRecord], objective: Objective, limits: Sequence[Limit]
) -> Answer:
    """Decide what a study says.

    The winner is what was proved to gain most, or the leanest that was proved beside it and did
    as well. Where nothing is proved yet, it is what the proof makes out to be best so far, else
    the surest, if its interval leaves no doubt. Where the proof failed, the user's own stays. A
    p99 that only a proof was long enough to bound counts for its configuration.

    Args:
        records: of the study.
        objective: what to improve.
        limits: what to keep.
    """
    records = with_tails(tuple(records))
    tried = searched(records)
    ranked = rank(tried, objective, limits)
    default = next((entry for entry in ranked if entry.record.role == "baseline"), None)
    proof, spared = None, None
    candidates: dict[int, Proof] = {}
    if default is not None:
        known = proofs(records, objective, limits, default=default)
        feasible = {entry.record.number: entry for entry in ranked if entry.feasible}
        proof, spared = _leading(known, feasible, objective)
        # A verification measures the winner alone; what it was taken instead of is known before.
        own = [record for record in records if record.verification is None]
        earlier = proofs(own, objective, limits, default=default)
        first, instead = _leading(earlier, feasible, objective)
        if proof is not None and first is not None and proof.number == first.number:
            spared = instead
        candidates = {one.number: one for one in (*earlier, *known)}
    number = _speaking(ranked, proof, objective)
    ranked = tuple(sorted(ranked, key=lambda entry: entry.record.number != number))
    top = ranked[0] if ranked else None
    ratio = over_default(top, default, objective)
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
        spared=spared,
        beside=tuple(one for one in candidates.values() if proof and one.number != proof.number),
    )


def _leading(
    known: Sequence[Proof], feasible: Mapping[int, Ranked], objective: Objective
) -> tuple[Proof | None, Spared | None]:
    """The proof that decides, and what its candidate is taken instead of."""
    proof = next((one for one in known if one.number in feasible), None)
    if proof is None:
        return None, None
    return leanest_as_good(proof, known, feasible, objective) or (proof, None)


def _speaking(ranked: Sequence[Ranked], proof: Proof | None, objective: Objective) -> int | None:
    """Number of the trial that the answer is about; None where what ranks first speaks."""
    if proof is not None and proof.standing != "refuted":
        return proof.number
    sure = surest(ranked, objective)
    return sure[0].record.number if sure and proof is None else None


def searched(records: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The trials that stand for a configuration of their own and told something of it."""
    return tuple(
        trial
        for trial in records
        if trial.replicate_of is None
        and trial.role != "proof"
        and not isinstance(trial.outcome, Aborted)
    )


def over_default(
    entry: Ranked | None, default: Ranked | None, objective: Objective
) -> Estimate | None:
    """Gain of a configuration over the default, from two numbers that were measured apart.

    None for the default itself, and where either misses a limit: what may not be run is not
    gained.
    """
    if entry is None or default is None or entry is default:
        return None
    if not entry.feasible or not default.feasible:
        return None
    row = objective.row
    minimize = row.goal == "minimize"
    return gain(row.read(entry.level), row.read(default.level), minimize=minimize)


def gain(this: Number, default: Number, *, minimize: bool) -> Estimate | None:
    """Relative gain of one number over another; above 0 is better.

    Half the latency is a gain of 1, like twice the throughput. None where a number is missing,
    not positive or without an interval.
    """
    if not isinstance(this, Estimate) or not isinstance(default, Estimate):
        return None
    if min(this.value, default.value) <= 0:
        return None
    return ratio_gain(default, this) if minimize else ratio_gain(this, default)


def _decide(
    top: Ranked | None, default: Ranked | None, ratio: Estimate | None, proof: Proof | None
) -> tuple[Kind, Verdict]:
    if top is None:
        return "nothing", "none"
    if not top.feasible:
        return "misses", "none"
    standing = "open" if proof is None else proof.standing
    if default is None or not default.feasible:
        return "better", standing
    match standing:
        case "proved":
            return "better", standing
        case "refuted":
            return "keep", standing
        case "open":
            doubtful = top is default or (ratio is not None and ratio.low <= 0)
            return ("keep", "none") if doubtful else ("better", standing)
