from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
import report_studies as studies

from tuner.judge.goal import Limit, Objective
from tuner.measure.estimate import Estimate
from tuner.measure.measurement import Caveat
from tuner.measure.record import Measured, Rejected
from tuner.report.answer import answer, claim
from tuner.report.view import build

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord
    from tuner.report.view import Report
    from tuner.study.spec import StudyRecord

TUTORIAL_SUMMARY = [
    "Model Config Name",
    "Max Batch Size",
    "Dynamic Batching",
    "Total Instance Count",
    "p99 Latency (ms)",
    "Throughput (infer/sec)",
    "Max GPU Memory Usage (MB)",
    "Average GPU Utilization (%)",
]
TUTORIAL_DETAIL = [
    "Request Concurrency",
    "p99 Latency (ms)",
    "Client Response Wait (ms)",
    "Server Queue (ms)",
    "Server Compute Input (ms)",
    "Server Compute Infer (ms)",
    "Throughput (infer/sec)",
    "Max GPU Memory Usage (MB)",
    "Average GPU Utilization (%)",
]


def test_the_tables_begin_with_the_columns_of_the_tutorial() -> None:
    report = build(studies.gpu_study())

    assert [column.header for column in report.summary.columns][:8] == TUTORIAL_SUMMARY
    for configuration in report.configurations:
        assert [c.header for c in configuration.detail.columns][:9] == TUTORIAL_DETAIL


def test_the_columns_of_the_tutorial_stay_on_a_machine_without_a_gpu_and_show_a_dash() -> None:
    summary = build(studies.cpu_study()).summary

    shown = [summary.columns[i].header for i in summary.shown()]
    assert shown[:8] == TUTORIAL_SUMMARY
    assert {row.cells[6].text for row in summary.rows} == {"\N{EN DASH}"}
    assert {row.cells[3].text for row in summary.rows} == {"1:CPU", "2:CPU"}


def test_a_trial_that_measured_nothing_was_to_run_where_the_others_ran() -> None:
    """Trials 3 and 8 have no level; KIND_AUTO is a GPU, as this study had one."""
    study = studies.gpu_study()
    auto = [
        replace(trial, config_pbtxt=trial.config_pbtxt.replace("KIND_GPU", "KIND_AUTO"))
        for trial in study.trials
    ]
    knobs = {step.number: step.knobs for step in build(replace(study, trials=tuple(auto))).steps}
    assert knobs[3].endswith("6:GPU")
    assert knobs[8].endswith("1:GPU")


def test_configurations_are_ranked_best_first_and_named_by_their_trial() -> None:
    report = build(studies.gpu_study())

    names = [row.cells[0].text for row in report.summary.rows]
    assert names[0] == "falcon7b_config_7"
    assert names[-1] == "falcon7b_config_default"
    assert len(names) == len(set(names)) == 10
    assert [row.mark for row in report.summary.rows] == ["best", *[""] * 8, "default"]


def test_a_proved_winner_is_announced_with_the_gain_of_the_paired_rounds() -> None:
    report = build(studies.gpu_study())

    assert (report.found.kind, report.found.verdict, report.badge) == (
        "better",
        "proved",
        "Proved",
    )
    assert report.headline == (
        "falcon7b_config_7 serves 34.2x the throughput of your configuration: 1401 infer/sec, "
        "p99 888 ms (835 to 942), against 41.00, p99 1940 ms (1820 to 2050), each 3 times in turn "
        "on fresh servers; measured in 11 trials and 10 min 51 s."
    )
    assert "3 times in turn with your configuration" in report.verdict
    assert "34.2x (32.5 to 35.9x)" in report.verdict


def test_a_winner_that_was_not_measured_again_is_called_not_proved_yet() -> None:
    report = build(studies.gpu_study(proved=False))

    assert (report.found.verdict, report.badge) == ("open", "Not proved yet")
    assert report.headline.startswith("falcon7b_config_7 serves 34.9x")


