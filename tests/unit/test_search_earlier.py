"""Earlier studies of the same model: a head start when they are right, little harm otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search_models import CLIENTS, exactly, light, triton_space

from tuner.search import batcher, earlier
from tuner.search.model_guided import ModelGuided
from tuner.search.port import Seen
from tuner.space.triton import (
    DYNAMIC_BATCHING,
    INSTANCE_COUNT,
    MAX_BATCH_SIZE,
    MAX_QUEUE_DELAY_US,
)

SPACE = triton_space()
JOINED = {DYNAMIC_BATCHING: True, MAX_QUEUE_DELAY_US: 0}
BEST = {**JOINED, MAX_BATCH_SIZE: 128, INSTANCE_COUNT: 3}
STUDY = [light(params) for params in SPACE.candidates()[:150:9]] + [light(BEST)]


def rejected(batch: int, instances: int) -> Seen:
    params = {**JOINED, MAX_BATCH_SIZE: batch, INSTANCE_COUNT: instances}
    return Seen(params=params, value=None, rejected=True)


def search() -> ModelGuided:
    return ModelGuided(SPACE, seed=0, max_concurrency=CLIENTS, earlier=STUDY)


def test_the_users_own_configuration_still_comes_first() -> None:
    proposal = search().propose([])
    assert proposal is not None
    assert proposal.params == SPACE.default


def test_the_best_of_an_earlier_study_comes_next() -> None:
    proposal = search().propose([light(SPACE.default)])
    assert proposal is not None
    assert proposal.params == BEST
    assert "earlier study" in proposal.why


def test_a_best_from_outside_the_space_stands_for_what_is_nearest_to_it() -> None:
    outside = {**JOINED, MAX_BATCH_SIZE: 300, INSTANCE_COUNT: 7}
    assert earlier.best([Seen(params=outside, value=9.0)], SPACE) == BEST


def test_what_missed_the_limits_or_did_not_load_is_no_best() -> None:
    assert earlier.best([rejected(8, 1)], SPACE) is None
    assert earlier.best([Seen(params=BEST, value=9.0, violation=0.1)], SPACE) is None


def test_the_best_of_an_earlier_study_is_not_launched_where_it_cannot_fit() -> None:
    without = search().propose([light(SPACE.default), rejected(1, 2)])
    assert without is not None
    assert without.params != BEST


def test_levels_of_an_earlier_study_favour_the_beliefs_that_explain_them() -> None:
    log_prior = earlier.log_prior(STUDY, request_rows=1)
    apart, contention = np.array(batcher.BELIEFS).T[3:5]
    meeting = (apart == 1) & (contention > 0.6)
    assert log_prior[contention == 0.0].max() > log_prior[meeting].max() + 1


def test_a_faster_machine_favours_the_same_beliefs() -> None:
    def faster(seen: Seen) -> Seen:
        return replace(
            seen,
            levels=tuple(
                replace(
                    level,
                    throughput_per_s=exactly(3 * level.throughput_per_s.value),
                    batches=tuple(
                        replace(batch, compute_ms=batch.compute_ms / 3) for batch in level.batches
                    ),
                )
                for level in seen.levels
            ),
        )

    slow = earlier.log_prior(STUDY, request_rows=1)
    fast = earlier.log_prior([faster(seen) for seen in STUDY], request_rows=1)
    assert fast == pytest.approx(slow, abs=0.3)


def test_no_earlier_study_can_rule_a_belief_out() -> None:
    log_prior = earlier.log_prior(STUDY * 20, request_rows=1)
    assert np.ptp(log_prior) <= 3.1
    assert earlier.log_prior([], request_rows=1) == pytest.approx(0.0)


def test_what_an_earlier_study_could_not_load_is_less_welcome_but_not_forbidden() -> None:
    ahead = [{**BEST, INSTANCE_COUNT: count} for count in (1, 2, 3)]
    factor = earlier.caution(ahead, [rejected(64, 2)], [light(SPACE.default)])
    assert factor[0] == 1.0
    assert (factor[1:] < 1.0).all()
    assert (factor > 0.0).all()


def test_caution_ends_once_something_as_large_has_loaded_here() -> None:
    ahead = [{**BEST, INSTANCE_COUNT: count} for count in (1, 2, 3)]
    factor = earlier.caution(ahead, [rejected(64, 2)], [light(BEST)])
    assert factor == pytest.approx(1.0)


def test_everything_is_still_tried_after_an_earlier_study_that_could_load_nothing() -> None:
    space = triton_space(instances=2, batch=2)
    known = [Seen(params=params, value=None, rejected=True) for params in space.candidates()]
    proposer = ModelGuided(space, seed=0, earlier=known)
    history: list[Seen] = []
    while (proposal := proposer.propose(history)) is not None:
        history.append(light(proposal.params))
    assert len(history) == len(space.candidates())
