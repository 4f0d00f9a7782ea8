"""The proof: the best configurations and the user's own, measured again in turn.

The best of many single measurements tends to look better than it is. So the front-runners and
the baseline are served anew, each on a fresh server, round by round in alternating order, and
the verdict rests on the pairs of a round alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.judge.lean import AS_GOOD, leaner
from tuner.judge.rank import far_apart, may_beat, surest
from tuner.measure.record import Aborted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.judge.rank import Ranked
    from tuner.measure.record import TrialRecord

FRONT_RUNNERS = 2
"""So many of the best are proved; more would cost time and make a lucky one likelier."""

_CLEAR = 0.1
"""A limit that is kept by less than this share of it may be missed when measured again."""


def front_runners(
    ranking: Sequence[Ranked], baseline: Ranked, objective: Objective, limits: Sequence[Limit]
) -> tuple[Ranked, ...]:
    """The configurations whose proof is worth its time, best first; none if yours is the best.

    The best one, if it beats the baseline. Beside it, where it only just keeps a limit, the best
    that keeps that clearly, if it is half as good: it is left should the other miss the limit in
    the proof. Else, of those that its interval leaves as rivals, the leanest that comes close to
    it; where none is leaner, the next best.

    Args:
        ranking: from `judge.rank.rank`, best first.
        baseline: the user's own configuration.
        objective: what is to be improved.
        limits: what has to be kept.
    """
    better = [r for r in surest(ranking, objective) if _beats(r, baseline)]
    if not better:
        return ()
    first, *others = better
    second = _fallback(first, others, limits) or _rival(first, others, objective)
    return (first,) if second is None else (first, second)


def _fallback(first: Ranked, others: Sequence[Ranked], limits: Sequence[Limit]) -> Ranked | None:
    """What would be left if the best one missed a limit; None where it keeps all of them clearly.

    A limit of 0 is kept by nothing clearly, and says nothing here.
    """
    tight = [limit for limit in limits if limit.bound and not _is_clear(first, limit)]
    if not tight:
        return None
    clear = (r for r in others if all(_is_clear(r, limit) for limit in tight))
    return next((r for r in clear if not far_apart(r, first)), None)


def _is_clear(ranked: Ranked, limit: Limit) -> bool:
    miss = limit.violation(ranked.level)
    return miss is not None and miss <= -_CLEAR


def _rival(first: Ranked, others: Sequence[Ranked], objective: Objective) -> Ranked | None:
    """The leanest that comes close to the best one, or else the next best that may beat it."""
    rivals = [r for r in others if may_beat(r.level, first.level, objective)]
    close = [r for r in rivals if abs(first.score - r.score) <= AS_GOOD * abs(first.score)]
    leanest = first
    for rival in close:
        if leaner(rival.level, leanest.level):
            leanest = rival
    return leanest if leanest is not first else next(iter(rivals), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is measured again next.

    Attributes:
        entry: the configuration.
        number: of its round, over all that the study ever had.
        position: of that round among those that were asked for, from 1.
        begins: it is the first of its round.
    """

    entry: Ranked
    number: int
    position: int
    begins: bool


def next_in_turn(
    runners: Sequence[Ranked],
    baseline: Ranked,
    records: Iterable[TrialRecord],
    rounds: int,
    *,
    session_from: int,
    verification: int | None = None,
) -> Turn | None:
    """What to measure again next, and in which round; None when all rounds are complete.

    Every other round runs backwards, so that a drift of the machine favours nobody. A round that
    an earlier session left unfinished is not gone on with: its parts would lie hours apart.

    Args:
        runners: from `front_runners`.
        baseline: the user's own configuration.
        records: of the study; proofs among them are taken into account.
        rounds: how many there are to be.
        session_from: number of the first trial of this session.
        verification: number of the `tune verify`; None for the study's own proof.
    """
    field = [*runners, baseline]
    wanted = {entry.record.number for entry in field}
    told: dict[int, set[int]] = {}
    started: dict[int, int] = {}
    for r in records:
        if r.role != "proof" or r.proof_round is None or r.replicate_of is None:
            continue
        started[r.proof_round] = min(started.get(r.proof_round, r.number), r.number)
        if r.verification == verification and not isinstance(r.outcome, Aborted):
            told.setdefault(r.proof_round, set()).add(r.replicate_of)
    complete = sum(wanted <= numbers for numbers in told.values())
    if complete >= rounds:
        return None
    last = max(started, default=-1)
    known = told.get(last, set())
    unfinished = known < wanted and started.get(last, -1) >= session_from
    number = last if unfinished else last + 1
    left = [e for e in field if not unfinished or e.record.number not in known]
    return Turn(
        entry=left[0 if number % 2 == 0 else -1],
        number=number,
        position=complete + 1,
        begins=len(left) == len(field),
    )


def _beats(ranked: Ranked, baseline: Ranked) -> bool:
    if ranked.record.number == baseline.record.number:
        return False
    return not baseline.feasible or ranked.score > baseline.score
