"""Whole studies on the simulator: what is measured, again, in which order, and what is said."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from optuna.samplers import RandomSampler

from tuner.errors import UsageError
from tuner.judge.goal import Limit, Objective
from tuner.judge.verdict import decide
from tuner.measure.answers import Answer, Text, Tolerance
from tuner.measure.measurement import OpenLoop
from tuner.measure.record import Measured, Rejected
from tuner.model.config import ModelConfig
from tuner.model.repository import ModelFolder, find_model
from tuner.search.port import Proposal
from tuner.simulator.adapters import simulated
from tuner.simulator.batcher import SimConfig
from tuner.simulator.cost import FILE_NAME, CostModel
from tuner.space.triton import Bounds, search_space
from tuner.study.bench import Bench
from tuner.study.events import (
    PhaseStarted,
    ProofStarted,
    ProofSure,
    SearchEnded,
    StudyOpened,
    TrialEnded,
)
from tuner.study.gate import Gate
from tuner.study.run import LOOK_FOR_DRIFT_AFTER, StudyRun
from tuner.study.spec import StudySpec
from tuner.study.storage import StudyStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from optuna import Study
    from optuna.trial import FrozenTrial, TrialState

    from tuner.judge.verdict import Answer as Found
    from tuner.measure.measurement import Measurement
    from tuner.search.port import Seen
    from tuner.space.knobs import SearchSpace
    from tuner.study.events import Event, Observer

THROUGHPUT = Objective(metric="throughput_per_s")
BOUNDS = Bounds(max_batch_size=16, max_queue_delay_microseconds=1000, max_instance_count=1)


@dataclass(frozen=True)
class InOrder:
    """Proposes one candidate of the space after the other, the largest batches first."""

    space: SearchSpace
    place: int = -1

    def propose(self, history: Sequence[Seen]) -> Proposal | None:
        """See Proposer."""
        seen = [seen.params for seen in history]
        left = [params for params in self.space.candidates() if params not in seen]
        if not left:
            return None
        return Proposal(params=left[self.place], why="the next one")


class Nobody:
    """Does not watch."""

    def on(self, event: Event) -> None:
        """Take no note."""


def read(path: Path) -> SimConfig:
    config = ModelConfig.read(path)
    return SimConfig(
        max_batch_size=config.max_batch_size,
        dynamic_batching=config.dynamic_batching,
        max_queue_delay_microseconds=config.max_queue_delay_microseconds,
        instances=config.instance_count,
    )


class Listener:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def on(self, event: Event) -> None:
        """Keep it."""
        self.heard.append(event)


class Lab:
    """One study in a folder; each session starts anew, as a process does."""

    def __init__(
        self, folder: Path, model: ModelFolder, cost: CostModel, limits: tuple[Limit, ...] = ()
    ) -> None:
        self.folder = folder
        self.model = model
        self.cost = cost
        self.limits = limits
        self.bounds = BOUNDS
        self.gate: Gate | None = None
        self.observer: Observer = Nobody()
        self.place = -1
        self.open_loop: OpenLoop | None = None
        self.precision = 0.05
        self.sessions = 0
        self.store = StudyStore.create(f"sqlite:///{folder / 'study.db'}", self.spec(), {})

    def spec(self) -> StudySpec:
        """What is asked for."""
        return StudySpec(
            name="light",
            model="light",
            config_pbtxt=self.model.config.text,
            objective=THROUGHPUT,
            limits=self.limits,
            bounds=self.bounds,
            request_batch=1,
            max_concurrency=64,
            window_s=2.0,
            seed=0,
            sampler="auto",
        )

    def session(self) -> StudyRun:
        """Go on as a new process would."""
        self.sessions += 1
        parts = simulated(self.cost, self.sessions, read_config=read)
        space = search_space(self.model.config.default_params(), self.bounds, request_batch=1)
        return StudyRun(
            store=self.store,
            folder=self.folder / "trials",
            config=self.model.config,
            kind="KIND_CPU",
            space=space,
            proposer=InOrder(space, place=self.place),
            bench=Bench(
                model=self.model,
                weights=None,
                server=parts.server,
                load=parts.load,
                telemetry=parts.telemetry,
                objective=THROUGHPUT,
                limits=self.limits,
                request_batch=1,
                max_concurrency=64,
                window_s=2.0,
                load_deadline_s=60.0,
                open_loop=self.open_loop,
                precision=self.precision,
                gate=self.gate,
            ),
            observer=self.observer,
        )

    def proofs(self) -> list[tuple[int | None, int | None, int | None]]:
        """What was measured again, in order: trial, round, verification."""
        again = [record for record in self.store.records() if record.role == "proof"]
        return [(r.replicate_of, r.proof_round, r.verification) for r in again]

    def found(self) -> Found:
        """The verdict by now."""
        return decide(self.store.records(), THROUGHPUT, self.limits)


@pytest.fixture
def lab(repository: Path, tmp_path: Path) -> Lab:
    model = find_model("light", repository)
    return Lab(tmp_path, model, CostModel.read(model.path / FILE_NAME))


def test_the_front_runners_and_the_default_are_measured_in_turn_until_a_winner_is_proved(
    lab: Lab,
) -> None:
    lab.session().run(4, proof_rounds=4)

    found = lab.found()
    assert (found.kind, found.verdict) == ("better", "proved")
    assert found.proof is not None
    assert len(found.proof.rounds) == 4
    rounds = [{of for of, number, _ in lab.proofs() if number == n} for n in range(4)]
    assert all(one == rounds[0] for one in rounds)
    assert 0 in rounds[0]
    first = [of for of, number, _ in lab.proofs() if number == 0]
    assert [of for of, number, _ in lab.proofs() if number == 1] == first[::-1]


def test_the_same_line_again_measures_nothing_more(lab: Lab) -> None:
    lab.session().run(4, proof_rounds=3)
    before = lab.store.records()
    lab.session().run(4, proof_rounds=3)
    assert lab.store.records() == before


def test_a_study_that_holds_more_trials_than_asked_for_says_so(lab: Lab) -> None:
    lab.session().run(3, proof_rounds=0)
    listener = Listener()
    lab.observer = listener
    lab.session().run(2, proof_rounds=0)
    reasons = [event.reason for event in listener.heard if isinstance(event, SearchEnded)]
    assert reasons == ["3 trials are done; 2 were asked for."]


def test_no_more_trials_are_announced_than_there_are_configurations(lab: Lab) -> None:
    listener = Listener()
    lab.observer = listener
    lab.session().run(10_000, proof_rounds=0)
    opened = next(event for event in listener.heard if isinstance(event, StudyOpened))
    searched = [record for record in lab.store.records() if record.role != "proof"]
    assert opened.trials == len(searched), "as many as were then run"


def test_the_end_of_a_trial_comes_with_the_level_that_speaks_for_it(
    lab: Lab, tmp_path: Path
) -> None:
    (tmp_path / "limited").mkdir()
    limit = Limit(metric="latency_p50_ms", bound=60.0)
    lab = Lab(tmp_path / "limited", lab.model, lab.cost, (limit,))
    listener = Listener()
    lab.observer = listener
    lab.session().run(1, proof_rounds=0)
    (ended,) = (event for event in listener.heard if isinstance(event, TrialEnded))
    assert ended.spoken is not None
    assert ended.spoken == lab.found().ranked[0]


def test_a_proof_ends_with_the_rounds_that_leave_no_doubt_unless_all_are_asked_for(
    lab: Lab,
) -> None:
    listener = Listener()
    lab.observer = listener
    lab.session().run(4, proof_rounds=5, all_rounds=False)
    found = lab.found()
    assert (found.kind, found.verdict) == ("better", "proved")
    assert {number for _, number, _ in lab.proofs()} == {0, 1, 2}
    assert ProofSure(rounds=3, of=5) in listener.heard
    assert [
        (event.proofs, event.proofs_if_plain)
        for event in listener.heard
        if isinstance(event, StudyOpened)
    ] == [(15, 9)], "announced: at most five rounds of three, three rounds if the gain is plain"
    assert ProofStarted(trials=10, trials_if_plain=6) in listener.heard, (
        "of two, the best and yours"
    )

    lab.session().run(4, proof_rounds=5, all_rounds=False)
    assert {number for _, number, _ in lab.proofs()} == {0, 1, 2}, "the same line adds nothing"
    lab.session().run(4, proof_rounds=5)
    assert {number for _, number, _ in lab.proofs()} == {0, 1, 2, 3, 4}


def test_rounds_that_are_added_later_are_new_ones_for_all(lab: Lab) -> None:
    lab.session().run(3, proof_rounds=3)
    first = len(lab.proofs())
    lab.session().run(3, proof_rounds=5)
    later = lab.proofs()[first:]
    assert sorted({number for _, number, _ in later if number is not None}) == [3, 4]


def test_a_new_front_runner_gets_rounds_of_its_own_beside_the_default(lab: Lab) -> None:
    lab.place = 10  # of half the size
    lab.session().run(2, proof_rounds=3)
    earlier = {of for of, *_ in lab.proofs()}
    lab.place = -1
    lab.session().run(4, proof_rounds=3)
    runners = {of for of, number, _ in lab.proofs() if number is not None and number >= 3}
    assert runners - earlier
    assert 0 in runners


def test_the_default_is_measured_in_between(lab: Lab) -> None:
    lab.bounds = replace(BOUNDS, max_queue_delay_microseconds=20_000)
    lab.session().run(2 * LOOK_FOR_DRIFT_AFTER + 3, proof_rounds=0)
    roles = [record.role for record in lab.store.records()]
    places = [place for place, role in enumerate(roles) if role == "proof"]
    assert places == [LOOK_FOR_DRIFT_AFTER + 1, 2 * LOOK_FOR_DRIFT_AFTER + 2]
    assert lab.proofs() == [(0, None, None)] * 2


def test_the_default_is_measured_last_where_nothing_is_to_be_proved(
    lab: Lab, tmp_path: Path
) -> None:
    out_of_reach = (Limit(metric="throughput_per_s", bound=1e6),)
    (tmp_path / "strict").mkdir()
    lab = Lab(tmp_path / "strict", lab.model, lab.cost, out_of_reach)
    lab.session().run(3, proof_rounds=4)
    assert lab.proofs() == [(0, None, None)]
    lab.session().run(3, proof_rounds=4)
    assert lab.proofs() == [(0, None, None)]


def test_a_verification_confirms_a_gain_that_is_still_there(lab: Lab) -> None:
    lab.session().run(4, proof_rounds=3)
    winner = lab.found().chosen
    assert winner is not None
    lab.session().verify(3)

    verified = [proof for proof in lab.proofs() if proof[2] == 1]
    assert {of for of, *_ in verified} == {0, winner.record.number}
    assert sorted({number for _, number, _ in verified if number is not None}) == [3, 4, 5]
    assert (lab.found().kind, lab.found().verdict) == ("better", "proved")


def test_a_verification_sees_that_the_gain_is_gone(lab: Lab) -> None:
    lab.session().run(4, proof_rounds=3)
    lab.cost = replace(lab.cost, base_ms=0.01, per_row_ms=12.0)  # batching gains nothing
    lab.session().verify(3)
    assert (lab.found().kind, lab.found().verdict) == ("keep", "refuted")

    lab.cost = CostModel.read(lab.model.path / FILE_NAME)
    lab.session().verify(3)
    assert {proof[2] for proof in lab.proofs()} == {None, 1, 2}
    assert (lab.found().kind, lab.found().verdict) == ("better", "proved")


def test_a_verification_ends_at_once_where_the_winner_cannot_serve_any_more(lab: Lab) -> None:
    lab.session().run(4, proof_rounds=3)
    lab.cost = replace(lab.cost, memory_total_bytes=1060 * 2**20)  # for small batches
    lab.session().verify(4)
    assert lab.found().verdict == "refuted"
    assert len([proof for proof in lab.proofs() if proof[2] == 1]) <= 2


def test_without_a_winner_there_is_nothing_to_verify(lab: Lab) -> None:
    lab.session().run(1, proof_rounds=3)
    with pytest.raises(UsageError, match="nothing to verify; see: tune show light"):
        lab.session().verify(3)


class InterruptedAtItsEnd(RandomSampler):
    """The user's Ctrl-C, at the moment in which Optuna is told how a trial ended."""

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Interrupt."""
        raise KeyboardInterrupt(study.study_name, trial.number, state, values)


def test_an_interrupt_between_two_trials_is_no_other_error_and_loses_no_trial(lab: Lab) -> None:
    sampler = lab.store.study.sampler
    lab.store.study.sampler = InterruptedAtItsEnd()
    with pytest.raises(KeyboardInterrupt):
        lab.session().run(2, proof_rounds=0)
    kept = lab.store.records()
    assert [type(record.outcome) for record in kept] == [Measured]

    lab.store.study.sampler = sampler
    lab.session().run(2, proof_rounds=0)
    assert lab.store.records()[0] == kept[0]
    assert len([record for record in lab.store.records() if record.role == "search"]) == 1


def levels(lab: Lab) -> tuple[Measurement, ...]:
    """Of the first trial."""
    outcome = lab.store.records()[0].outcome
    assert isinstance(outcome, Measured)
    return outcome.levels


def test_the_phases_of_a_trial_add_up_to_what_the_wall_clock_saw(lab: Lab) -> None:
    begun_s = time.monotonic()
    lab.session().run(2, proof_rounds=2)
    took_s = time.monotonic() - begun_s

    records = lab.store.records()
    assert sum(level.duration_s for level in levels(lab)) > took_s, "its time is virtual"
    assert all(s >= 0 for record in records for s in record.phases_s.values())
    assert all(record.phases_s["measure"] > 0 for record in records)
    assert sum(s for record in records for s in record.phases_s.values()) <= took_s


def test_by_the_clock_a_trial_has_one_level_at_the_rate_that_was_asked_for(lab: Lab) -> None:
    lab.open_loop = OpenLoop(rate_per_s=50.0, poisson=True)
    lab.session().run(1, proof_rounds=0)
    (level,) = levels(lab)
    assert level.workload.load == lab.open_loop
    assert level.throughput_per_s.low < 50 < level.throughput_per_s.high
    assert level.latency.p50_ms is not None


def test_a_rate_that_cannot_be_carried_is_not_measured_for_long(lab: Lab) -> None:
    lab.open_loop = OpenLoop(rate_per_s=500.0, poisson=False)  # it can do 90
    lab.session().run(1, proof_rounds=0)
    (level,) = levels(lab)
    assert level.throughput_per_s.high < 0.5 * 500
    assert level.duration_s < 5 * 2.0


def test_what_is_proved_by_the_clock_is_measured_by_the_clock(lab: Lab) -> None:
    lab.open_loop = OpenLoop(rate_per_s=50.0)
    lab.session().run(2, proof_rounds=3)
    again = [record for record in lab.store.records() if record.role == "proof"]
    assert again
    loads = {level.workload.load for r in again if isinstance(r.outcome, Measured)
             for level in r.outcome.levels}  # fmt: skip
    assert loads == {lab.open_loop}


def relative_width(level: Measurement) -> float:
    value = level.throughput_per_s
    return (value.high - value.low) / 2 / value.value


def test_the_best_level_is_measured_until_it_is_as_precise_as_was_asked_for(lab: Lab) -> None:
    lab.cost = replace(lab.cost, cv=0.3)
    lab.precision = 0.03
    lab.session().run(1, proof_rounds=0)
    best = max(levels(lab), key=lambda level: level.throughput_per_s.value)
    assert best.duration_s > 2.0
    assert relative_width(best) < 1.3 * 0.03


def test_what_a_trial_waits_for_is_said_as_it_begins(lab: Lab) -> None:
    listener = Listener()
    lab.observer = listener
    lab.session().run(1, proof_rounds=0)
    phases = [event.phase for event in listener.heard if isinstance(event, PhaseStarted)]
    assert phases == [
        "waiting until GPU memory is free",
        "loading the model",
        "stopping the server",
    ]


def test_a_default_that_is_far_behind_is_measured_again_in_one_window(lab: Lab) -> None:
    lab.cost = replace(lab.cost, cv=0.3)
    lab.precision = 1e-6
    lab.session().run(4, proof_rounds=3)
    best, default = lab.found().chosen, lab.found().default
    assert best is not None
    assert default is not None
    assert best.score > 2 * default.score

    def lengths(number: int) -> list[float]:
        again = [r.outcome for r in lab.store.records() if r.replicate_of == number]
        return [o.levels[0].duration_s for o in again if isinstance(o, Measured)]

    assert max(lengths(default.record.number)) < 2.0 + 0.5
    assert min(lengths(best.record.number)) > 2.0 + 0.5


def test_precision_that_is_out_of_reach_ends_at_the_cap(lab: Lab) -> None:
    lab.cost = replace(lab.cost, cv=0.3)
    lab.precision = 1e-6
    lab.session().run(1, proof_rounds=0)
    assert max(level.duration_s for level in levels(lab)) < 5 * 2.0 + 0.5


def test_a_service_that_takes_longer_than_a_window_for_a_request_is_waited_for(lab: Lab) -> None:
    lab.cost = replace(lab.cost, base_ms=4000.0)
    lab.session().run(1, proof_rounds=0)
    assert all(level.requests >= 3 for level in levels(lab))


@dataclass(frozen=True)
class Mixer:
    """Answers requests alone with their own text, and those at once with the next one's."""

    texts: tuple[tuple[str, ...], ...] = (("a first text",), ("a second text",), ("a third",))

    def ask(self, *, http: str, model: str, numbers: Sequence[int]) -> tuple[Answer, ...]:
        """See Asker."""
        assert http
        assert model == "light"
        order = [*numbers[1:], *numbers[:1]]
        return tuple((Text(name="out", shape=(1,), values=self.texts[n]),) for n in order)


