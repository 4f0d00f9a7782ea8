"""The search space: what may be tried, and what means the same."""

from __future__ import annotations

import pytest

from tuner.space.knobs import Knob
from tuner.space.triton import Bounds, search_space

DEFAULT = {
    "max_batch_size": 8,
    "dynamic_batching": False,
    "max_queue_delay_microseconds": 0,
    "instance_count": 1,
}
BOUNDS = Bounds(max_batch_size=16, max_queue_delay_microseconds=200, max_instance_count=2)


def test_no_two_candidates_mean_the_same() -> None:
    space = search_space(DEFAULT, BOUNDS)
    candidates = space.candidates()
    assert len({tuple(c.values()) for c in candidates}) == len(candidates)
    assert all(space.canonical(c) == c for c in candidates)


def test_without_dynamic_batching_only_instances_distinguish_configurations() -> None:
    off = [c for c in search_space(DEFAULT, BOUNDS).candidates() if not c["dynamic_batching"]]
    assert [c["instance_count"] for c in off] == [1, 2]
    assert {c["max_batch_size"] for c in off} == {8}, "the user's own value stays"
    assert {c["max_queue_delay_microseconds"] for c in off} == {0}


def test_with_dynamic_batching_every_batch_delay_and_count_is_tried() -> None:
    on = [c for c in search_space(DEFAULT, BOUNDS).candidates() if c["dynamic_batching"]]
    assert len(on) == len([2, 4, 8, 16]) * len([0, 100, 200]) * len([1, 2])


def test_a_batch_that_holds_one_request_is_no_dynamic_batching() -> None:
    space = search_space(DEFAULT, BOUNDS, request_batch=4)
    narrow = {**DEFAULT, "dynamic_batching": True, "max_batch_size": 4}
    assert space.canonical(narrow)["dynamic_batching"] is False
    assert min(c["max_batch_size"] for c in space.candidates() if c["dynamic_batching"]) == 8


def test_the_users_own_values_are_part_of_the_space_even_outside_its_bounds() -> None:
    own = {
        "max_batch_size": 300,
        "dynamic_batching": True,
        "max_queue_delay_microseconds": 123_456,
        "instance_count": 9,
    }
    space = search_space(own, BOUNDS)
    assert space.default == own
    assert own in space.candidates()


def test_a_model_that_takes_no_batches_may_only_change_its_instances() -> None:
    space = search_space({**DEFAULT, "max_batch_size": 0}, BOUNDS)
    assert space.candidates() == ({"instance_count": 1}, {"instance_count": 2})


def test_groups_of_different_counts_are_left_as_they_are() -> None:
    uneven = {name: value for name, value in DEFAULT.items() if name != "instance_count"}
    space = search_space(uneven, BOUNDS)
    assert "instance_count" not in {knob.name for knob in space.knobs}


@pytest.mark.parametrize("values", [(), (1, 1), (2, 1)])
def test_a_knob_wants_distinct_ascending_values(values: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="of k must"):
        Knob(name="k", values=values)
