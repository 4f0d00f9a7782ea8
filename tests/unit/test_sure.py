"""When the rounds of a proof are enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import report_studies as studies

from tuner.judge.goal import Limit, Objective
from tuner.judge.rank import Ranked, rank
from tuner.judge.sure import is_sure
from tuner.measure.record import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord

THROUGHPUT = Objective(metric="throughput_per_s")
WITHIN = (Limit(metric="latency_p99_ms", bound=100.0),)
FIRST, SECOND = 1, 2


def level(throughput_per_s: float, p99_ms: float = 50.0) -> Measurement:
    return studies.level(8, throughput_per_s, p99_ms)


def again(
    rounds: Sequence[Sequence[Measurement | Rejected]], of: Sequence[int] = (FIRST, SECOND, 0)
) -> list[TrialRecord]:
    """Proof rounds: one row a round, one column a configuration, the default last."""
    return [
        studies.trial(
            10 + len(of) * number + place,
            one if isinstance(one, Rejected) else [one],
            role="proof",
            replicate_of=of[place],
            proof_round=number,
        )
        for number, row in enumerate(rounds)
        for place, one in enumerate(row)
    ]


def sure(
    rounds: Sequence[Sequence[Measurement | Rejected]],
    limits: tuple[Limit, ...] = (),
    *,
    objective: Objective = THROUGHPUT,
    first_instances: int = 1,
    default_p99_ms: float = 50.0,
) -> bool:
    """Whether these rounds are enough for a study of three configurations."""
    levels = (
        level(100.0, default_p99_ms),
        studies.level(8, 900.0, 50.0, instances=first_instances),
        level(880.0),
    )
    searched = [
        studies.trial(n, [one], role="search" if n else "baseline") for n, one in enumerate(levels)
    ]
    entries: dict[int, Ranked] = {
        entry.record.number: entry for entry in rank(searched, objective, limits)
    }
    runners = [entries[FIRST], entries[SECOND]]
    trials = [*searched, *again(rounds)]
    return is_sure(trials, runners, objective, limits, default=entries[0])


def of_throughput(*rows: Sequence[float]) -> list[list[Measurement]]:
    return [[level(value) for value in row] for row in rows]


PLAIN = of_throughput((900, 700, 100), (905, 704, 101), (895, 690, 98))


def test_a_gain_of_many_times_is_plain_after_three_rounds() -> None:
    assert sure(PLAIN)


def test_two_rounds_are_never_enough() -> None:
    assert not sure(PLAIN[:2])


def test_less_waiting_is_as_plain_as_more_throughput() -> None:
    """Eight clients: nine times the throughput is a ninth of the wait."""
    wait = Objective(metric="latency_mean_ms")
    assert sure(PLAIN, objective=wait)
    assert not sure(of_throughput((190, 150, 100)) * 3, objective=wait)


def test_a_gain_that_is_not_twofold_in_every_round_takes_them_all() -> None:
    """However narrow its interval: rounds that agree by chance would be picked by it."""
    assert sure(of_throughput((210, 205, 100)) * 3)
    assert not sure(of_throughput((199, 199, 100)) * 3)
    assert not sure(of_throughput((300, 300, 100), (300, 300, 100), (199, 300, 100)))


def test_rounds_that_are_all_twofold_and_yet_prove_nothing_are_not_enough() -> None:
    """Twice, forty times, twice: an interval from three such rounds still holds «no gain»."""
    assert not sure(of_throughput((200, 200, 100), (4000, 4000, 100), (210, 210, 100)))


def test_what_is_no_half_as_good_as_the_default_needs_no_more_rounds_either() -> None:
    assert sure(of_throughput((50, 20, 101), (50.5, 20.1, 102), (49, 19.9, 99)))
    assert not sure(of_throughput((50, 20, 100), (51, 20.1, 101), (49, 19.9, 99)))


def test_where_the_default_misses_a_limit_keeping_it_is_enough() -> None:
    rounds = [[level(105), level(104), level(100, 150)]] * 3
    assert sure(rounds, WITHIN, default_p99_ms=150.0)
    assert not sure(rounds, WITHIN), "where it kept it in the search, the gain counts"


def test_where_the_other_winner_may_be_better_by_a_quarter_more_rounds_tell() -> None:
    assert not sure(of_throughput((900, 700, 100), (700, 930, 101), (930, 800, 98)))


def test_of_two_winners_that_do_nearly_as_well_no_more_rounds_are_needed() -> None:
    assert sure(of_throughput((900, 890, 100), (905, 896, 101), (895, 889, 98)))


def test_a_leaner_winner_that_may_lose_a_quarter_takes_all_rounds() -> None:
    """The second is behind by 5 %, give or take 21: as good as far as that goes."""
    rounds = of_throughput((900, 800, 100), (820, 860, 101), (950, 890, 98))
    assert sure(rounds)
    assert not sure(rounds, first_instances=4)


def test_a_candidate_that_cannot_serve_any_more_is_done_with() -> None:
    gone = Rejected(reason="gone", evidence="")
    assert sure([[row[0], gone, row[2]] for row in PLAIN])


@pytest.mark.parametrize(
    ("p99_ms", "enough"),
    [((50, 50, 50), True), ((150, 150, 150), True), ((50, 150, 50), False)],
    ids=["always kept", "never kept", "kept in two of three"],
)
def test_a_limit_that_is_kept_in_some_rounds_takes_them_all(
    p99_ms: Sequence[float],
    enough: bool,  # noqa: FBT001 - a row of the table
) -> None:
    rounds = [[level(900, p99), row[1], row[2]] for p99, row in zip(p99_ms, PLAIN, strict=True)]
    assert sure(rounds, WITHIN) is enough
