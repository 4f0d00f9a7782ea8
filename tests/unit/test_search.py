"""The proposers: what they promise for every history, and that the default one finds the best."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_models import CLIENTS, level, light, triton_space

from tuner.measure.measurement import HostUse
from tuner.search import batcher, encoding, gaussian, memory
from tuner.search.model_guided import ModelGuided
from tuner.search.optuna_samplers import OptunaProposer
from tuner.search.port import Proposer, Seen
from tuner.space.knobs import Knob, SearchSpace
from tuner.space.triton import (
    DYNAMIC_BATCHING,
    INSTANCE_COUNT,
    MAX_BATCH_SIZE,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.record import Params


def proposers(space: SearchSpace, seed: int = 0) -> list[Proposer]:
    return [
        ModelGuided(space, seed=seed),
        OptunaProposer(space, sampler="tpe", seed=seed),
        OptunaProposer(space, sampler="gp", seed=seed),
        OptunaProposer(space, sampler="random", seed=seed),
    ]


def search(proposer: Proposer, trials: int) -> list[Seen]:
    history: list[Seen] = []
    for _ in range(trials):
        proposal = proposer.propose(history)
        if proposal is None:
            break
        history.append(light(proposal.params))
    return history


def key(params: Params) -> tuple[object, ...]:
    return tuple(params.values())


def histories(space: SearchSpace) -> st.SearchStrategy[list[Seen]]:
    """Any mixture of outcomes, each configuration at most once."""
    outcome = st.one_of(
        st.builds(lambda value: {"value": value}, st.floats(1e-3, 1e6)),
        st.builds(
            lambda value, violation: {"value": value, "violation": violation},
            st.floats(1e-3, 1e6),
            st.floats(1e-3, 1e3),
        ),
        st.just({"value": None, "rejected": True}),
        st.just({"value": None}),
    )
    configurations = st.lists(st.sampled_from(space.candidates()), unique_by=key, max_size=12)
    return configurations.flatmap(
        lambda chosen: st.lists(outcome, min_size=len(chosen), max_size=len(chosen)).map(
            lambda outcomes: [
                Seen(params=params, **cast("dict[str, float]", one))  # type: ignore[arg-type]
                for params, one in zip(chosen, outcomes, strict=True)
            ]
        )
    )


SMALL = triton_space(instances=2, batch=8)


@settings(max_examples=40, deadline=None)
@given(history=histories(SMALL), seed=st.integers(0, 2**31))
def test_whatever_was_seen_the_default_search_proposes_something_new_and_canonical(
    history: list[Seen], seed: int
) -> None:
    proposal = ModelGuided(SMALL, seed=seed).propose(history)
    if proposal is not None:
        assert key(proposal.params) in {key(params) for params in SMALL.candidates()}
        assert key(proposal.params) not in {key(seen.params) for seen in history}
        assert proposal.why


@settings(max_examples=20, deadline=None)
@given(history=histories(SMALL), seed=st.integers(0, 2**31))
def test_whatever_was_seen_optuna_proposes_something_new_and_canonical(
    history: list[Seen], seed: int
) -> None:
    for sampler in ("tpe", "random"):
        proposal = OptunaProposer(SMALL, sampler=sampler, seed=seed).propose(history)
        assert proposal is not None
        assert key(proposal.params) in {key(params) for params in SMALL.candidates()}
        assert key(proposal.params) not in {key(seen.params) for seen in history}


@pytest.mark.parametrize("which", range(4))
def test_the_first_proposal_is_the_users_own_configuration(which: int) -> None:
    space = triton_space()
    proposal = proposers(space)[which].propose([])
    assert proposal is not None
    assert proposal.params == space.default


@pytest.mark.parametrize("which", range(4))
def test_the_same_history_gives_the_same_proposal(which: int) -> None:
    space = triton_space()
    history = search(proposers(space, seed=3)[which], 4)
    again = proposers(space, seed=3)[which].propose(history)
    assert proposers(space, seed=3)[which].propose(history) == again


@pytest.mark.parametrize("which", range(4))
def test_every_configuration_is_proposed_once_and_then_none(which: int) -> None:
    space = triton_space(instances=2, batch=2)
    knobs = tuple(
        Knob(name=knob.name, values=knob.values[:2]) if len(knob.values) > 2 else knob
        for knob in space.knobs
    )
    default = {**space.default, MAX_BATCH_SIZE: knobs[1].values[0]}
    small = SearchSpace(knobs=knobs, rules=(), default=default)
    history = search(proposers(small)[which], 100)
    assert len(history) == len(small.candidates()) == 16
    assert len({key(seen.params) for seen in history}) == 16


def test_a_constraint_and_a_running_trial_are_told_to_the_gaussian_process_of_optuna() -> None:
    space = triton_space()
    chosen = space.candidates()
    history = [
        *(light(params) for params in chosen[:20:2]),
        Seen(params=chosen[31], value=100.0, violation=0.4),
        Seen(params=chosen[33], value=None),
        Seen(params=chosen[35], value=None, rejected=True),
    ]
    assert OptunaProposer(space, sampler="gp", seed=0).propose(history) is not None


def test_trials_from_outside_the_space_do_not_stop_optuna() -> None:
    space = triton_space()
    outside = Seen(params={**space.default, INSTANCE_COUNT: 99}, value=1.0)
    assert OptunaProposer(space, sampler="tpe", seed=0).propose([outside]) is not None


@pytest.mark.parametrize("seed", range(10))
def test_twelve_trials_of_the_light_model_reach_95_percent_of_the_exhaustive_best(
    seed: int,
) -> None:
    space = triton_space()
    best = max(light(params).value or 0.0 for params in space.candidates())
    history = search(ModelGuided(space, seed=seed, max_concurrency=CLIENTS), 12)
    assert max(seen.value or 0.0 for seen in history) >= 0.95 * best


def test_levels_without_numbers_still_let_the_default_search_learn() -> None:
    space = triton_space()
    best = max(light(params).value or 0.0 for params in space.candidates())
    proposer = ModelGuided(space, seed=0, max_concurrency=CLIENTS)
    history: list[Seen] = []
    while len(history) < 30:
        proposal = proposer.propose(history)
        assert proposal is not None
        history.append(Seen(params=proposal.params, value=light(proposal.params).value))
    assert max(seen.value or 0.0 for seen in history) >= 0.9 * best


def test_an_objective_to_be_lowered_is_searched_too() -> None:
    space = triton_space()
    proposer = ModelGuided(space, seed=0)
    history: list[Seen] = []
    while len(history) < 15:
        proposal = proposer.propose(history)
        assert proposal is not None
        at = encoding.setting([proposal.params], [1.0], request_rows=1)
        delay_ms = float(at.delay_ms[0])
        history.append(
            Seen(
                params=proposal.params,
                value=-(11 + delay_ms + 3 / at.instances[0]),
                levels=(level(proposal.params, 1),),
            )
        )
    assert max(seen.value or -99.0 for seen in history) == pytest.approx(-12.0)


def test_while_nothing_keeps_the_limits_the_search_gets_nearer_to_them() -> None:
    space = triton_space()
    proposer = ModelGuided(space, seed=0)
    history: list[Seen] = []
    while len(history) < 15:
        proposal = proposer.propose(history)
        assert proposal is not None
        missed = 1.0 / cast("int", proposal.params[INSTANCE_COUNT])
        history.append(Seen(params=proposal.params, value=10.0, violation=missed))
    assert sum(seen.violation < 0.4 for seen in history) >= 5


def test_the_expected_gain_ends_up_small_once_the_best_is_known() -> None:
    space = triton_space()
    proposer = ModelGuided(space, seed=0, max_concurrency=CLIENTS)
    first = proposer.propose(search(proposer, 1))
    last = proposer.propose(search(proposer, 12))
    assert first is not None
    assert last is not None
    assert first.expected_gain is not None
    assert last.expected_gain is not None
    assert first.expected_gain > 0.1
    assert 0 <= last.expected_gain < 0.02


def test_trials_that_nothing_is_expected_of_go_to_what_is_nearest_to_the_best() -> None:
    space = triton_space()
    proposer = ModelGuided(space, seed=0, max_concurrency=CLIENTS)
    values = [seen.value or 0.0 for seen in search(proposer, 32)]
    assert min(values[15:]) >= 0.7 * max(values)


def test_a_single_bad_surprise_does_not_make_everything_else_promising() -> None:
    space = triton_space()
    proposer = ModelGuided(space, seed=0, max_concurrency=CLIENTS)
    history = search(proposer, 12)
    usual = proposer.propose(history)
    worst = min(history[1:], key=lambda seen: seen.value or 0.0)
    broken = [replace(s, value=0.02 * (s.value or 0.0)) if s is worst else s for s in history]
    surprised = proposer.propose(broken)
    assert usual is not None
    assert surprised is not None
    assert usual.expected_gain is not None
    assert surprised.expected_gain is not None
    assert surprised.expected_gain < usual.expected_gain + 0.1


def test_more_instances_of_what_did_not_load_are_not_proposed() -> None:
    space = triton_space(instances=6)
    proposer = ModelGuided(space, seed=0, max_concurrency=CLIENTS)
    history = [light(space.default)]
    rejected: list[Params] = []
    while (proposal := proposer.propose(history)) is not None and len(history) < 40:
        at = encoding.setting([proposal.params], [1.0], request_rows=1)
        for earlier in rejected:
            before = encoding.setting([earlier], [1.0], request_rows=1)
            assert at.instances[0] < before.instances[0] or at.batch[0] < before.batch[0]
        if at.instances[0] > 2:
            rejected.append(proposal.params)
            history.append(Seen(params=proposal.params, value=None, rejected=True))
        else:
            history.append(light(proposal.params))
    assert 1 <= len(rejected) <= 3


def test_a_model_that_answers_wrongly_in_batches_costs_few_launches() -> None:
    space = triton_space(instances=4)
    proposer = ModelGuided(space, seed=0, max_concurrency=CLIENTS)
    history = [light(space.default)]
    while (proposal := proposer.propose(history)) is not None and len(history) < 12:
        wrong = bool(proposal.params[DYNAMIC_BATCHING])
        history.append(
            Seen(params=proposal.params, value=None, rejected=True)
            if wrong
            else light(proposal.params)
        )
    assert sum(seen.rejected for seen in history) <= 4
    assert max(seen.value or 0.0 for seen in history) == pytest.approx(4e3 / 11)


def test_what_the_gpu_has_no_room_for_is_never_launched() -> None:
    space = triton_space(instances=8)
    default = level(space.default, 1, memory_gb=15.0, total_gb=80.0)
    history = [Seen(params=space.default, value=90.0, levels=(default,))]
    proposer = ModelGuided(space, seed=0, max_concurrency=CLIENTS)
    while (proposal := proposer.propose(history)) is not None and len(history) < 20:
        instances = cast("int", proposal.params[INSTANCE_COUNT])
        assert instances <= 5
        seen = light(proposal.params)
        levels = tuple(
            level(proposal.params, clients, memory_gb=15.0 * instances, total_gb=80.0)
            for clients in (1, 64)
        )
        history.append(Seen(params=proposal.params, value=seen.value, levels=levels))
    assert len(history) == 20


def of_memory(params: Params, memory_gb: float, limit_gb: float) -> Seen:
    """A trial on a GPU of 80 GB, by how much it missed the limit included."""
    levels = tuple(
        level(params, clients, memory_gb=memory_gb, total_gb=80.0) for clients in (1, 64)
    )
    missed = max(0.0, memory_gb / limit_gb - 1)
    return replace(light(params), violation=missed, levels=levels)


def test_instances_that_cannot_keep_a_limit_on_gpu_memory_are_never_proposed() -> None:
    space = triton_space(instances=4)
    proposer = ModelGuided(space, seed=0, max_concurrency=CLIENTS, gpu_memory_limit_bytes=40e9)
    history = [of_memory(space.default, 14.0, 40.0)]
    while (proposal := proposer.propose(history)) is not None:
        instances = cast("int", proposal.params[INSTANCE_COUNT])
        assert instances <= 2
        history.append(of_memory(proposal.params, 14.0 * instances, 40.0))
    could = [params for params in space.candidates() if cast("int", params[INSTANCE_COUNT]) <= 2]
    assert len(history) == len(could)


def test_what_takes_just_what_a_limit_on_gpu_memory_allows_is_proposed() -> None:
    space = triton_space(instances=2)
    proposer = ModelGuided(space, seed=0, max_concurrency=CLIENTS, gpu_memory_limit_bytes=28.1e9)
    history = [of_memory(space.default, 14.0, 28.1)]
    while (proposal := proposer.propose(history)) is not None and len(history) < 12:
        instances = cast("int", proposal.params[INSTANCE_COUNT])
        history.append(of_memory(proposal.params, 14.0 * instances, 28.1))
    assert any(seen.params[INSTANCE_COUNT] == 2 for seen in history)


def test_where_nothing_can_keep_a_limit_on_gpu_memory_the_search_ends() -> None:
    space = triton_space()
    history = [of_memory(space.default, 14.0, 10.0)]
    proposer = ModelGuided(space, seed=0, gpu_memory_limit_bytes=10e9)
    assert proposer.propose(history) is None
    assert ModelGuided(space, seed=0).propose(history) is not None


def test_a_smaller_batch_may_keep_a_limit_on_gpu_memory_that_the_users_own_breaks() -> None:
    space = triton_space()
    large = {**space.default, DYNAMIC_BATCHING: True, MAX_BATCH_SIZE: 128}
    proposer = ModelGuided(space, seed=0, gpu_memory_limit_bytes=10e9)
    proposal = proposer.propose([of_memory(large, 14.0, 10.0)])
    assert proposal is not None
    assert encoding.capacity(proposal.params, request_rows=1) < 128


def test_a_limit_on_gpu_memory_says_nothing_of_the_hosts() -> None:
    space = triton_space()
    host = HostUse(cpu_pct=100.0, memory_peak_bytes=14_000_000_000)
    levels = tuple(replace(one, host=host) for one in light(space.default).levels)
    history = [replace(light(space.default), levels=levels)]
    assert ModelGuided(space, seed=0, gpu_memory_limit_bytes=10e9).propose(history) is not None


# memory


def launched(*rows: tuple[int, int, float, bool]) -> memory.Loaded:
    """Rows of (batch, instances, memory or NaN, rejected) on a GPU of unknown size."""
    batch, instances, used, rejected = zip(*rows, strict=True)
    return memory.Loaded(
        batch=np.array(batch, dtype=np.float64),
        instances=np.array(instances, dtype=np.float64),
        used=np.array(used, dtype=np.float64),
        total=np.full(len(rows), np.nan),
        rejected=np.array(rejected),
    )


def chances(loaded: memory.Loaded, *asked: tuple[int, int]) -> list[float]:
    batch, instances = np.array(asked, dtype=np.float64).T
    return [float(chance) for chance in memory.chance_to_fit(batch, instances, loaded)]


def test_between_what_fitted_and_what_did_not_the_chance_falls_linearly() -> None:
    loaded = launched((8, 2, 20.0, False), (8, 6, math.nan, True))
    assert chances(loaded, (8, 1), (8, 3), (8, 4), (8, 5), (8, 7)) == pytest.approx(
        [1.0, 0.75, 0.5, 0.25, 0.0]
    )
    batch, instances = np.array([8.0, 16.0, 4.0]), np.array([6.0, 7.0, 8.0])
    assert memory.hopeless(batch, instances, loaded).tolist() == [True, True, False]


def test_memory_of_a_batch_is_learnt_from_two_sizes() -> None:
    loaded = launched((1, 1, 11.0, False), (10, 1, 20.0, False), (10, 4, math.nan, True))
    # Weights of 10, activations of 1 a row: 3 x 11 is half way from 20 to 4 x 20, less a bit.
    assert chances(loaded, (1, 3)) == pytest.approx([(80 - 33) / 60])


def test_a_rejection_below_what_served_says_nothing_about_memory() -> None:
    loaded = launched((8, 1, math.nan, True), (8, 4, 40.0, False))
    assert chances(loaded, (8, 2), (16, 3)) == pytest.approx([1.0, 1.0])
    assert not memory.explained(loaded).any()


def test_a_tenth_of_the_memory_is_taken_to_be_the_batch_until_two_sizes_were_seen() -> None:
    loaded = launched((1, 1, 10.0, False), (64, 1, math.nan, True))
    # 9 + 1/16 a row: 9 1/16 fitted and 13 did not.
    assert chances(loaded, (1, 1), (16, 1), (64, 1)) == pytest.approx([1.0, 48 / 63, 0.0])


def test_each_failure_makes_the_next_launch_less_welcome() -> None:
    assert memory.least_chance(0) < memory.least_chance(1) < memory.least_chance(2)
    assert memory.least_chance(9) == memory.least_chance(2)


# batcher


def settings_of(*rows: tuple[int, int, float, int]) -> batcher.Setting:
    """Rows of (batch, instances, delay in ms, rows in flight), all with dynamic batching."""
    batch, instances, delay, clients = np.array(rows, dtype=np.float64).T
    return batcher.Setting(
        batch=batch,
        instances=instances,
        delay_ms=delay,
        joins=np.ones(len(rows), dtype=np.bool_),
        rows=clients,
    )


NOTHING = batcher.Executed(rows=np.empty(0), busy=np.empty(0), compute_ms=np.empty(0))


def most_likely(beliefs: batcher.Beliefs, predicted: batcher.Array) -> list[float]:
    row = predicted[int(np.argmax(beliefs.log_likelihood))]
    return [float(value) for value in row]


def test_a_few_levels_of_two_configurations_predict_the_others() -> None:
    at = settings_of((1, 1, 0.0, 1), (128, 1, 0.0, 512), (16, 2, 0.0, 512))
    throughput = np.array([1e3 / 11, 128e3 / 138, 32e3 / 26])
    beliefs = batcher.fit(at, throughput, NOTHING, request_rows=1)
    ahead = settings_of((64, 3, 0.0, 512), (128, 3, 0.0, 2048), (32, 1, 0.0, 512))
    assert most_likely(beliefs, beliefs.throughput(ahead)) == pytest.approx(
        [192e3 / 74, 384e3 / 138, 32e3 / 42], rel=0.15
    )


def test_compute_times_of_the_server_tell_as_much_as_levels() -> None:
    executed = batcher.Executed(
        rows=np.array([1.0, 16.0, 128.0]),
        busy=np.ones(3),
        compute_ms=np.array([11.0, 26.0, 138.0]),
    )
    at = settings_of((1, 1, 0.0, 1))
    beliefs = batcher.fit(at, np.array([1e3 / 11]), executed, request_rows=1)
    ahead = settings_of((64, 1, 0.0, 512))
    assert most_likely(beliefs, beliefs.throughput(ahead)) == pytest.approx([64e3 / 74], rel=0.15)


def test_how_much_instances_stand_in_each_others_way_is_learnt() -> None:
    at = settings_of((128, 1, 0.0, 1), (128, 1, 0.0, 1024), (128, 2, 0.0, 1024))
    # 100 ms a batch of any size, 40 % more for each further instance.
    beliefs = batcher.fit(at, np.array([10.0, 1280.0, 2560 / 1.4]), NOTHING, request_rows=1)
    ahead = settings_of((128, 3, 0.0, 1024), (128, 4, 0.0, 1024))
    assert most_likely(beliefs, beliefs.throughput(ahead)) == pytest.approx(
        [3840 / 1.8, 5120 / 2.2], rel=0.1
    )


def test_batches_of_one_size_tell_how_instances_meet_though_other_sizes_mislead() -> None:
    """As seen on a GPU: the first requests were slow, and small batches meet less."""
    executed = batcher.Executed(
        rows=np.array([1.0, 1.0, 16.0, 128.0, 128.0, 128.0]),
        busy=np.array([1.0, 1.0, 8.0, 2.0, 3.0, 4.0]),
        compute_ms=np.array([414.0, 409.0, 2596.0, 1799.0, 2686.0, 3616.0]),
    )
    at = settings_of((1, 1, 0.0, 1), (128, 3, 20.0, 512), (128, 4, 100.0, 512))
    beliefs = batcher.fit(at, np.array([2.5, 143.0, 143.0]), executed, request_rows=1)
    ahead = settings_of((128, 1, 100.0, 128), (128, 2, 100.0, 256))
    alone, two = most_likely(beliefs, beliefs.throughput(ahead))
    assert two == pytest.approx(alone, rel=0.05)


def test_a_delay_costs_only_while_batches_are_not_full() -> None:
    at = settings_of((8, 1, 0.0, 64), (8, 1, 50.0, 64), (8, 1, 0.0, 4), (8, 1, 50.0, 4))
    beliefs = batcher.fit(at, np.array([400.0, 400.0, 200.0, 60.0]), NOTHING, request_rows=1)
    full, full_late, part, part_late = most_likely(beliefs, beliefs.throughput(at))
    assert full == pytest.approx(full_late)
    assert part_late < 0.5 * part


def test_a_delay_gathers_only_where_it_lasts_until_all_have_sent_again() -> None:
    # 64 clients, 100 ms a batch: gathered they are one batch, else two that take turns.
    at = settings_of((64, 1, 0.5, 64), (64, 1, 20.0, 64), (16, 1, 0.5, 16))
    beliefs = batcher.fit(at, np.array([320.0, 640.0, 160.0]), NOTHING, request_rows=1)
    ahead = settings_of((32, 1, 0.5, 32), (128, 1, 0.5, 128), (128, 1, 20.0, 128))
    small, large, large_late = most_likely(beliefs, beliefs.throughput(ahead))
    assert small > 200
    assert large == pytest.approx(640, rel=0.1)
    assert large_late == pytest.approx(1280, rel=0.1)


def test_full_instances_answer_no_faster_and_a_limit_never_raises_the_value() -> None:
    at = settings_of(*((8, 2, 0.0, 2**power) for power in range(9)))
    beliefs = batcher.fit(at, np.linspace(50, 600, 9), NOTHING, request_rows=1)
    assert np.ptp(beliefs.throughput(at)[:, 5:], axis=1) == pytest.approx(0.0)
    free = beliefs.value(at, max_rows=256, latency_limit_ms=None, tail=1.2)
    tight = beliefs.value(at, max_rows=256, latency_limit_ms=50.0, tail=1.2)
    assert (tight <= free).all()


# gaussian process


def learn(
    observed: Sequence[float], at: Sequence[float], ahead: Sequence[float]
) -> gaussian.Mixture:
    return gaussian.infer(
        observed_at=np.array(at)[:, None],
        observed=np.array(observed),
        prior_at_observed=np.zeros((1, len(at))),
        candidates=np.array(ahead)[:, None],
        prior_at_candidates=np.zeros((1, len(ahead))),
        prior_log_weights=np.zeros(1),
    )


def test_the_gaussian_process_passes_through_what_it_saw_and_doubts_what_is_far() -> None:
    mixture = learn([0.0, 0.4, 0.8, 0.5], [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 9.0])
    assert mixture.mean()[:2] == pytest.approx([0.4, 0.8], abs=0.1)
    assert mixture.deviation()[2] > 3 * mixture.deviation()[0]
    assert mixture.weights.sum() == pytest.approx(1.0)
    assert (mixture.expected_improvement() >= 0).all()


def test_the_chance_to_lie_above_a_bar_follows_the_mean() -> None:
    mixture = learn([0.0, 0.4, 0.8, 1.2], [0.0, 1.0, 2.0, 3.0], [0.0, 1.5, 3.0])
    low, middle, high = mixture.chance_above(0.6)
    assert low < 0.1 < middle < 0.9 < high
    assert mixture.bar() == pytest.approx(1.2, abs=0.1)


def test_the_prior_mean_that_explains_the_observations_is_trusted() -> None:
    at = np.linspace(0, 5, 6)
    mixture = gaussian.infer(
        observed_at=at[:, None],
        observed=np.sin(3 * at),
        prior_at_observed=np.stack([np.zeros(6), np.sin(3 * at)]),
        candidates=np.array([[2.5]]),
        prior_at_candidates=np.array([[0.0], [math.sin(7.5)]]),
        prior_log_weights=np.zeros(2),
    )
    assert mixture.weights[mixture.prior == 1].sum() > 0.95
    assert mixture.mean()[0] == pytest.approx(math.sin(7.5), abs=0.05)


def test_the_normal_distribution_function_is_accurate() -> None:
    z = np.linspace(-5, 5, 41)
    exact = [0.5 * math.erfc(-one / math.sqrt(2)) for one in z]
    assert gaussian.normal_cdf(z) == pytest.approx(exact, abs=1e-7)
