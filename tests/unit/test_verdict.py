from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import report_studies as studies

from tuner.judge.drift import drift
from tuner.judge.goal import Limit, Objective
from tuner.judge.rank import best_level, rank
from tuner.judge.verdict import decide
from tuner.measure.record import Aborted, Rejected
from tuner.study.proof import front_runners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.judge.verdict import Answer
    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord

THROUGHPUT = Objective(metric="throughput_per_s")
WITHIN = (Limit(metric="latency_p99_ms", bound=100.0),)


def level(throughput_per_s: float, p99_ms: float = 50.0) -> Measurement:
    return studies.level(8, throughput_per_s, p99_ms)


def searched(*throughputs: float) -> list[TrialRecord]:
    """The default, then configurations of these throughputs."""
    return [
        studies.trial(n, [level(value)], role="search" if n else "baseline")
        for n, value in enumerate(throughputs)
    ]


BASELINE = studies.trial(0, [level(100.0)], role="baseline")


def again(number: int, of: int, round_: int | None, what: Measurement | Rejected) -> TrialRecord:
    outcome = what if isinstance(what, Rejected) else [what]
    return studies.trial(number, outcome, role="proof", replicate_of=of, proof_round=round_)


def rounds(
    values: Sequence[Sequence[float]], of: Sequence[int], *, first: int = 50
) -> list[TrialRecord]:
    """Proof rounds: one row a round, one column a configuration."""
    return [
        again(first + len(of) * r + place, number, r, level(value))
        for r, row in enumerate(values)
        for place, (number, value) in enumerate(zip(of, row, strict=True))
    ]


def judged(trials: Sequence[TrialRecord], limits: Sequence[Limit] = ()) -> Answer:
    return decide(trials, THROUGHPUT, limits)


def standing(found: Answer) -> tuple[str, str, int | None]:
    number = None if found.chosen is None else found.chosen.record.number
    return found.kind, found.verdict, number


def test_a_p99_that_only_a_proof_could_bound_counts_for_its_configuration() -> None:
    trials = [
        studies.trial(0, [studies.level(8, 100.0, None)], role="baseline"),
        studies.trial(1, [level(130.0)]),
        again(2, 0, None, level(100.0, 80.0)),
    ]
    found = judged(trials, WITHIN)
    assert found.default is not None
    assert found.default.feasible, "its first run told no p99, the second one 80 ms of 100"
    assert (found.kind, found.chosen and found.chosen.record.number) == ("better", 1)


def test_a_rough_p99_is_enough_to_win_by() -> None:
    trials = [
        studies.trial(0, [level(100.0)], role="baseline"),
        studies.trial(1, [studies.level(8, 300.0, None, rough_p99_ms=90.0)]),
        studies.trial(2, [studies.level(8, 400.0, None, rough_p99_ms=110.0)]),
        studies.trial(3, [studies.level(8, 500.0, None)]),
    ]
    found = judged(trials, WITHIN)
    assert standing(found) == ("better", "open", 1), "2 breaks the limit, of 3 nothing is known"


def test_two_complete_rounds_prove_nothing_and_three_do() -> None:
    values = [(100.0, 130.0), (101.0, 131.5), (99.0, 129.0)]
    trials = searched(100, 130)
    assert standing(judged(trials + rounds(values[:2], (0, 1)))) == ("better", "open", 1)
    assert standing(judged(trials + rounds(values, (0, 1)))) == ("better", "proved", 1)


def test_pairs_are_made_by_round_and_not_by_order() -> None:
    drifting = rounds([(100.0, 110.0), (200.0, 220.0), (400.0, 440.0)], (0, 1))
    found = judged([*searched(100, 110), *reversed(drifting)])
    assert found.proof is not None
    assert found.proof.gain is not None
    assert found.proof.gain.value == pytest.approx(0.1)
    assert found.proof.gain.high - found.proof.gain.low == pytest.approx(0, abs=1e-9)


def test_a_lost_proof_shifts_no_pair() -> None:
    values = [(100.0, 110.0), (200.0, 220.0), (400.0, 440.0), (800.0, 880.0)]
    proofs = rounds(values, (0, 1))
    proofs[2] = replace(proofs[2], outcome=Aborted(cause="The machine went to sleep."))
    found = judged(searched(100, 110) + proofs)
    assert found.proof is not None
    assert [one.number for one in found.proof.rounds] == [0, 2, 3]
    assert found.proof.gain is not None
    assert found.proof.gain.value == pytest.approx(0.1)


