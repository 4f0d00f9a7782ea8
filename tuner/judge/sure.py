"""When a proof need not go on: further rounds would change nothing that is said.

Looking after each round, and stopping at the first that suits, makes a false winner likelier. It
hardly does where the early looks ask for far more than the last one: at a chance of 1 in 1000,
which leaves the level of the last look as good as untouched (Haybittle, «Repeated assessment of
results in clinical trials of cancer treatment», 1971; Peto and others, 1976). So only what is
plain ends early, such as a gain of fifty times; one of a few per cent takes all its rounds.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from tuner.judge.proof import FEWEST_ROUNDS, gain_at, gain_over, proofs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.judge.proof import Proof
    from tuner.judge.rank import Ranked
    from tuner.measure.record import TrialRecord

_TAIL = 0.001
_NEARLY = 0.1


def is_sure(
    trials: Iterable[TrialRecord],
    runners: Sequence[Ranked],
    objective: Objective,
    limits: Sequence[Limit],
    *,
    default: Ranked,
) -> bool:
    """Whether the rounds so far tell all that the proof is for.

    That is of each candidate whether it is better than the default and keeps the limits, and of
    those that are proved which one it is to be: one is better, or neither by as much as a tenth.

    Args:
        trials: of the study, without those of `tune verify`.
        runners: the candidates of the proof.
        objective: what is compared.
        limits: what has to be kept.
        default: the user's own configuration.
    """
    found = {proof.number: proof for proof in proofs(trials, objective, limits, default=default)}
    known = [found[r.record.number] for r in runners if r.record.number in found]
    if len(known) < len(runners) or not all(_is_plain(proof, objective) for proof in known):
        return False
    proved = [proof for proof in known if proof.standing == "proved"]
    return all(_are_told_apart(*pair, objective) for pair in combinations(proved, 2))


def _is_plain(proof: Proof, objective: Objective) -> bool:
    """Whether more rounds would leave the candidate's standing as it is."""
    if proof.rejected:
        return True
    if proof.judged < FEWEST_ROUNDS or proof.kept not in {0, proof.judged}:
        return False
    if not proof.default_feasible:
        return True
    gain = gain_at(proof, objective, tail=_TAIL)
    return gain is not None and (gain.low > 0 or gain.high < 0)


def _are_told_apart(one: Proof, other: Proof, objective: Objective) -> bool:
    """Whether one is better than the other, or neither by so much that it is worth the time."""
    gain = gain_over(one, other, objective)
    if gain is None:
        return False
    return gain.low > 0 or gain.high < 0 or max(gain.high, -gain.low) <= _NEARLY