def test_a_gain_that_measuring_again_does_not_show_keeps_the_users_configuration() -> None:
    study = studies.gpu_study(proved=False)
    again = [
        studies.trial(
            20 + 2 * round_ + side,
            [studies.level(64, value, 900)],
            role="proof",
            replicate_of=7 * side,
            proof_round=round_,
        )
        for round_, pair in enumerate([(41.0, 41.3), (42.0, 41.1), (40.5, 41.0)])
        for side, value in enumerate(pair)
    ]

    report = build(replace(study, trials=(*study.trials, *again)))

    assert (report.found.kind, report.found.verdict) == ("keep", "refuted")
    assert report.best is not None
    assert report.best.name == "falcon7b_config_default"
    assert report.headline.startswith("Keep your configuration: no significant improvement")
    assert report.diff == ()


def measured_in_turn(
    study: StudyRecord,
    values: Mapping[int, float],
    *,
    p99_ms: Mapping[int, float] = MappingProxyType({}),
    rounds: Sequence[int] = (0, 1, 2),
    verification: int | None = None,
) -> StudyRecord:
    """The study after further rounds in which candidates and the default were measured again.

    Args:
        study: before.
        values: trial number of each candidate → its throughput when measured again.
        p99_ms: trial number → its p99 then; 300 ms where nothing is said.
        rounds: their numbers.
        verification: number of the `tune verify` that measured them.
    """
    field = {0: 41.0, **values}
    again = [
        replace(
            studies.trial(
                20 + 10 * number + place,
                [studies.level(64, value + number, p99_ms.get(candidate, 300.0))],
                role="proof",
                replicate_of=candidate,
                proof_round=number,
            ),
            verification=verification,
        )
        for number in rounds
        for place, (candidate, value) in enumerate(field.items())
    ]
    return replace(study, trials=(*study.trials, *again))


def test_the_winner_is_what_was_proved_and_not_what_looked_best_once() -> None:
    report = build(measured_in_turn(studies.gpu_study(proved=False), {7: 700.0, 6: 1100.0}))

    assert report.best is not None
    assert report.best.name == "falcon7b_config_6"
    assert report.summary.rows[0].mark == "best"


def test_a_proved_winner_below_a_better_single_run_says_why_it_leads() -> None:
    report = build(measured_in_turn(studies.gpu_study(proved=False), {6: 1100.0}))

    assert report.lead == (
        "falcon7b_config_6 leads because measuring again proved it; the better number of "
        "falcon7b_config_7 comes from a single run."
    )
    assert build(studies.gpu_study()).lead == ""


def within_half_a_second() -> StudyRecord:
    study = studies.gpu_study(proved=False)
    limits = (Limit(metric="latency_p99_ms", bound=500.0),)
    return replace(
        study, header=replace(study.header, spec=replace(study.header.spec, limits=limits))
    )


PROVED = "falcon7b_config_6 leads because measuring again proved it; "
RIVAL = "falcon7b_config_7, whose first number is better, "
MISSED = f"{RIVAL}kept the limits in 0 of 3 rounds when it was measured again."


@pytest.mark.parametrize(
    ("rival_per_s", "what"),
    [
        (700.0, "did less well when it was measured again."),
        (20.0, "came to -50 % (-53 to -47 %) when it was measured again, which is a loss."),
    ],
)
def test_a_proved_winner_above_what_did_worse_beside_it_says_so(
    rival_per_s: float, what: str
) -> None:
    study = studies.gpu_study(proved=False)

    assert (
        build(measured_in_turn(study, {7: rival_per_s, 6: 1100.0})).lead == PROVED + RIVAL + what
    )


def test_a_proved_winner_above_what_could_not_serve_again_says_so() -> None:
    study = measured_in_turn(studies.gpu_study(proved=False), {7: 1200.0, 6: 1100.0})
    refusal = Rejected(reason="The model ran out of GPU memory.", evidence="")
    trials = [
        replace(trial, outcome=refusal) if trial.replicate_of == 7 else trial
        for trial in study.trials
    ]

    report = build(replace(study, trials=tuple(trials)))

    assert report.lead == f"{PROVED}{RIVAL}could not serve when it was measured again."


