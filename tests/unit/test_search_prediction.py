"""What is predicted: where to begin measuring a configuration, and whether it keeps a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from search_models import CLIENTS, light, triton_space

from tuner.search import batcher, encoding
from tuner.search.model_guided import ModelGuided
from tuner.search.port import Seen
from tuner.search.prediction import Conditions, Prediction, predict
from tuner.space.triton import (
    DYNAMIC_BATCHING,
    INSTANCE_COUNT,
    MAX_BATCH_SIZE,
    MAX_QUEUE_DELAY_US,
)

if TYPE_CHECKING:
    from tuner.measure.saturation import Saturation

SPACE = triton_space()
NO_PRIOR = np.zeros(len(batcher.BELIEFS))


def joined(batch: int, instances: int, delay_us: int = 0) -> dict[str, int | bool | str]:
    return {
        DYNAMIC_BATCHING: True,
        MAX_BATCH_SIZE: batch,
        MAX_QUEUE_DELAY_US: delay_us,
        INSTANCE_COUNT: instances,
    }


SEEN = [light(SPACE.default), light(joined(32, 2)), light(joined(128, 1)), light(joined(8, 3))]


def prediction(p99_limit_ms: float | None = None, most: int = 1024) -> Prediction:
    conditions = Conditions(max_concurrency=most, request_rows=1, p99_limit_ms=p99_limit_ms)
    found = predict(SEEN, conditions, log_prior=NO_PRIOR)
    assert found is not None
    return found


@pytest.mark.parametrize(("batch", "instances"), [(4, 1), (16, 2), (64, 3), (128, 3)])
def test_the_predicted_load_nearly_reaches_the_best_throughput(batch: int, instances: int) -> None:
    params = joined(batch, instances)
    load = prediction().saturation(params).concurrency
    full = batch * instances
    assert load <= 2 * full
    rows = min(batch, load / (instances + 1))
    best = batch / (10 + batch)
    assert rows / (10 + rows) >= 0.9 * best


def test_the_predicted_load_is_never_above_the_heaviest_that_is_driven() -> None:
    assert prediction(most=20).saturation(joined(128, 3)).concurrency <= 20


def test_a_configuration_that_batches_nothing_is_not_overloaded() -> None:
    alone = {**SPACE.default, INSTANCE_COUNT: 2}
    assert prediction().saturation(alone).concurrency <= 4


def test_under_a_limit_the_predicted_load_keeps_it() -> None:
    params = joined(128, 2)
    free = prediction().saturation(params).concurrency
    tight = prediction(60.0).saturation(params).concurrency
    assert tight < free
    # The light model answers n rows in flight on two instances after 1.5 (10 ms + n / 3 ms).
    assert 1.2 * 1.5 * (10 + tight / 3) < 1.15 * 60


def test_every_proposal_after_the_first_names_a_load() -> None:
    proposer = ModelGuided(SPACE, seed=0, max_concurrency=CLIENTS, p99_limit_ms=80.0)
    history: list[Seen] = []
    for _ in range(6):
        proposal = proposer.propose(history)
        assert proposal is not None
        full = encoding.capacity(proposal.params, request_rows=1)
        if history:
            assert proposal.saturation is not None
            assert 1 <= proposal.saturation.concurrency <= min(CLIENTS, 2 * full)
        else:
            assert proposal.saturation is None
        history.append(light(proposal.params))


def shared(*sizes: tuple[int, int]) -> Saturation:
    """Of two instances that gather batches of 128, after others were tried on one device."""
    conditions = Conditions(max_concurrency=512, request_rows=1, p99_limit_ms=None)
    tried = [SPACE.default, *(joined(batch, instances) for batch, instances in sizes)]
    seen = [light(params, shared=True) for params in tried]
    found = predict(seen, conditions, log_prior=NO_PRIOR)
    assert found is not None
    return found.saturation(joined(128, 2, delay_us=50_000))


def test_instances_that_gain_nothing_leave_no_room_where_one_of_them_is_kept_busy() -> None:
    """A queue delay fills one batch of 128 after the other: 138 ms each at 128 clients."""
    expected = shared((32, 2), (128, 1), (128, 3), (64, 3), (128, 2))
    assert expected.concurrency == 128
    assert expected.room < 1.1
    assert expected.throughput_per_s == pytest.approx(1e3 * 128 / 138, rel=0.12)


def test_room_is_left_where_a_few_beliefs_still_expect_more_of_more_load() -> None:
    expected = shared((32, 2), (64, 3))
    assert expected.concurrency == 128
    assert expected.room > 1.1


def test_instances_that_do_not_meet_leave_room_below_the_load_that_fills_them() -> None:
    expected = prediction().saturation(joined(128, 2, delay_us=50_000))
    assert expected.concurrency >= 256


def test_loads_count_requests_where_a_request_has_several_rows() -> None:
    conditions = Conditions(max_concurrency=64, request_rows=4, p99_limit_ms=None)
    found = predict(SEEN, conditions, log_prior=NO_PRIOR)
    assert found is not None
    assert found.saturation(joined(16, 2)).concurrency <= 2 * (16 // 4) * 2


def test_without_levels_nothing_is_predicted() -> None:
    conditions = Conditions(max_concurrency=64, request_rows=1, p99_limit_ms=None)
    assert predict([Seen(params=SPACE.default, value=3.0)], conditions, log_prior=NO_PRIOR) is None


def test_while_nothing_keeps_a_p99_limit_what_is_predicted_to_keep_it_comes_next() -> None:
    # Alone a request takes 11 ms, and up to 50 ms more where it waits for others.
    slow = joined(64, 1, 50_000)
    seen = Seen(params=slow, value=800.0, violation=1.2, levels=light(slow).levels)
    proposer = ModelGuided(SPACE, seed=0, max_concurrency=CLIENTS, p99_limit_ms=30.0)
    proposal = proposer.propose([seen])
    assert proposal is not None
    assert cast("int", proposal.params[MAX_QUEUE_DELAY_US]) <= 5_000
    assert proposal.expected_gain is None
