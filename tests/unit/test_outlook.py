"""How long a study is said to take still."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import report_studies as studies

from tuner.judge.goal import Objective
from tuner.judge.rank import best_level
from tuner.outlook import Outlook
from tuner.stored import stored
from tuner.study.budget import took_s
from tuner.study.events import (
    ProofStarted,
    SearchEnded,
    StudyOpened,
    TrialEnded,
    TrialStarted,
)
from tuner.study.ledger import Ledger

if TYPE_CHECKING:
    from tuner.measure.record import Role

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
THROUGHPUT = Objective(metric="throughput_per_s")
OWN = [studies.level(16, 80.0, 200)]
OTHER = [studies.level(1, 9.0, 12.3), studies.level(16, 160.0, 100)]


def opened(trials: int, proofs: int, plain: int) -> StudyOpened:
    """A new study; ``plain`` is how many proofs a plain gain takes."""
    return StudyOpened(
        name="light",
        done=0,
        trials=trials,
        proofs=proofs,
        proofs_if_plain=plain,
        objective=THROUGHPUT,
    )


def test_the_users_own_trial_does_not_say_how_long_the_others_take() -> None:
    outlook = Outlook()
    outlook.note(opened(trials=30, proofs=12, plain=12))
    baseline = studies.trial(0, OWN, role="baseline")
    own = best_level(baseline, THROUGHPUT, ())
    outlook.note(TrialEnded(record=baseline, spoken=own, best=own, baseline=own))
    assert outlook.left_s(own, own) is None
    other = studies.trial(1, OTHER)
    spoken = best_level(other, THROUGHPUT, ())
    outlook.note(TrialEnded(record=other, spoken=spoken, best=spoken, baseline=own))
    assert outlook.left_s(spoken, own) is not None


@pytest.mark.parametrize(
    ("throughput_per_s", "expected"),
    [(240.0, [9, 0, 5]), (120.0, [15, 6, 5])],
    ids=["threefold is plain", "half as much again is not"],
)
def test_the_time_left_counts_the_rounds_that_the_proof_is_likely_to_take(
    throughput_per_s: float, expected: list[int]
) -> None:
    """15 measurements of proof, 9 where the gain is plain: as they begin, after 9, after 10."""
    now_s = 0.0
    outlook = Outlook(clock=lambda: now_s)
    own = best_level(studies.trial(0, OWN, role="baseline"), THROUGHPUT, ())
    levels = [studies.level(16, throughput_per_s, 100)]

    def measure(number: int, role: Role) -> float | None:
        nonlocal now_s
        turn = None if role == "search" else number // 3
        record = studies.trial(number, levels, role=role, proof_round=turn)
        outlook.note(
            TrialStarted(number=number, position=1, role=role, params=record.params, why="next")
        )
        now_s += 1.0
        best = best_level(record, THROUGHPUT, ())
        outlook.note(TrialEnded(record=record, spoken=best, best=best, baseline=own))
        return outlook.left_s(best, own)

    outlook.note(opened(trials=1, proofs=15, plain=9))
    searched = measure(1, "search")
    outlook.note(ProofStarted(trials=15, trials_if_plain=9))
    proved = [measure(number, "proof") for number in range(2, 12)]
    assert [searched, proved[8], proved[9]] == expected


@pytest.mark.parametrize("name", ["h100-falcon7b", "h100-falcon7b-seed1"])
def test_of_a_real_study_the_time_left_is_told_to_within_three_tenths_from_the_third_trial_on(
    name: str,
) -> None:
    """Two studies of 14 minutes on a GPU, told again, but for their last minute."""
    study = stored(EXAMPLES, name)
    spec, now_s, total_s = study.header.spec, 0.0, sum(map(took_s, study.trials))
    outlook, ledger = Outlook(clock=lambda: now_s), Ledger(spec, [])
    outlook.note(opened(trials=30, proofs=15, plain=9))
    proving = False
    for record in study.trials:
        if record.proof_round is not None and not proving:
            proving = True
            outlook.note(SearchEnded(reason=study.search_ended))
            outlook.note(ProofStarted(trials=15, trials_if_plain=9))
        position = ledger.done + (record.role == "search")
        outlook.note(
            TrialStarted(
                number=record.number,
                position=position,
                role=record.role,
                params=record.params,
                why=record.proposal,
            )
        )
        now_s += took_s(record)
        ledger.add(record)
        best, baseline = ledger.best, ledger.baseline
        outlook.note(TrialEnded(record=record, spoken=None, best=best, baseline=baseline))
        left_s = outlook.left_s(best, baseline)
        if ledger.done > 3 and total_s - now_s > 60:
            assert left_s == pytest.approx(total_s - now_s, rel=0.3), record.number
    assert left_s == 0


def test_a_look_for_drift_is_no_part_of_the_proof() -> None:
    now_s = 0.0
    outlook = Outlook(clock=lambda: now_s)
    outlook.note(opened(trials=2, proofs=6, plain=6))
    searched = replace(studies.trial(1, OWN), phases_s={"measure": 3.0})
    drift = studies.trial(2, OWN, role="proof", replicate_of=0)
    drift = replace(drift, phases_s={"measure": 1.0})
    best = best_level(searched, THROUGHPUT, ())
    told: list[float | None] = []
    for record in (searched, drift):
        outlook.note(
            TrialStarted(number=1, position=2, role=record.role, params=record.params, why="next")
        )
        now_s += record.phases_s["measure"]
        outlook.note(TrialEnded(record=record, spoken=best, best=best, baseline=best))
        told.append(outlook.left_s(best, best))
    assert told == [18.0, 18.0], "six measurements as long as the search's, before and after"