def test_a_proved_winner_above_what_missed_the_limits_beside_it_says_so() -> None:
    study = measured_in_turn(within_half_a_second(), {7: 1200.0, 6: 1100.0}, p99_ms={7: 510.0})
    verified = measured_in_turn(study, {6: 1100.0}, rounds=(3, 4, 5), verification=1)

    assert build(study).lead == PROVED + MISSED
    assert build(verified).lead == PROVED + MISSED


def test_a_leader_that_is_not_proved_yet_says_what_became_of_the_better_number() -> None:
    study = measured_in_turn(
        within_half_a_second(), {7: 1200.0, 6: 1100.0}, p99_ms={7: 510.0}, rounds=(0, 1)
    )
    refuted = measured_in_turn(study, {7: 1200.0}, p99_ms={7: 510.0}, rounds=(2,))

    assert build(refuted).found.verdict == "open"
    assert build(refuted).lead == f"falcon7b_config_6 leads; {MISSED}"


def test_a_better_number_with_too_few_rounds_is_said_to_have_them() -> None:
    study = measured_in_turn(studies.gpu_study(proved=False), {7: 700.0, 6: 1100.0}, rounds=(0, 2))
    resumed = measured_in_turn(study, {6: 1100.0}, rounds=(1,))

    assert build(resumed).lead == (
        f"{PROVED}falcon7b_config_7, whose first number is better, has only been measured again "
        "2 times."
    )


def test_the_rounds_in_turn_show_who_was_measured_in_them() -> None:
    study = measured_in_turn(studies.gpu_study(proved=False), {7: 700.0, 6: 1100.0})
    verified = measured_in_turn(study, {6: 1100.0}, rounds=(3, 4, 5), verification=1)

    def columns(report: Report) -> list[str]:
        assert report.in_turn is not None
        return [column.key for column in report.in_turn.columns]

    assert columns(build(study)) == ["round", "falcon7b_config_6", "falcon7b_config_7", "Default"]
    assert columns(build(verified)) == ["round", "falcon7b_config_6", "Default"]


def test_a_winner_that_was_taken_for_its_memory_says_instead_of_what_it_leads() -> None:
    study = studies.gpu_study(proved=False)
    measured = ((0, 41.0, 1), (7, 1195.0, 4), (9, 1190.0, 3))
    again = [
        studies.trial(
            20 + 3 * number + place,
            [studies.level(1024, value + (number - 1) * place, 900, instances=instances)],
            role="proof",
            replicate_of=replicated,
            proof_round=number,
        )
        for number in range(3)
        for place, (replicated, value, instances) in enumerate(measured)
    ]
    again[1] = replace(
        again[1], outcome=Measured(levels=(studies.level(1024, 1185, 900, instances=4),))
    )

    report = build(replace(study, trials=(*study.trials, *again)))

    assert report.best is not None
    assert report.best.name == "falcon7b_config_9"
    assert report.lead.startswith(
        "falcon7b_config_9 leads: measured in turn with it, falcon7b_config_7 came to "
    )
    assert report.lead.endswith("and its Max GPU Memory Usage is 61100 MB, not 46000 MB.")


def test_a_simulated_study_is_called_simulated() -> None:
    study = studies.cpu_study()
    environment = {"server": "simulated, version 1"}
    report = build(replace(study, header=replace(study.header, environment=environment)))

    assert report.simulated
    assert report.headline.startswith("Simulated: Keep your configuration: ")
    assert not build(study).simulated


def test_your_own_configuration_comes_to_a_latency_and_serves_a_throughput() -> None:
    study = studies.cpu_study()
    spec = replace(study.header.spec, objective=Objective(metric="latency_p50_ms"))

    assert "Yours serves " in build(study).headline
    timed = build(replace(study, header=replace(study.header, spec=spec)))
    assert timed.found.kind == "keep"
    assert "Yours comes to " in timed.headline


