"""The proof: the best configurations and the user's own, measured again in turn.

The best of many single measurements tends to look better than it is. So the front-runners and
the baseline are served anew, each on a fresh server, round by round in alternating order, and
the verdict rests on the pairs of a round alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.judge.rank import may_beat
from tuner.measure.record import Aborted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.judge.goal import Objective
    from tuner.judge.rank import Ranked
    from tuner.measure.record import TrialRecord

FRONT_RUNNERS = 2
"""So many of the best are proved; more would cost time and make a lucky one likelier."""


def front_runners(
    ranking: Sequence[Ranked], baseline: Ranked, objective: Objective
) -> tuple[Ranked, ...]:
    """The configurations whose proof is worth its time, best first; none if yours is the best.

    The best one, and whatever its interval leaves as a rival, if it beats the baseline.

    Args:
        ranking: from `judge.rank.rank`, best first.
        baseline: the user's own configuration.
        objective: what is to be improved.
    """
    better = [r for r in ranking if r.feasible and _beats(r, baseline)]
    rivals = [r for r in better if may_beat(r.level, better[0].level, objective)]
    return tuple(rivals[:FRONT_RUNNERS])


def next_in_turn(
    runners: Sequence[Ranked], baseline: Ranked, records: Iterable[TrialRecord], rounds: int
) -> tuple[Ranked, int] | None:
    """What to measure again next, and in which round; None when all rounds are complete.

    Every other round runs backwards, so that a drift of the machine favours nobody.

    Args:
        runners: from `front_runners`.
        baseline: the user's own configuration.
        records: of the study; proofs among them are taken into account.
        rounds: how many there are to be.
    """
    told = {
        (r.replicate_of, r.proof_round)
        for r in records
        if r.role == "proof" and not isinstance(r.outcome, Aborted)
    }
    field = [*runners, baseline]
    for number in range(rounds):
        for entry in field if number % 2 == 0 else reversed(field):
            if (entry.record.number, number) not in told:
                return entry, number
    return None


def _beats(ranked: Ranked, baseline: Ranked) -> bool:
    if ranked.record.number == baseline.record.number:
        return False
    return not baseline.feasible or ranked.score > baseline.score