def test_the_winner_of_two_front_runners_is_the_one_with_the_larger_proved_gain() -> None:
    values = [(100.0, 120.0, 140.0), (101.0, 121.0, 142.0), (99.0, 119.0, 139.0)]
    found = judged(searched(100, 150, 149) + rounds(values, (0, 1, 2)))
    assert standing(found) == ("better", "proved", 2)
    assert found.ranked[0].record.number == 2


def test_a_proved_front_runner_leads_one_whose_proof_failed() -> None:
    values = [(100.0, 90.0, 110.0), (101.0, 160.0, 111.5), (99.0, 200.0, 109.0)]
    found = judged(searched(100, 150, 149) + rounds(values, (0, 1, 2)))
    assert standing(found) == ("better", "proved", 2)


def lean_and_large(
    of_large: Sequence[float], of_lean: Sequence[float], *, instances: int = 1, clients: int = 8
) -> list[TrialRecord]:
    """The default, four instances, and something leaner, measured again in turn."""
    large = [studies.level(8, value, 50.0, instances=4) for value in of_large]
    lean = [studies.level(clients, value, 50.0, instances=instances) for value in of_lean]
    trials = [
        studies.trial(0, [level(100.0)], role="baseline"),
        studies.trial(1, large[:1]),
        studies.trial(2, lean[:1]),
    ]
    for number, (one, other) in enumerate(zip(large, lean, strict=True)):
        trials += [
            again(50 + 3 * number, 0, number, level(100.0)),
            again(51 + 3 * number, 1, number, one),
            again(52 + 3 * number, 2, number, other),
        ]
    return trials


def test_of_two_that_the_proof_cannot_tell_apart_the_one_with_less_memory_wins() -> None:
    found = judged(lean_and_large((200, 204, 201), (199, 203, 202)))
    assert standing(found) == ("better", "proved", 2)
    assert found.ranked[0].record.number == 2
    assert found.spared is not None
    assert found.spared.entry.record.number == 1
    assert found.spared.gain.low <= 0 <= found.spared.gain.value


def test_less_memory_does_not_make_up_for_a_gain_that_is_beyond_chance() -> None:
    found = judged(lean_and_large((210, 211, 212), (200, 201, 202)))
    assert standing(found) == ("better", "proved", 1)
    assert found.spared is None


def test_less_memory_does_not_win_where_the_noise_would_hide_any_loss() -> None:
    found = judged(lean_and_large((300, 200, 260), (200, 230, 190)))
    assert standing(found) == ("better", "proved", 1)


def test_what_is_leaner_has_to_be_proved_itself() -> None:
    trials = lean_and_large((200, 204, 201), (199, 203, 202))
    trials.append(again(70, 2, 3, Rejected(reason="Out of memory.", evidence="")))
    assert standing(judged(trials)) == ("better", "proved", 1)


def test_with_as_much_memory_the_shorter_wait_wins() -> None:
    found = judged(lean_and_large((200, 204, 201), (199, 203, 202), instances=4, clients=4))
    assert standing(found) == ("better", "proved", 2)


def test_more_memory_is_not_made_up_for_by_a_shorter_wait() -> None:
    found = judged(lean_and_large((201, 204, 201), (199, 203, 202), instances=6, clients=4))
    assert standing(found) == ("better", "proved", 1)


def test_of_levels_that_cannot_be_told_apart_the_surer_one_speaks() -> None:
    sure, noisy = level(100.0), studies.level(64, 110.0, None)
    noisy = replace(noisy, throughput_per_s=studies.estimate(110.0, 0.6))
    spoken = best_level(studies.trial(1, [sure, noisy]), THROUGHPUT, ())
    assert spoken is not None
    assert spoken.level == sure
    clearly = replace(noisy, throughput_per_s=studies.estimate(110.0, 0.05))
    spoken = best_level(studies.trial(1, [sure, clearly]), THROUGHPUT, ())
    assert spoken is not None
    assert spoken.level == clearly


def test_two_rounds_in_common_are_too_few_to_take_the_leaner_one() -> None:
    """Each is proved in three rounds, as a study that went on may leave it."""
    trials = lean_and_large((200, 204, 201, 203), (199, 203, 202, 199))
    first_of_lean, last_of_large = 52, 60
    found = judged([one for one in trials if one.number not in {first_of_lean, last_of_large}])
    assert standing(found) == ("better", "proved", 1)


