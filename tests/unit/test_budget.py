"""When a search ends before its last trial: time and patience."""

from __future__ import annotations

from dataclasses import replace

import pytest
import report_studies as studies

from tuner.judge.rank import best_level
from tuner.measure.record import Aborted, Rejected, TrialRecord
from tuner.search.patience import NEGLIGIBLE_GAIN
from tuner.study.budget import (
    Budget,
    next_trial_s,
    out_of_patience,
    out_of_time,
    proof_trial_s,
    spent_s,
)
from tuner.study.ledger import Ledger
from tuner.study.level import MADE_AGAIN

BASELINE = studies.trial(0, [studies.level(1, 10, 90)], role="baseline")
NOTHING = NEGLIGIBLE_GAIN / 2
TIRELESS = Budget(trials=30, proof_rounds=3)


def search(number: int, seconds: float = 10.0, gain: float | None = None) -> TrialRecord:
    record = studies.trial(number, [studies.level(1, 10.0 + number, 90)])
    return replace(record, phases_s={"load the model": seconds}, expected_gain=gain)


def ledger(*records: TrialRecord) -> Ledger:
    return Ledger(studies.study(records).header.spec, records)


def test_the_next_trial_takes_as_long_as_the_last_ones_and_not_as_the_baseline() -> None:
    slow_first = [BASELINE, *(search(n, 100.0 if n < 3 else 10.0) for n in range(1, 9))]
    assert next_trial_s(slow_first) == pytest.approx(10.0)
    assert next_trial_s([BASELINE]) == pytest.approx(sum(BASELINE.phases_s.values()))
    assert next_trial_s([]) == 0


def test_measuring_again_takes_a_load_and_one_level() -> None:
    levels = [studies.level(n, 10, 90) for n in (1, 2, 4, 8)]
    record = replace(studies.trial(1, levels), phases_s={"load the model": 20.0, "measure": 40.0})
    runner = best_level(record, studies.study([]).header.spec.objective, ())
    assert runner is not None
    assert proof_trial_s([record], runner) == pytest.approx(20 + 10)
    twice = replace(record, phases_s={**record.phases_s, MADE_AGAIN: 30.0})
    assert proof_trial_s([twice], replace(runner, record=twice)) == pytest.approx(30), (
        "by then it is known how long a run has to be"
    )
    again = replace(search(2, 26.0), role="proof", replicate_of=1)
    assert proof_trial_s([record, again], runner) == pytest.approx(26.0)


def test_what_killed_sessions_took_is_spent_too() -> None:
    assert spent_s([search(1), search(2)], 5.0) == 20.0
    assert spent_s([search(1), search(2)], 50.0) == 50.0


@pytest.mark.parametrize(("limit_s", "stops"), [(100.0, True), (10_000.0, False)])
def test_the_search_ends_while_there_is_time_for_the_proof(limit_s: float, *, stops: bool) -> None:
    records = [BASELINE, *(search(n) for n in range(1, 5))]
    budget = replace(TIRELESS, time_limit_s=limit_s)
    said = out_of_time(ledger(*records), 60.0, budget)
    assert bool(said) == stops
    if stops:
        assert said.startswith("stopped after 5 of 30 trials: ")
        assert "of the time limit of 1 min 40 s are spent" in said


def test_a_longer_proof_ends_the_search_sooner() -> None:
    records = ledger(BASELINE, *(search(n) for n in range(1, 5)))
    budget = Budget(trials=30, proof_rounds=0, time_limit_s=90.0)
    assert out_of_time(records, 60.0, budget) == ""
    assert out_of_time(records, 60.0, replace(budget, proof_rounds=3))


def test_without_a_time_limit_or_a_baseline_there_is_no_end() -> None:
    assert out_of_time(ledger(BASELINE), 1e9, TIRELESS) == ""
    assert out_of_time(ledger(), 1e9, replace(TIRELESS, time_limit_s=1.0)) == ""


PATIENT = replace(TIRELESS, patience=3)


def test_the_third_proposal_in_a_row_that_promises_nothing_ends_the_search() -> None:
    records = [BASELINE, search(1, gain=0.5), search(2, gain=NOTHING), search(3, gain=NOTHING)]
    assert out_of_patience(records, NOTHING, PATIENT) == (
        "stopped after 4 of 30 trials: no configuration that is left is expected to gain more "
        f"than {100 * NEGLIGIBLE_GAIN:g} % (--patience 0 goes on)."
    )
    assert out_of_patience(records, 0.2, PATIENT) == ""
    assert out_of_patience(records[:-1], NOTHING, PATIENT) == ""
    assert out_of_patience(records, NOTHING, TIRELESS) == ""


@pytest.mark.parametrize(
    ("between", "stops"),
    [
        (replace(search(3), outcome=Aborted(cause="The disk is full.")), True),
        (replace(search(3, gain=NOTHING), outcome=Rejected(reason="No.", evidence="")), True),
        (replace(search(3), role="proof", replicate_of=0), True),
        (search(3, gain=None), False),
    ],
    ids=["lost", "rejected", "look for drift", "nobody knows"],
)
def test_only_proposals_count_and_one_that_says_nothing_is_worth_trying(
    between: TrialRecord, *, stops: bool
) -> None:
    records = [BASELINE, search(1, gain=NOTHING), search(2, gain=NOTHING), between]
    assert bool(out_of_patience(records, NOTHING, PATIENT)) == stops
