"""When a proof need not go on: further rounds would change nothing that is said.

Looking after each round, and stopping at the first that suits, makes a false winner likelier. It
hardly does where the early looks ask for far more than the last one: at a chance of 1 in 1000,
which leaves the level of the last look as good as untouched (Haybittle, «Repeated assessment of
results in clinical trials of cancer treatment», 1971; Peto and others, 1976). So only what is
plain ends early, such as a gain of fifty times; one of a few per cent takes all its rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.judge.lean import leanest_as_good
from tuner.judge.proof import FEWEST_ROUNDS, gain_at, gain_over, proofs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.judge.proof import Proof
    from tuner.judge.rank import Ranked
    from tuner.measure.record import TrialRecord

_TAIL = 0.001
_MORE = 0.25
"""Winners come close to each other when they are chosen for the proof. Rounds are for what would
gain that much more; which of two equals it is to be is not worth them."""


def is_sure(
    trials: Iterable[TrialRecord],
    runners: Sequence[Ranked],
    objective: Objective,
    limits: Sequence[Limit],
    *,
    default: Ranked,
) -> bool:
    """Whether the rounds so far tell all that the proof is for.

    That is of each candidate whether it is better than the default and keeps the limits, and that
    none of them is better by a quarter than the one that is chosen.

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
    if not proof.default_feasible:
        return True
    gain = gain_at(proof, objective, tail=_TAIL)
    return gain is not None and (gain.low > 0 or gain.high < 0)


def _is_no_loss(chosen: Proof, other: Proof, objective: Objective) -> bool:
    """Whether the other is not better by so much that it would be worth more rounds."""
    gain = gain_over(other, chosen, objective)
    return gain is not None and gain.high <= _MORE
