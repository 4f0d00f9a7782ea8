from __future__ import annotations

from dataclasses import replace

from tuner.measure.estimate import Estimate
from tuner.measure.measurement import (
    BatchTime,
    Caveat,
    ClosedLoop,
    Latency,
    Measurement,
    Workload,
)
from tuner.measure.warming import CODE, warming


def level(concurrency: int, *batches: tuple[int, int, float]) -> Measurement:
    """A level with (size, count, compute_ms) of its batches."""
    some = Estimate(value=10.0, low=9.0, high=11.0, n_effective=8.0)
    return Measurement(
        workload=Workload(load=ClosedLoop(concurrency=concurrency)),
        throughput_per_s=some,
        latency=Latency(mean_ms=some, p50_ms=None, p90_ms=None, p95_ms=None, p99_ms=None),
        server=None,
        batches=tuple(BatchTime(size=s, count=n, compute_ms=ms) for s, n, ms in batches),
        gpus=(),
        host=None,
        requests=100,
        errors=0,
        duration_s=4.0,
        discarded_s=0.0,
        caveats=(),
    )


def test_a_batch_that_was_slower_than_later_gives_a_warming_server_away() -> None:
    found = warming([level(1, (1, 100, 33.0)), level(16, (1, 1, 11.0), (8, 200, 18.0))])
    assert found.keys() == {0}
    assert found[0].code == CODE
    assert "33 ms" in found[0].message


def test_a_larger_batch_that_is_quicker_later_tells_it_too() -> None:
    assert warming([level(1, (1, 100, 33.0)), level(16, (8, 200, 18.0))]).keys() == {0}


def test_levels_of_higher_load_in_between_are_found_as_well() -> None:
    levels = [
        level(1, (1, 100, 33.0)),
        level(32, (8, 100, 54.0)),
        level(16, (8, 200, 18.0)),
    ]
    assert warming(levels).keys() == {0, 1}


def test_instances_that_slow_each_other_down_are_no_warm_up() -> None:
    """More in flight first, less later: each batch is quicker, and nothing was cold."""
    assert warming([level(32, (8, 100, 54.0)), level(4, (8, 100, 18.0))]) == {}
    assert warming([level(1, (1, 100, 11.0)), level(32, (1, 100, 33.0))]) == {}


def test_a_few_slow_batches_are_no_warm_up() -> None:
    """The first batch of each size is slow; a mean of few is made of it."""
    assert warming([level(8, (3, 4, 90.0)), level(16, (3, 50, 18.0))]) == {}


def test_pauses_are_not_taken_for_a_warm_up() -> None:
    paused = replace(
        level(1, (1, 100, 33.0)), caveats=(Caveat(code="pauses", message="", advice=""),)
    )
    assert warming([paused, level(16, (8, 200, 18.0))]) == {}