@pytest.mark.parametrize(
    ("bound", "said"),
    [(100.0, ", 20 % beyond the limit;"), (0.12, ", 1000 times the limit;")],
)
def test_a_large_miss_is_a_multiple_of_the_limit(bound: float, said: str) -> None:
    trial = studies.trial(0, [studies.level(1, 9.0, 120)], role="baseline")
    limits = (Limit(metric="latency_p99_ms", bound=bound),)

    assert said in build(studies.study([trial], limits=limits)).headline


def test_a_gain_within_the_noise_keeps_the_users_configuration() -> None:
    report = build(studies.cpu_study())

    assert report.found.kind == "keep"
    assert "came to +1 % (-3 to +5 %), which includes no gain" in report.headline
    assert [row.mark for row in report.summary.rows] == ["", "default", ""]


def test_where_nothing_keeps_the_limits_the_nearest_miss_is_named() -> None:
    report = build(studies.strict_study())

    assert report.found.kind == "misses"
    assert report.best is None
    assert report.headline.startswith(
        "Nothing that was tried keeps p99 Latency (ms) <= 50. The nearest miss is "
        "falcon7b_config_1 with"
    )
    assert {row.cells[8].value for row in report.summary.rows} == {
        None,
    }


def test_a_user_configuration_that_misses_the_limit_gives_no_gain_but_a_winner() -> None:
    study = studies.study(
        [
            studies.trial(0, [studies.level(1, 9.0, 120)], role="baseline"),
            studies.trial(1, [studies.level(1, 20.0, 45)], batch=32, delay_us=0),
        ],
        limits=studies.strict_study().header.spec.limits,
    )

    report = build(study)

    assert report.found.kind == "better"
    assert report.headline.startswith("falcon7b_config_1 keeps p99 Latency (ms) <= 50 with 20.0")
    assert "Your configuration does not keep it at any load" in report.headline


def test_a_limit_that_is_kept_by_too_few_requests_to_be_sure_is_said_to_be() -> None:
    def headline(other: Measurement) -> str:
        trials = [
            studies.trial(0, [studies.level(1, 9.0, 40)], role="baseline"),
            studies.trial(1, [other], batch=32, delay_us=0),
        ]
        limits = studies.strict_study().header.spec.limits
        return build(studies.study(trials, limits=limits)).headline

    rough = headline(studies.level(1, 20.0, None, rough_p99_ms=45.0))
    assert rough.endswith(
        "That it keeps p99 Latency (ms) <= 50 is likely, not sure: it came to 45 in 100 "
        "requests, too few to bound it (--window measures for longer)."
    )
    assert "likely" not in headline(studies.level(1, 20.0, 45.0))


def test_others_whose_objective_no_run_could_bound_are_not_said_to_have_lost() -> None:
    trials = [
        studies.trial(0, [studies.level(1, 9.0, 120)], role="baseline"),
        studies.trial(1, [studies.level(1, 9.0, None)], batch=32, delay_us=0),
        studies.trial(2, [studies.level(1, 9.0, 150)], batch=64, delay_us=0),
    ]
    study = studies.study(trials)
    spec = replace(study.header.spec, objective=Objective(metric="latency_p99_ms"))

    headline = build(replace(study, header=replace(study.header, spec=spec))).headline

    assert (
        "none of the 2 others that were tried did better, and of 1 no run was long enough to "
        "bound the p99 Latency (ms) (--window measures for longer). Yours comes to 120.0 ms"
    ) in headline


def test_how_far_a_rough_p99_is_beyond_the_limit_is_told_as_about() -> None:
    trials = [studies.trial(0, [studies.level(1, 9, None, rough_p99_ms=60)], role="baseline")]
    report = build(studies.study(trials, limits=studies.strict_study().header.spec.limits))

    assert ", about 20 % beyond the limit" in report.headline
    assert report.summary.rows[0].cells[-1].text == "p99 Latency (ms) by about 20 %"


def test_a_user_configuration_whose_p99_is_unknown_is_not_said_to_miss_the_limit() -> None:
    study = studies.study(
        [
            studies.trial(0, [studies.level(1, 9.0, None)], role="baseline"),
            studies.trial(1, [studies.level(1, 20.0, 45)], batch=32, delay_us=0),
        ],
        limits=studies.strict_study().header.spec.limits,
    )

    headline = build(study).headline

    assert "does not keep" not in headline
    assert "no run of your configuration was long enough to tell" in headline


