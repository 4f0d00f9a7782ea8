"""What earlier waits let the next level expect, and how long its first run is."""

from __future__ import annotations

from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload
from tuner.study.experience import Wait, expected_wait
from tuner.study.length import CLOSELY, FROM_AFAR, SCREENING, Run, first_run, is_slow

WINDOW_S = 4.0
MANY = Workload(load=ClosedLoop(concurrency=256))


def first(wait: Wait | None, *, workload: Workload = MANY, known_s: float = 0.0) -> Run:
    return first_run(workload, wait, care=CLOSELY, known_s=known_s, window_s=WINDOW_S)


def test_nothing_is_expected_where_nothing_was_seen() -> None:
    assert expected_wait(8, {}, None) is None


def test_a_wait_that_was_seen_is_expected_again() -> None:
    assert expected_wait(64, {64: 0.5, 1: 0.1}, 0.2) == Wait(seconds=0.5, sure=True)


def test_twice_the_requests_wait_at_most_twice_as_long() -> None:
    assert expected_wait(128, {64: 0.5}, None) == Wait(seconds=1.0, sure=True)


def test_the_wait_at_half_the_load_is_bounded_by_that_of_the_whole() -> None:
    assert expected_wait(32, {64: 0.5}, None) == Wait(seconds=0.5, sure=True)


def test_of_far_more_requests_than_were_seen_nothing_is_sure() -> None:
    wait = expected_wait(256, {}, 0.36)
    assert wait is not None
    assert not wait.sure
    assert wait.seconds > 0.36


def test_a_fast_service_is_measured_for_one_window() -> None:
    assert first(Wait(seconds=0.01, sure=False)) == Run(length_s=WINDOW_S)


def test_answers_are_counted_where_a_wait_may_be_longer_than_a_window() -> None:
    run = first(Wait(seconds=20.0, sure=False))
    assert run.requests is not None
    assert run.requests >= 4 * 256


def test_a_known_wait_is_given_rounds_enough_by_the_clock() -> None:
    run = first(Wait(seconds=2.0, sure=True))
    assert run.requests is None
    assert 12.0 <= run.length_s <= 14.0


def test_a_slow_level_is_looked_at_from_afar_no_longer_than_closely() -> None:
    wait = Wait(seconds=2.0, sure=True)
    closely, afar = (
        first_run(MANY, wait, care=care, known_s=0.0, window_s=WINDOW_S)
        for care in (CLOSELY, FROM_AFAR)
    )
    assert afar == closely


def test_waits_of_which_few_fit_into_a_window_are_counted_in_rounds() -> None:
    """To a precision, a single client of half a second would be watched for twenty."""
    assert is_slow(0.55, WINDOW_S)
    assert not is_slow(0.45, WINDOW_S)


def test_a_slow_level_is_screened_in_fewer_rounds() -> None:
    wait = Wait(seconds=2.0, sure=True)
    run = first_run(MANY, wait, care=SCREENING, known_s=0.0, window_s=WINDOW_S)
    assert 10.0 <= run.length_s <= 12.0


def test_a_wait_that_is_longer_than_the_cap_is_given_its_rounds_all_the_same() -> None:
    assert first(Wait(seconds=7.0, sure=True)).length_s >= 5 * 7.0


def test_a_level_that_was_measured_before_gets_its_length_at_once_up_to_the_cap() -> None:
    assert first(None, known_s=9.0) == Run(length_s=9.0)
    assert first(None, known_s=900.0) == Run(length_s=CLOSELY.windows * WINDOW_S)


def test_requests_that_come_by_the_clock_are_measured_by_the_clock() -> None:
    steady = Workload(load=OpenLoop(rate_per_s=5.0))
    run = first_run(steady, None, care=SCREENING, known_s=0.0, window_s=WINDOW_S)
    assert run == Run(length_s=WINDOW_S)
