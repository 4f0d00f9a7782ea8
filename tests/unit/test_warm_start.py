"""What a study takes from earlier ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import report_studies as studies

from tuner.errors import UsageError
from tuner.judge.goal import Limit, Objective
from tuner.request import Request, Sampler
from tuner.search_choice import learnt_from
from tuner.server_choice import ServerKind, ServerOptions
from tuner.space.triton import Bounds, search_space

OLDER = studies.gpu_study()
SPACE = search_space(OLDER.trials[0].params, Bounds(max_instance_count=6))
REQUEST = Request(
    model="falcon7b",
    study=None,
    repository=Path("models"),
    studies=Path("studies"),
    trials=30,
    proof_rounds=4,
    all_rounds=True,
    time_limit_s=None,
    patience=3,
    objective=Objective(metric="throughput_per_s"),
    second=None,
    limits=(),
    max_batch_size=128,
    max_queue_delay_microseconds=100_000,
    max_instances=6,
    max_concurrency=512,
    request_batch=1,
    open_loop=None,
    precision=0.05,
    window_s=4.0,
    load_deadline_s=600.0,
    seed=0,
    sampler=Sampler.AUTO,
    started_from=("older",),
    weights=None,
    server=ServerOptions(kind=ServerKind.SIM),
    input_data=None,
    perf_analyzer=None,
    sdk_image=None,
    fresh=False,
)


def test_every_configuration_that_told_something_is_learnt_from() -> None:
    known = learnt_from(REQUEST, SPACE, [OLDER])
    assert len(known) == 11  # the lost one told nothing, the proofs nothing new
    assert [one.rejected for one in known].count(True) == 1
    assert max(one.value or 0 for one in known) == pytest.approx(1430, rel=0.01)
    assert len(learnt_from(REQUEST, SPACE, [OLDER, OLDER])) == 22
    assert learnt_from(REQUEST, SPACE, []) == ()


def test_it_is_judged_by_what_is_wanted_now() -> None:
    within = replace(REQUEST, limits=(Limit(metric="latency_p99_ms", bound=500.0),))
    free, limited = (learnt_from(one, SPACE, [OLDER]) for one in (REQUEST, within))
    assert max(one.value or 0 for one in limited) < max(one.value or 0 for one in free)
    latency = replace(REQUEST, objective=Objective(metric="latency_p50_ms"))
    values = [one.value for one in learnt_from(latency, SPACE, [OLDER]) if not one.rejected]
    assert all(value is not None and value < 0 for value in values)


def test_knobs_that_do_not_change_here_are_left_out() -> None:
    batches_only = replace(SPACE, knobs=SPACE.knobs[:-1])
    names = {knob.name for knob in batches_only.knobs}
    assert "instance_count" not in names
    assert {frozenset(one.params) for one in learnt_from(REQUEST, batches_only, [OLDER])} == {
        frozenset(names)
    }


def test_a_study_of_other_knobs_has_nothing_to_say() -> None:
    trials = [replace(t, params={"instance_count": 2}) for t in OLDER.trials]
    other = replace(OLDER, trials=tuple(trials))
    with pytest.raises(UsageError, match=r"dynamic_batching and max_batch_size and .* leave it"):
        learnt_from(REQUEST, SPACE, [other])


def test_optunas_samplers_learn_from_their_own_trials_only() -> None:
    with pytest.raises(UsageError, match="--from needs --sampler auto"):
        learnt_from(replace(REQUEST, sampler=Sampler.TPE), SPACE, [OLDER])