@dataclass(frozen=True)
class Honest:
    """Answers each request with its own text, and notes how many came together."""

    texts: tuple[tuple[str, ...], ...] = (("a first text",), ("a second text",), ("a third",))
    together: list[int] = field(default_factory=list)

    def ask(self, *, http: str, model: str, numbers: Sequence[int]) -> tuple[Answer, ...]:
        """See Asker."""
        assert (bool(http), model) == (True, "light")
        self.together.append(len(numbers))
        return tuple((Text(name="out", shape=(1,), values=self.texts[n]),) for n in numbers)


def test_the_model_is_asked_alone_once_in_a_session_and_by_every_configuration_at_once(
    lab: Lab,
) -> None:
    asker = Honest()
    lab.gate = Gate(asker=asker, tolerance=Tolerance())
    lab.session().run(3, proof_rounds=0)
    assert asker.together == [1, 1, 1, 3, 3, 3]
    lab.session().run(4, proof_rounds=0)
    assert asker.together[6:] == [1, 1, 1, 3]


def test_a_configuration_that_mixes_up_answers_is_rejected_before_any_load(lab: Lab) -> None:
    lab.session().run(1, proof_rounds=0)
    lab.gate = Gate(asker=Mixer(), tolerance=Tolerance(floats=1.0, sequence=1.0))
    lab.session().run(2, proof_rounds=0)

    record = lab.store.records()[-1]
    assert isinstance(record.outcome, Rejected)
    assert "the answer to another one" in record.outcome.reason
    assert "«a first text»" in record.outcome.evidence
    assert record.outcome.levels == ()
    assert "check the answers" in record.phases_s
    assert isinstance(lab.store.records()[0].outcome, Measured)


def test_a_p99_limit_on_a_model_too_slow_to_bound_one_still_finds_the_fastest_that_keeps_it(
    lab: Lab, tmp_path: Path
) -> None:
    """Batches of half a second: what one trial sees of the tail is rough, and all there is."""
    (tmp_path / "slow").mkdir()
    cost = replace(lab.cost, table_ms={1: 500.0, 64: 500.0})
    limit = Limit(metric="latency_p99_ms", bound=1800.0)  # three batches, whatever the rhythm
    lab = Lab(tmp_path / "slow", lab.model, cost, (limit,))
    lab.session().run(4, proof_rounds=3)
    found = lab.found()
    assert (found.kind, found.verdict) == ("better", "proved")
    assert found.chosen is not None
    assert found.chosen.feasible
    assert limit.is_rough(found.chosen.level)
    searched = [record for record in lab.store.records() if record.role == "search"]
    lengths_s = [
        level.duration_s + level.discarded_s
        for record in searched
        if isinstance(record.outcome, Measured)
        for level in record.outcome.levels
    ]
    assert max(lengths_s) < 10 * 2.0, "five windows and the last answers, not fifteen windows"
