"""The words of the progress line."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import report_studies as studies
from rich.console import Console

from tuner.display import Display
from tuner.judge.goal import Limit, Objective
from tuner.judge.rank import best_level
from tuner.study.events import ProofStarted, SearchEnded, StudyOpened, TrialEnded, TrialStarted

if TYPE_CHECKING:
    from tuner.judge.rank import Ranked
    from tuner.measure.measurement import Measurement
    from tuner.measure.record import Role
    from tuner.study.events import Event

THROUGHPUT = Objective(metric="throughput_per_s")
P99 = Objective(metric="latency_p99_ms")

OWN = [studies.level(1, 10.0, 24.6), studies.level(16, 80.0, 200)]
OTHER = [studies.level(1, 9.0, 12.3), studies.level(16, 160.0, 100)]


def opened(*, trials: int, proofs: int, objective: Objective = THROUGHPUT) -> StudyOpened:
    """A new study whose proof takes all its rounds."""
    return StudyOpened(
        name="light",
        done=0,
        trials=trials,
        proofs=proofs,
        proofs_if_plain=proofs,
        objective=objective,
    )


def said(
    objective: Objective,
    own: list[Measurement],
    other: list[Measurement],
    limits: tuple[Limit, ...] = (),
) -> str:
    """The last line, when the other configuration has become the best one."""
    out = io.StringIO()
    display = Display(Console(file=out, width=200))

    def judged(number: int, levels: list[Measurement]) -> Ranked:
        role: Role = "search" if number else "baseline"
        found = best_level(studies.trial(number, levels, role=role), objective, limits)
        assert found is not None
        return found

    first, second = judged(0, own), judged(1, other)
    with display:
        display.on(opened(trials=0, proofs=0, objective=objective))
        best = second if second.feasible else None
        display.on(TrialEnded(record=second.record, spoken=second, best=best, baseline=first))
    return out.getvalue().strip()


def test_a_throughput_is_shown_as_a_multiple_of_yours() -> None:
    assert said(THROUGHPUT, OWN, OTHER) == (
        "160 infer/s at concurrency 16, p99 100 ms; best so far 160 infer/s (2.00x yours)"
    )


def test_a_large_number_has_no_exponent() -> None:
    assert said(THROUGHPUT, OWN, [studies.level(16, 12345.6, 10)]).startswith("12346 infer/s")


def test_a_latency_that_is_the_objective_comes_first_and_half_of_it_is_twice_as_good() -> None:
    assert said(P99, OWN, OTHER) == (
        "p99 12.3 ms at concurrency 1, 9 infer/s; "
        "best so far p99 12.3 ms (2.00x better than yours)"
    )


def test_the_level_that_keeps_the_limits_is_shown_and_not_the_fastest() -> None:
    line = said(THROUGHPUT, OWN, OTHER, (Limit(metric="latency_p99_ms", bound=50.0),))

    assert line.startswith("9 infer/s at concurrency 1, p99 12.3 ms; best so far 9 infer/s")


def test_there_is_no_ratio_to_a_configuration_that_misses_the_limits() -> None:
    line = said(THROUGHPUT, OWN, OTHER, (Limit(metric="latency_p99_ms", bound=20.0),))

    assert line.endswith("best so far 9 infer/s")


def test_a_level_that_misses_the_limits_is_called_so() -> None:
    line = said(THROUGHPUT, OWN, OTHER, (Limit(metric="latency_p99_ms", bound=1.0),))

    assert "misses the limits; nothing keeps the limits yet" in line


def test_a_percentile_that_could_not_be_bounded_is_unknown() -> None:
    line = said(P99, OWN, [studies.level(1, 9.0, None)])

    assert line.startswith("p99 unknown at concurrency 1, 9 infer/s")


def test_an_objective_that_no_run_could_bound_is_not_called_a_limit() -> None:
    unknown = [studies.level(16, 80.0, None)]
    record = studies.trial(0, unknown, role="baseline")
    own = best_level(record, P99, ())
    said = lines(
        opened(trials=3, proofs=0, objective=P99),
        TrialEnded(record=record, spoken=own, best=None, baseline=own),
    )
    assert said == ["  p99 unknown at concurrency 16, 80 infer/s; no run could bound a p99 yet"]


def lines(*events: Event) -> list[str]:
    """What is said of events that take no time that would be worth telling."""
    out = io.StringIO()
    with Display(Console(file=out, width=200)) as display:
        for event in events:
            display.on(event)
    return [line for line in out.getvalue().splitlines() if line]


def test_the_time_left_is_not_told_in_the_last_second() -> None:
    record = studies.trial(1, OWN)
    spoken = best_level(record, THROUGHPUT, ())
    said = lines(
        opened(trials=3, proofs=12),
        TrialStarted(number=1, position=2, role="search", params=record.params, why="next"),
        TrialEnded(record=record, spoken=spoken, best=spoken, baseline=None),
        SearchEnded(reason="enough."),
        ProofStarted(trials=2, trials_if_plain=2),
    )
    assert "left" not in " ".join(said)
    assert said[-1] == "enough."
