"""When a proof need not go on: the gain is so plain that further rounds would not undo it.

Plain is a candidate that was at least twice as good as the default in every round and is proved,
or one that was at most half as good. No noise between servers does that, and looking early at
anything finer, such as the interval, would pick the rounds that agree by chance. Which of two
winners that come close to each other it is to be may still change with more rounds; they are not
worth that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.judge.lean import leanest_as_good
from tuner.judge.proof import FEWEST_ROUNDS, gain_over, proofs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.judge.proof import Proof
    from tuner.judge.rank import Ranked
    from tuner.measure.record import TrialRecord

_PLAIN = 2.0
_MORE = 0.25
"""What could gain that much more than the winner is worth another round."""


def looks_plain(best: Ranked, default: Ranked, objective: Objective) -> bool:
    """Whether a proof is likely to end early, by what was measured before it.

    Args:
        best: what is to be proved.
        default: the user's own configuration.
        objective: what is compared.
    """
    if not default.feasible:
        return True
    mine, own = objective.read(best.level), objective.read(default.level)
    if not mine or not own:
        return False
    return _times_better(mine, own, objective) >= _PLAIN


def is_sure(
    trials: Iterable[TrialRecord],
    runners: Sequence[Ranked],
    objective: Objective,
    limits: Sequence[Limit],
    *,
    default: Ranked,
) -> bool:
    """Whether the rounds so far tell of each candidate whether it is better than the default.

    And whether it keeps the limits, and that none is likely to be better by a quarter than the
    one that is chosen.

    Args:
        trials: of the study, without those of `tune verify`.
        runners: the candidates of the proof.
        objective: what is compared.
        limits: what has to be kept.
        default: the user's own configuration.
    """
    entries = {runner.record.number: runner for runner in runners}
    found = proofs(trials, objective, limits, default=default)
    known = [proof for proof in found if proof.number in entries]
    if len(known) < len(runners) or not all(_is_plain(proof, objective) for proof in known):
        return False
    proved = [proof for proof in known if proof.standing == "proved"]
    if not proved:
        return True
    leaner = leanest_as_good(proved[0], proved, entries, objective)
    chosen = proved[0] if leaner is None else leaner[0]
    return all(_is_no_loss(chosen, other, objective) for other in proved if other is not chosen)


def _is_plain(proof: Proof, objective: Objective) -> bool:
    """Whether more rounds would leave the candidate's standing as it is."""
    if proof.rejected:
        return True
    if proof.judged < FEWEST_ROUNDS or proof.kept not in {0, proof.judged}:
        return False
    if proof.kept == 0 or not proof.default_feasible:
        return True
    ratios = [_times_better(mine, default, objective) for mine, default in proof.pairs]
    is_better = min(ratios) >= _PLAIN and proof.standing == "proved"
    return is_better or max(ratios) <= 1 / _PLAIN


def _times_better(mine: float, default: float, objective: Objective) -> float:
    return default / mine if objective.row.goal == "minimize" else mine / default


def _is_no_loss(chosen: Proof, other: Proof, objective: Objective) -> bool:
    """Whether the other is not better by so much that it would be worth more rounds."""
    gain = gain_over(other, chosen, objective)
    return gain is not None and gain.high <= _MORE