def test_a_card_says_in_few_words_why_there_is_no_p99_and_what_the_default_has() -> None:
    few = Caveat(
        code="few_samples", message="Too few requests for p99.", advice="About 400 would do."
    )
    study = studies.study(
        [
            studies.trial(0, [studies.level(1, 9.0, 120)], role="baseline"),
            studies.trial(1, [studies.level(1, 20.0, None, caveats=(few,))], batch=32, delay_us=0),
        ]
    )

    note = next(one.note for one in build(study).figures if one.label.startswith("p99"))

    assert note == "too few requests, see Caveats; default 120.0"


def test_a_lower_latency_is_a_gain() -> None:
    study = studies.study(
        [
            studies.trial(0, [studies.level(1, 9.0, 120)], role="baseline"),
            studies.trial(1, [studies.level(1, 18.0, 60)], batch=32, delay_us=0),
        ]
    )
    spec = replace(study.header.spec, objective=Objective(metric="latency_p99_ms"))
    report = build(replace(study, header=replace(study.header, spec=spec)))

    assert report.headline.startswith(
        "falcon7b_config_1 cuts your configuration's p99 Latency by 50 %: 60.0 ms"
    )
    assert report.summary.rows[0].cells[8].text == "2.00x"


def test_a_study_whose_first_trial_was_rejected_says_why() -> None:
    first = studies.trial(0, Rejected(reason="It has no model.py.", evidence=""), role="baseline")

    report = build(studies.study([first]))

    assert report.found.kind == "nothing"
    assert report.headline == "Your configuration cannot be served: It has no model.py."


def test_a_study_without_trials_can_be_shown() -> None:
    report = build(studies.study([]))

    assert report.headline == "Nothing was measured yet."
    assert report.summary.rows == ()


def test_rejected_and_lost_trials_are_listed_with_what_shows_it() -> None:
    report = build(studies.gpu_study())

    (refused,) = report.refused
    assert refused.name == "falcon7b_config_3"
    assert "torch.OutOfMemoryError" in refused.evidence
    assert [step.number for step in report.aborted] == [8]
    assert report.found.trials == 11  # the lost one is not counted


def test_a_refused_p99_is_a_dash_that_says_how_many_requests_would_do() -> None:
    report = build(studies.gpu_study())

    row = next(r for r in report.summary.rows if r.cells[0].text == "falcon7b_config_10")
    assert row.cells[4].text == "\N{EN DASH} (p95 337)"
    assert "1200 for p99" in row.cells[4].note


def test_every_caveat_is_listed_with_its_advice_and_place() -> None:
    report = build(studies.gpu_study())

    unstable, few = report.caveats
    assert (unstable.code, few.code) == ("unstable", "few_samples")
    assert unstable.advice == studies.UNSTABLE.advice
    assert [(s.config, s.load) for s in unstable.seen] == [
        ("falcon7b_config_10", "concurrency 64"),
        ("falcon7b_config_10", "concurrency 256"),
    ]


def test_the_shares_of_time_add_up_to_the_wall_clock() -> None:
    study = studies.gpu_study()
    spent = build(study).spent

    assert spent.total_s == study.wall_clock_s
    assert sum(phase.seconds for phase in spent.phases) == pytest.approx(study.wall_clock_s)
    assert sum(phase.share for phase in spent.phases) == pytest.approx(1.0)
    kinds = {phase.name: phase.kind for phase in spent.phases}
    assert kinds["load the model"] == "loading"
    assert kinds["measure"] == kinds["warm up"] == "measuring"
    other = [p.share for p in spent.phases if p.kind == "other"]
    assert spent.other_share == pytest.approx(sum(other))
    assert spent.phases[-1].name == "between trials"
    assert spent.phases[-1].seconds == pytest.approx(9.5)