def test_a_verification_of_the_leaner_one_still_tells_instead_of_what_it_was_taken() -> None:
    trials = lean_and_large((200, 204, 201), (199, 203, 202))
    verified = [
        replace(again(80 + place, number, 5 + place // 2, level(value)), verification=1)
        for place, (number, value) in enumerate([(2, 200.0), (0, 100.0)] * 3)
    ]
    found = judged([*trials, *verified])
    assert standing(found) == ("better", "proved", 2)
    assert found.spared is not None
    assert found.spared.entry.record.number == 1


def test_where_the_default_misses_a_limit_the_better_of_the_proved_leads() -> None:
    trials = [studies.trial(0, [level(100.0, 300.0)], role="baseline")]
    trials += [studies.trial(n, [level(value)]) for n, value in ((1, 210.0), (2, 200.0))]
    for number in range(3):
        values = ((0, level(100.0, 300.0)), (1, level(200.0 + number)), (2, level(240.0 + number)))
        trials += [again(50 + 3 * number + n, n, number, what) for n, what in values]
    assert standing(judged(trials, WITHIN)) == ("better", "proved", 2)


def test_until_it_is_proved_the_answer_is_about_what_is_surely_good() -> None:
    noisy = replace(level(215.0), throughput_per_s=studies.estimate(215.0, 0.6))
    trials = [BASELINE, studies.trial(1, [noisy]), studies.trial(2, [level(203.0)])]
    assert standing(judged(trials)) == ("better", "open", 2)
    assert standing(judged(trials + rounds([(100.0, 203.0)], (0, 2)))) == ("better", "open", 2)


def runners(*trials: TrialRecord, limits: tuple[Limit, ...] = ()) -> list[int]:
    ranking = rank(trials, THROUGHPUT, limits)
    default = next(entry for entry in ranking if entry.record.role == "baseline")
    found = front_runners(ranking, default, THROUGHPUT, limits)
    return [entry.record.number for entry in found]


def test_the_proof_is_not_spent_on_what_is_high_by_noise() -> None:
    noisy = replace(level(230.0), throughput_per_s=studies.estimate(230.0, 0.9))
    sure = [studies.trial(n, [level(200.0 + n)]) for n in (2, 3)]
    assert runners(BASELINE, studies.trial(1, [noisy]), *sure) == [3, 2]


def test_the_leanest_rival_that_comes_close_is_proved_beside_the_best() -> None:
    def of(number: int, throughput: float, instances: int) -> TrialRecord:
        return studies.trial(number, [studies.level(8, throughput, 50.0, instances=instances)])

    best, next_best = of(1, 205.0, 6), of(2, 204.0, 6)
    assert runners(BASELINE, best, next_best, of(3, 200.0, 2), of(4, 199.0, 1)) == [1, 4]
    assert runners(BASELINE, best, next_best, of(3, 150.0, 1)) == [1, 2]


def with_p99(number: int, throughput: float, p99_ms: float) -> TrialRecord:
    return studies.trial(number, [level(throughput, p99_ms)])


def test_beside_a_winner_at_the_very_limit_one_that_keeps_it_clearly_is_proved() -> None:
    rival, clear, slow = (
        with_p99(2, 204.0, 99.0),
        with_p99(3, 150.0, 90.0),
        with_p99(4, 140.0, 30.0),
    )
    best, as_close, free = (with_p99(1, 205.0, p99_ms) for p99_ms in (97.0, 90.1, 90.0))
    assert runners(BASELINE, best, rival, slow, clear, limits=WITHIN) == [1, 3]
    assert runners(BASELINE, as_close, rival, slow, clear, limits=WITHIN) == [1, 3]
    assert runners(BASELINE, free, rival, slow, clear, limits=WITHIN) == [1, 2]
    assert runners(BASELINE, best, rival, limits=WITHIN) == [1, 2]


def test_what_is_less_than_half_as_good_is_no_fallback_for_a_winner_at_the_limit() -> None:
    best, rival = with_p99(1, 300.0, 97.0), with_p99(2, 295.0, 99.0)
    assert runners(BASELINE, best, rival, with_p99(3, 151.0, 60.0), limits=WITHIN) == [1, 3]
    assert runners(BASELINE, best, rival, with_p99(3, 149.0, 60.0), limits=WITHIN) == [1, 2]


def test_limits_that_the_winner_keeps_clearly_ask_nothing_of_what_is_proved_beside_it() -> None:
    no_failure, busy = (
        Limit(metric="errors", bound=0.0),
        Limit(metric="throughput_per_s", bound=145),
    )
    best, rival, clear = (
        with_p99(1, 205.0, 97.0),
        with_p99(2, 204.0, 99.0),
        with_p99(3, 150.0, 60.0),
    )
    for other in (no_failure, busy):
        assert runners(BASELINE, best, rival, clear, limits=(*WITHIN, other)) == [1, 3]


def test_a_gain_that_is_gone_when_measured_again_keeps_the_users_configuration() -> None:
    values = [(100.0, 101.0), (101.0, 99.0), (99.0, 100.0)]
    assert standing(judged(searched(100, 130) + rounds(values, (0, 1)))) == ("keep", "refuted", 0)


def test_a_winner_that_cannot_serve_again_is_refuted() -> None:
    trials = searched(100, 130) + rounds([(100.0, 130.0)] * 3, (0, 1))
    trials.append(again(70, 1, 3, Rejected(reason="Out of memory.", evidence="")))
    found = judged(trials)
    assert standing(found) == ("keep", "refuted", 0)


def test_a_winner_that_misses_the_limits_when_measured_again_is_refuted() -> None:
    proofs = rounds([(100.0, 130.0), (101.0, 131.5), (99.0, 129.0)], (0, 1))
    late = [
        again(r.number, 1, r.proof_round, level(130.0, 300.0)) if r.replicate_of else r
        for r in proofs
    ]
    assert standing(judged(searched(100, 130) + proofs, WITHIN)) == ("better", "proved", 1)
    assert standing(judged(searched(100, 130) + late, WITHIN)) == ("keep", "refuted", 0)
    slower = searched(100, 130, 120) + [again(70 + n, 2, n, level(120.0 + n)) for n in range(3)]
    assert standing(judged(slower + late, WITHIN)) == ("better", "proved", 2)


def test_where_the_default_misses_the_limits_keeping_them_again_is_the_proof() -> None:
    trials = [
        studies.trial(0, [level(100.0, 300.0)], role="baseline"),
        studies.trial(1, [level(60.0)]),
        *rounds([(100.0, 60.0), (101.0, 61.0), (99.0, 59.0)], (0, 1)),
    ]
    found = judged(trials, WITHIN)
    assert standing(found) == ("better", "proved", 1)
    assert found.gain is None


def test_the_last_verification_decides_once_it_has_come_far_enough() -> None:
    trials = searched(100, 130) + rounds([(100.0, 130.0)] * 3, (0, 1))
    flat = rounds([(100.0, 101.0), (101.0, 99.0), (99.0, 100.0)], (0, 1), first=80)
    verified = [replace(trial, verification=1) for trial in flat]
    assert standing(judged(trials + verified[:4])) == ("better", "proved", 1)
    assert standing(judged(trials + verified)) == ("keep", "refuted", 0)


def test_equal_configurations_are_announced_in_at_most_5_pct_of_studies() -> None:
    rng = np.random.default_rng(11)
    announced = 0
    for _ in range(400):
        noise = np.exp(0.05 * rng.standard_normal((4, 3)))
        trials = searched(100, 112, 111) + rounds((100 * noise).tolist(), (0, 1, 2))
        announced += judged(trials).kind == "better"
    assert announced / 400 <= 0.05 + 2 * 0.011  # two standard errors of the count


def test_a_lower_latency_is_proved_as_a_gain() -> None:
    trials = searched(100, 130) + rounds([(100.0, 130.0), (101.0, 131.5), (99.0, 129.0)], (0, 1))
    found = decide(trials, Objective(metric="latency_mean_ms"), ())
    assert standing(found) == ("better", "proved", 1)


def test_repeats_of_the_default_that_disagree_are_drift() -> None:
    trials = searched(100, 130)
    default = best_level(trials[0], THROUGHPUT, ())
    assert default is not None
    steady = [*trials, again(2, 0, None, level(102.0)), again(3, 0, 0, level(98.0))]
    assert drift(steady, THROUGHPUT, (), default) is None
    weeks_later = replace(again(4, 0, 1, level(80.0)), verification=1)
    assert drift([*steady, weeks_later], THROUGHPUT, (), default) is None
    caveat = drift([*steady, again(4, 0, 1, level(80.0))], THROUGHPUT, (), default)
    assert caveat is not None
    assert "4 times" in caveat.message
    assert "102 infer/sec" in caveat.message
    assert "80 infer/sec (77.6 to 82.4) in trial 4" in caveat.message


def test_a_measurement_that_only_looks_for_drift_is_no_round_of_a_proof() -> None:
    trials = searched(100, 130) + rounds([(100.0, 130.0)] * 2, (0, 1))
    trials += [again(90, 0, None, level(100.0)), again(91, 0, None, level(100.0))]
    assert standing(judged(trials)) == ("better", "open", 1)
