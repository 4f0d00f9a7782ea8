"""What measuring again said: each candidate and the default, round by round on fresh servers.

A candidate's proof holds where the whole interval of its gain lies above «no difference». By
chance alone a 95 % interval does so in 2.5 of 100 cases. Two candidates may be proved at that
level: that an improvement is announced where there is none stays below 5 in 100. Where a study
that went on has proved more than two, the intervals are widened to keep it there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, geometric_mean
from typing import TYPE_CHECKING, Literal, TypeAlias

from tuner.judge.goal import point
from tuner.judge.rank import best_level
from tuner.measure.estimate import Estimate
from tuner.measure.gain import paired_gain
from tuner.measure.record import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.judge.rank import Ranked
    from tuner.measure.record import TrialRecord

Number: TypeAlias = Estimate | float | None
"""What a metric may come to."""

Standing: TypeAlias = Literal["proved", "refuted", "open"]

FEWEST_ROUNDS = 3
"""Complete rounds below which nothing is said: an interval from two pairs is of no use."""

FALSE_ALARMS = 0.05
"""Chance of announcing an improvement where there is none, over all candidates of a study."""

_FEWEST_PAIRS = 2
_TAIL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of one candidate.

    Attributes:
        number: rounds count from 0.
        mine: the objective of the candidate; None where it was not measured.
        default: the objective of the user's own configuration in the same round.
        keeps_limits: the candidate kept every limit; None where a run was too short to tell.
    """

    number: int
    mine: Number
    default: Number
    keeps_limits: bool | None

    @property
    def pair(self) -> tuple[float, float] | None:
        """Both values; None where one is missing or is no basis for a ratio."""
        mine, default = point(self.mine), point(self.default)
        if mine is None or default is None or min(mine, default) <= 0:
            return None
        return mine, default


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A candidate and the default, measured again in turn on fresh servers.

    Attributes:
        number: the trial whose configuration was measured again.
        rounds: those in which both were measured, in order; where the default misses a limit,
            the candidate is enough.
        gain: relative to the default, above 0 is better, with the paired interval; None below
            two pairs and where the default misses a limit: what may not be run is no yardstick.
        rejected: why the candidate could not serve again; empty where it always could.
        default_feasible: whether the default keeps the limits.
    """

    number: int
    rounds: tuple[Round, ...]
    gain: Estimate | None
    rejected: str = ""
    default_feasible: bool = True

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """The candidate and the default, round by round; without rounds that are no basis."""
        return [pair for one in self.rounds if (pair := one.pair) is not None]

    @property
    def means(self) -> tuple[float, float] | None:
        """The candidate and the default, geometric means over complete rounds; None without any.

        Their ratio is the gain, as it is of logarithms.
        """
        if not self.pairs:
            return None
        mine, default = zip(*self.pairs, strict=True)
        return geometric_mean(mine), geometric_mean(default)

    @property
    def kept(self) -> int:
        """Rounds in which the candidate kept every limit."""
        return sum(one.keeps_limits is True for one in self.rounds)

    @property
    def judged(self) -> int:
        """Rounds in which it is known whether the candidate kept every limit."""
        return sum(one.keeps_limits is not None for one in self.rounds)

    @property
    def keeps_limits(self) -> bool:
        """Whether it kept them in most rounds; a level at the very limit crosses it by chance."""
        return 2 * self.kept > self.judged

    @property
    def standing(self) -> Standing:
        """What is to be said of the candidate."""
        if self.rejected:
            return "refuted"
        if self.judged < FEWEST_ROUNDS:
            return "open"
        better = not self.default_feasible or (self.gain is not None and self.gain.low > 0)
        return "proved" if better and self.keeps_limits else "refuted"


def proofs(
    trials: Iterable[TrialRecord],
    objective: Objective,
    limits: Sequence[Limit],
    *,
    default: Ranked,
) -> tuple[Proof, ...]:
    """Every candidate that was measured again beside the default; the deciding one first.

    The rounds of the last `tune verify` that came far enough count alone: it asks whether the
    gain is still there.

    Args:
        trials: of the study.
        objective: what is compared.
        limits: what had to be kept.
        default: the user's own configuration.
    """
    again = [t for t in trials if t.role == "proof" and t.proof_round is not None]
    sessions = sorted({t.verification for t in again if t.verification is not None}, reverse=True)
    for session in (*sessions, None):
        asked = [t for t in again if t.verification == session]
        found = _proofs(asked, objective, limits, default)
        if session is None or any(proof.standing != "open" for proof in found):
            return found
    return ()


def _proofs(
    again: Sequence[TrialRecord],
    objective: Objective,
    limits: Sequence[Limit],
    default: Ranked,
) -> tuple[Proof, ...]:
    own = default.record.number
    of_default = {t.proof_round: t for t in again if t.replicate_of == own}
    named = [t.replicate_of for t in again if t.replicate_of is not None]
    numbers = [number for number in dict.fromkeys(named) if number != own]
    tail = min(_TAIL, 2 * FALSE_ALARMS / max(len(numbers), 1))
    found = []
    for number in numbers:
        mine = [t for t in again if t.replicate_of == number]
        paired = [(t, of_default[t.proof_round]) for t in mine if t.proof_round in of_default]
        compared = [_round(t, d, objective, limits) for t, d in paired]
        rounds = [one for one in compared if one and (one.pair or not default.feasible)]
        refusals = [t.outcome.reason for t in mine if isinstance(t.outcome, Rejected)]
        whole = tuple(sorted(rounds, key=lambda r: r.number))
        found.append(
            Proof(
                number=number,
                rounds=whole,
                gain=_gain(whole, objective, tail) if default.feasible else None,
                rejected=next(iter(refusals), ""),
                default_feasible=default.feasible,
            )
        )
    return tuple(sorted(found, key=lambda proof: _order(proof, objective), reverse=True))


def _round(
    mine: TrialRecord, default: TrialRecord, objective: Objective, limits: Sequence[Limit]
) -> Round | None:
    """Two trials of one round side by side; None where one of them measured nothing."""
    ours, theirs = best_level(mine, objective, limits), best_level(default, objective, limits)
    if ours is None or theirs is None or mine.proof_round is None:
        return None
    return Round(
        number=mine.proof_round,
        mine=objective.row.read(ours.level),
        default=objective.row.read(theirs.level),
        keeps_limits=None if math.isinf(ours.violation) else ours.feasible,
    )


def gain_over(this: Proof, other: Proof, objective: Objective) -> Estimate | None:
    """Gain of one candidate over another, from the rounds in which both were measured.

    Returns:
        Above 0 is better; None below two such rounds.
    """
    mine = {one.number: point(one.mine) for one in this.rounds}
    theirs = {one.number: point(one.mine) for one in other.rounds}
    both = [(mine[n], theirs[n]) for n in mine if n in theirs]
    pairs = [(a, b) for a, b in both if a is not None and b is not None and min(a, b) > 0]
    return _paired(pairs, objective, _TAIL)


def _gain(rounds: Sequence[Round], objective: Objective, tail: float) -> Estimate | None:
    return _paired([pair for one in rounds if (pair := one.pair)], objective, tail)


def _paired(
    pairs: Sequence[tuple[float, float]], objective: Objective, tail: float
) -> Estimate | None:
    """Gain of the first of each pair over the second."""
    if len(pairs) < _FEWEST_PAIRS:
        return None
    first, second = ([p[0] for p in pairs], [p[1] for p in pairs])
    if objective.row.goal == "minimize":
        return paired_gain(second, first, tail=tail)
    return paired_gain(first, second, tail=tail)


def _order(proof: Proof, objective: Objective) -> tuple[int, float, float]:
    """What is proved leads, then what may yet be; among equals the larger gain.

    Where the default misses a limit there is no gain, and the candidate's own numbers decide.
    """
    rank = ("refuted", "open", "proved").index(proof.standing)
    mine = [value for one in proof.rounds if (value := point(one.mine)) is not None]
    turned = -fmean(mine or [0.0]) if objective.row.goal == "minimize" else fmean(mine or [0.0])
    return rank, proof.gain.value if proof.gain else 0.0, turned