def test_the_diff_shows_what_changes_in_the_users_file() -> None:
    report = build(studies.gpu_study())

    assert "-max_batch_size: 8" in report.diff
    assert "+max_batch_size: 128" in report.diff


@pytest.mark.parametrize(
    ("groups", "shown"),
    [
        ("instance_group [ { count: 3 kind: KIND_GPU } ]", "3:GPU"),
        ("instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] } ]", "4:GPU"),
        (
            "instance_group [ { count: 4 kind: KIND_GPU }, { count: 1 kind: KIND_CPU } ]",
            "4:GPU + 1:CPU",
        ),
        ("instance_group [ { count: 2 } ]", "2:GPU"),
        ("", "1:GPU"),
    ],
)
def test_the_instance_count_is_the_total_by_kind(groups: str, shown: str) -> None:
    record = studies.trial(0, [studies.level(1, 9.0, 120)], role="baseline")
    config = f'name: "falcon7b"\nbackend: "python"\nmax_batch_size: 8\n{groups}\n'

    report = build(studies.study([replace(record, config_pbtxt=config)]))

    assert report.summary.rows[0].cells[3].text == shown


def test_the_same_record_gives_the_same_report() -> None:
    def made() -> StudyRecord:
        return studies.gpu_study()

    assert build(made()) == build(made())


MEMORY = Limit(metric="gpu_memory_peak_mb", bound=20_000.0)
FAST = Limit(metric="throughput_per_s", bound=2000.0)


def test_the_nearest_miss_of_several_limits_says_which_ones_and_at_what_load() -> None:
    report = build(studies.study(list(studies.gpu_study().trials[:3]), limits=(MEMORY, FAST)))

    assert report.found.kind == "misses"
    assert report.headline.partition("; measured")[0].endswith(
        " at concurrency 256, 71 % short of Throughput (infer/sec) >= 2000, "
        "55 % beyond Max GPU Memory Usage (MB) <= 20000"
    )
    two = next(row for row in report.summary.rows if row.cells[0].text == "falcon7b_config_2")
    assert two.cells[-1].text.startswith("Throughput (infer/sec) by 7")
    assert two.cells[-1].text.endswith("Max GPU Memory Usage (MB) by 55 %")
    assert report.summary.columns[-1].header == "Limits Missed"


def test_a_limit_whose_metric_was_not_measured_is_named_as_unknown() -> None:
    trials = [studies.trial(0, [studies.level(1, 9.0, None)], role="baseline")]
    limits = (Limit(metric="latency_p99_ms", bound=50.0),)

    assert (
        ", its p99 Latency (ms) unknown there;"
        in build(studies.study(trials, limits=limits)).headline
    )


def test_a_metric_that_is_raised_is_not_served() -> None:
    study = studies.study(
        [
            studies.trial(0, [studies.level(1, 9.0, 120)], role="baseline"),
            studies.trial(1, [studies.level(1, 9.0, 120, instances=2)], batch=32, delay_us=0),
        ]
    )
    spec = replace(study.header.spec, objective=Objective(metric="gpu_utilization_pct"))

    headline = build(replace(study, header=replace(study.header, spec=spec))).headline

    assert "serves" not in headline


def test_a_raise_is_told_by_how_much_or_to_how_many_times() -> None:
    objective = Objective(metric="gpu_utilization_pct")
    spec = replace(studies.gpu_study().header.spec, objective=objective)
    found = answer(studies.gpu_study())

    def said(value: float) -> str:
        gain = Estimate(value=value, low=value - 0.1, high=value + 0.1, n_effective=9)
        return claim(replace(found, verdict="open", gain=gain), spec)

    assert said(0.5) == "raises your configuration's Average GPU Utilization by 50 %"
    assert said(2.0).startswith("raises your configuration's Average GPU Utilization to 3.0")


