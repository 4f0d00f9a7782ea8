"""How long a study may go on: trials, time and patience. Pure: the same records, the same end."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from tuner.judge.proof import FEWEST_ROUNDS
from tuner.measure.duration import duration
from tuner.measure.record import Aborted, Measured
from tuner.search.patience import NEGLIGIBLE_GAIN, worth_going_on
from tuner.study.history import tells
from tuner.study.level import MADE_AGAIN
from tuner.study.proof import front_runners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.judge.rank import Ranked
    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord
    from tuner.study.ledger import Ledger

_RECENT = 5
"""So many of the last trials say how long the next one takes."""

_UNDER_LOAD = frozenset({"warm up", "measure", MADE_AGAIN, "start and read the load generator"})
"""Phases that a trial has once a level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one session may spend.

    Attributes:
        trials: configurations in all, those of earlier sessions included.
        proof_rounds: how often the best and the user's own are measured again in turn.
        all_rounds: even where the gain is plain after fewer.
        time_limit_s: for all sessions together, the proof included; None for none.
        patience: so many proposals in a row that promise nothing end the search; 0 for never.
    """

    trials: int
    proof_rounds: int
    all_rounds: bool = True
    time_limit_s: float | None = None
    patience: int = 0

    @property
    def rounds_if_plain(self) -> int:
        """Rounds of proof that a plain gain takes."""
        return self.proof_rounds if self.all_rounds else min(self.proof_rounds, FEWEST_ROUNDS)


def took_s(record: TrialRecord) -> float:
    """How long a trial took."""
    return sum(record.phases_s.values())


def spent_s(records: Sequence[TrialRecord], wall_clock_s: float) -> float:
    """Time that a study has taken so far.

    A session that was killed has not told the wall clock, so what its trials took counts at least.

    Args:
        records: of the study.
        wall_clock_s: of all its sessions, the present one included.
    """
    return max(wall_clock_s, sum(map(took_s, records)))


def next_trial_s(records: Sequence[TrialRecord]) -> float:
    """How long the next trial of the search is likely to take; 0 where nothing is known yet."""
    told = [record for record in records if tells(record)]
    searched = [record for record in told if record.role == "search"] or told
    return fmean(map(took_s, searched[-_RECENT:])) if searched else 0.0


def proof_trial_s(records: Sequence[TrialRecord], runner: Ranked) -> float:
    """How long it is likely to take to measure a configuration once more, at one load level.

    No run is too short then, as it is known how long the level has to be.

    Args:
        records: of the study; where it has measured the configuration again, that tells.
        runner: a configuration that is to be measured again.
    """
    record = runner.record
    known = [r for r in records if isinstance(r.outcome, Measured)]
    again = [took_s(r) for r in known if r.replicate_of == record.number]
    if again:
        return fmean(again[-_RECENT:])
    levels = record.outcome.levels if isinstance(record.outcome, Measured) else ()
    share = _run_s(runner.level) / sum(map(_run_s, levels or (runner.level,)))
    under_load_s = sum(s for name, s in record.phases_s.items() if name in _UNDER_LOAD)
    for_good_s = under_load_s - record.phases_s.get(MADE_AGAIN, 0.0)
    return took_s(record) - under_load_s + share * for_good_s


def _run_s(level: Measurement) -> float:
    return level.duration_s + level.discarded_s


def out_of_time(ledger: Ledger, wall_clock_s: float, budget: Budget) -> str:
    """Why there is no time for another trial and then the proof; empty where there is.

    Args:
        ledger: the study's records.
        wall_clock_s: of all its sessions, the present one included.
        budget: its time limit and rounds count.
    """
    records, baseline = ledger.records, ledger.baseline
    if budget.time_limit_s is None or baseline is None:
        return ""
    so_far_s, trial_s = spent_s(records, wall_clock_s), next_trial_s(records)
    spec = ledger.spec
    runners = front_runners(ledger.ranking, baseline, spec.objective, spec.limits)
    field = (*(runners or (baseline,)), baseline)
    proof_s = budget.proof_rounds * sum(proof_trial_s(records, one) for one in field)
    if so_far_s + trial_s + proof_s <= budget.time_limit_s:
        return ""
    return (
        f"stopped after {ledger.done} of {budget.trials} trials: {duration(so_far_s)} of the time "
        f"limit of {duration(budget.time_limit_s)} are spent, and another trial (about "
        f"{duration(trial_s)}) and the proof (about {duration(proof_s)}) would exceed it."
    )


def out_of_patience(
    records: Sequence[TrialRecord], expected_gain: float | None, budget: Budget
) -> str:
    """Why not to measure what was proposed, as a sentence; empty where it is worth it.

    Args:
        records: of the study.
        expected_gain: of what was proposed.
        budget: its patience counts.
    """
    if not budget.patience:
        return ""
    proposed = [r for r in records if r.role == "search" and not isinstance(r.outcome, Aborted)]
    gains = [*(record.expected_gain for record in proposed), expected_gain]
    if worth_going_on(gains, patience=budget.patience):
        return ""
    done = sum(map(tells, records))
    return (
        f"stopped after {done} of {budget.trials} trials: no configuration that is left is "
        f"expected to gain more than {100 * NEGLIGIBLE_GAIN:g} % (--patience 0 goes on)."
    )
