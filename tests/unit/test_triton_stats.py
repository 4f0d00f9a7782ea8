"""Triton's counters, and what happened between two readings of them."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.errors import TrialAborted
from tuner.measure.measurement import BatchTime, ServerTime
from tuner.telemetry.triton_stats import difference, parse_stats, read_stats

MS = 1_000_000


def counter(count: int, ms: float) -> dict[str, int]:
    return {"count": count, "ns": int(ms * MS)}


def answer(
    *, success: int = 0, fail: int = 0, queue_ms: float = 0, batches: dict[int, int] | None = None
) -> dict[str, Any]:
    """What a server says that has answered ``success`` requests, 10 ms + 1 ms a row in compute."""
    return {
        "name": "light",
        "version": "1",
        "inference_stats": {
            "success": counter(success, 30 * success),
            "fail": counter(fail, fail),
            "queue": counter(success, queue_ms),
            "compute_input": counter(success, 0.5 * success),
            "compute_infer": counter(success, 18 * success),
            "compute_output": counter(success, 0.25 * success),
            "cache_hit": counter(0, 0),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": counter(count, 0.5 * count),
                "compute_infer": counter(count, (10 + size) * count),
                "compute_output": counter(count, 0.25 * count),
            }
            for size, count in (batches or {}).items()
        ],
    }


def test_a_difference_counts_only_what_came_between() -> None:
    before = parse_stats({"model_stats": [answer(success=10, queue_ms=70, batches={1: 10})]})
    after = parse_stats(
        {"model_stats": [answer(success=50, fail=3, queue_ms=150, batches={8: 5, 1: 10})]}
    )
    use = difference(before, after)
    assert use is not None
    assert use.time == ServerTime(
        queue_ms=2, compute_input_ms=0.5, compute_infer_ms=18, compute_output_ms=0.25
    )
    assert use.batches == (BatchTime(size=8, count=5, compute_ms=18.75),)
    assert (use.answered, use.failed) == (40, 3)


def test_batches_come_in_ascending_size() -> None:
    nothing = parse_stats({"model_stats": []})
    use = difference(nothing, parse_stats({"model_stats": [answer(batches={8: 1, 2: 1, 4: 1})]}))
    assert use is not None
    assert [batch.size for batch in use.batches] == [2, 4, 8]


def test_the_versions_of_a_model_are_added_up() -> None:
    stats = parse_stats({"model_stats": [answer(success=2), answer(success=3, batches={1: 3})]})
    assert stats.requests["success"].count == 5
    assert stats.batches[1].count == 3


def test_without_an_answered_request_there_is_no_server_time() -> None:
    stats = parse_stats({"model_stats": [answer(success=5, queue_ms=1)]})
    use = difference(stats, stats)
    assert use is not None
    assert (use.time, use.batches, use.answered) == (None, (), 0)


def test_a_model_that_was_loaded_anew_in_between_gives_no_difference() -> None:
    before = parse_stats({"model_stats": [answer(success=5, batches={1: 5})]})
    assert difference(before, parse_stats({"model_stats": [answer(success=1)]})) is None


def test_a_server_that_is_not_there_aborts_the_trial_and_says_where_it_looked() -> None:
    with pytest.raises(TrialAborted, match=r"http://127\.0\.0\.1:1/v2/models/light/stats"):
        read_stats("127.0.0.1:1", "light")