def test_a_study_with_two_objectives_shows_its_front() -> None:
    report = build(studies.front_study())

    assert report.objectives == ("throughput_per_s", "latency_p99_ms")
    assert report.front is not None
    assert report.front.title == "The front of Throughput and p99 Latency"
    assert [c.key for c in report.front.table.columns[:4]] == [
        "config",
        "concurrency",
        "throughput_per_s",
        "latency_p99_ms",
    ]
    values = [
        (point.scores[0], -point.scores[1], row.cells[2].value, row.cells[3].value)
        for point, row in zip(report.front.points, report.front.table.rows, strict=True)
    ]
    assert all(a == c and b == d for a, b, c, d in values)
    assert report.front.table.rows[0].mark == "best"
    assert len(values) >= 3
    assert "were too short to give a p99 Latency" in report.front.note
    assert build(studies.gpu_study()).front is None


def test_what_a_proof_measured_makes_a_point_of_a_level_that_was_too_short() -> None:
    study = studies.front_study()
    slow = studies.trial(2, [studies.level(4, 5000.0, None)], batch=4)
    again = studies.trial(
        3, [studies.level(4, 5000.0, 30.0)], role="proof", replicate_of=2, proof_round=0
    )

    def numbers(*more: TrialRecord) -> set[int]:
        front = build(replace(study, trials=(*study.trials[:2], *more))).front
        assert front is not None
        return {point.record.number for point in front.points}

    assert 2 not in numbers(slow)
    assert 2 in numbers(slow, again)


def test_what_the_search_started_from_and_why_it_ended_is_told() -> None:
    study = studies.gpu_study()
    spec = replace(study.header.spec, started_from=("one", "two"))
    header = replace(study.header, spec=spec)
    report = build(replace(study, header=header, search_ended="12 of 12 trials are done."))

    assert report.settings["started from"] == "one, two"
    assert report.search_ended == "12 of 12 trials are done."
    assert build(study).settings["started from"] == "none"


def test_all_that_was_measured_again_in_turn_is_shown_round_by_round() -> None:
    def again(number: int, of: int, turn: int, throughput_per_s: float) -> TrialRecord:
        levels = [studies.level(8, throughput_per_s, 50)]
        return studies.trial(number, levels, role="proof", replicate_of=of, proof_round=turn)

    trials = [
        studies.trial(0, [studies.level(8, 100.0, 50)], role="baseline"),
        studies.trial(1, [studies.level(8, 130.0, 50)]),
        studies.trial(2, [studies.level(8, 140.0, 50)]),
        *(again(10 + 3 * turn, 1, turn, 150.0 + turn) for turn in range(3)),
        *(again(11 + 3 * turn, 2, turn, 120.0 + turn) for turn in range(2)),
        *(again(12 + 3 * turn, 0, turn, 100.0 + turn) for turn in range(3)),
    ]
    table = build(studies.study(trials)).in_turn

    assert table is not None
    assert [column.header.partition(":")[0] for column in table.columns] == [
        "Round",
        "falcon7b_config_1",
        "falcon7b_config_2",
        "Default",
    ]
    values = [[cell.value for cell in row.cells[1:]] for row in table.rows]
    assert values == [[150.0, 120.0, 100.0], [151.0, 121.0, 101.0], [152.0, None, 102.0]]
    assert build(studies.study(trials[:3])).in_turn is None


def test_the_weights_that_were_served_are_among_what_was_asked_for() -> None:
    study = studies.gpu_study()
    dummy = replace(study.header, spec=replace(study.header.spec, weights="dummy"))

    assert build(replace(study, header=dummy)).settings["weights"] == "dummy"
    assert build(study).settings["weights"] == "those that the configuration names"


def test_the_gpu_of_each_configuration_is_told_with_its_power() -> None:
    report = build(studies.gpu_study())
    for table in (report.summary, report.configurations[0].detail):
        place = [column.key for column in table.columns].index("gpu_power_w")
        memory = [column.key for column in table.columns].index("gpu_memory_peak_mb")
        for row in table.rows:
            count = round((float(row.cells[memory].value or 0) * 1e6 - 7e8) / 15.1e9)
            assert row.cells[place].value == 210 + 60 * count
    without = build(studies.cpu_study()).summary
    assert "gpu_power_w" not in [without.columns[place].key for place in without.shown()]
