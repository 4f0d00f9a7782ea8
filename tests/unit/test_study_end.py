"""How a study ends, on the simulator: patience, two objectives, what cannot be measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from tuner.errors import UsageError
from tuner.judge.front import pareto_front
from tuner.judge.goal import Limit, Objective
from tuner.measure.record import SCHEMA, Measured, TrialRecord
from tuner.measure.saturation import Saturation
from tuner.model.config import ModelConfig
from tuner.model.repository import ModelFolder, find_model
from tuner.search.port import Proposal
from tuner.simulator.adapters import simulated
from tuner.simulator.batcher import SimConfig
from tuner.simulator.cost import FILE_NAME, CostModel
from tuner.space.triton import Bounds, search_space
from tuner.study.bench import Bench
from tuner.study.codec import decode, encode
from tuner.study.run import StudyRun
from tuner.study.spec import StudyHeader, StudySpec
from tuner.study.storage import StudyStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tuner.search.port import Seen
    from tuner.space.knobs import SearchSpace
    from tuner.study.events import Event

THROUGHPUT = Objective(metric="throughput_per_s")
P50 = Objective(metric="latency_p50_ms")
BOUNDS = Bounds(max_batch_size=16, max_queue_delay_microseconds=1000, max_instance_count=1)


class Nobody:
    """Does not watch."""

    def on(self, event: Event) -> None:
        """Take no note."""


@dataclass
class Teller:
    """Proposes one candidate after the other and says what it expects; keeps what it was told."""

    space: SearchSpace
    gains: Sequence[float | None] = ()
    saturation: Saturation | None = None
    told: list[tuple[Seen, ...]] = field(default_factory=list)

    def propose(self, history: Sequence[Seen]) -> Proposal | None:
        """See Proposer."""
        self.told.append(tuple(history))
        known = [seen.params for seen in history]
        left = [params for params in self.space.candidates() if params not in known]
        place = len(history) - 1
        gain = self.gains[place] if place < len(self.gains) else None
        return Proposal(
            params=left[-1], why="next", expected_gain=gain, saturation=self.saturation
        )


def read(path: Path) -> SimConfig:
    config = ModelConfig.read(path)
    return SimConfig(
        max_batch_size=config.max_batch_size,
        dynamic_batching=config.dynamic_batching,
        max_queue_delay_microseconds=config.max_queue_delay_microseconds,
        instances=config.instance_count,
    )


@dataclass
class Lab:
    """One study in a folder."""

    folder: Path
    model: ModelFolder
    second: Objective | None = None
    limits: tuple[Limit, ...] = ()
    sessions: int = 0

    def __post_init__(self) -> None:
        self.space = search_space(self.model.config.default_params(), BOUNDS, request_batch=1)
        self.proposer = Teller(self.space)
        self.spec = StudySpec(
            name="light",
            model="light",
            config_pbtxt=self.model.config.text,
            objective=THROUGHPUT,
            limits=self.limits,
            bounds=BOUNDS,
            request_batch=1,
            max_concurrency=64,
            window_s=2.0,
            seed=0,
            sampler="auto",
            second=self.second,
        )
        self.store = StudyStore.create(f"sqlite:///{self.folder / 'study.db'}", self.spec, {})

    def session(self) -> StudyRun:
        """Go on as a new process would."""
        self.sessions += 1
        cost = CostModel.read(self.model.path / FILE_NAME)
        parts = simulated(cost, self.sessions, read_config=read)
        return StudyRun(
            store=self.store,
            folder=self.folder / "trials",
            config=self.model.config,
            kind="KIND_CPU",
            space=self.space,
            proposer=self.proposer,
            bench=Bench(
                model=self.model,
                weights=None,
                server=parts.server,
                load=parts.load,
                telemetry=parts.telemetry,
                objective=THROUGHPUT,
                second=self.second,
                limits=self.limits,
                request_batch=1,
                max_concurrency=64,
                window_s=2.0,
                load_deadline_s=60.0,
            ),
            observer=Nobody(),
        )


@pytest.fixture
def model(repository: Path) -> ModelFolder:
    return find_model("light", repository)


def test_a_search_without_promise_stops_and_a_resumed_one_at_the_same_place(
    model: ModelFolder, tmp_path: Path
) -> None:
    lab = Lab(tmp_path, model)
    lab.proposer.gains = [0.5, 1e-6, 1e-6, 1e-6, 0.5]
    lab.session().run(9, proof_rounds=0, patience=3)
    before = lab.store.records()
    assert [record.expected_gain for record in before] == [None, 0.5, 1e-6, 1e-6]
    said = lab.store.record().search_ended
    assert said.startswith("stopped after 4 of 9 trials: no configuration that is left is")

    lab.session().run(9, proof_rounds=0, patience=3)
    assert lab.store.records() == before
    assert lab.store.record().search_ended == said

    lab.session().run(6, proof_rounds=0)
    assert len(lab.store.records()) == 6
    assert lab.store.record().search_ended == "6 of 6 trials are done."


def test_a_killed_search_stops_where_one_that_was_not_killed_does(
    model: ModelFolder, tmp_path: Path
) -> None:
    lab = Lab(tmp_path, model)
    lab.proposer.gains = [0.5, 1e-6, 1e-6, 1e-6, 0.5]
    lab.session().run(3, proof_rounds=0, patience=3)
    lab.session().run(9, proof_rounds=0, patience=3)
    assert len(lab.store.records()) == 4


def test_a_time_that_is_spent_ends_the_search_and_leaves_the_proof(
    model: ModelFolder, tmp_path: Path
) -> None:
    lab = Lab(tmp_path, model)
    lab.session().run(2, proof_rounds=0)
    lab.session().run(30, proof_rounds=3, time_limit_s=1e-3)
    roles = [record.role for record in lab.store.records()]
    assert roles == ["baseline", "search", *["proof"] * 6]
    assert "of the time limit of" in lab.store.record().search_ended

    lab.session().run(3, proof_rounds=3, time_limit_s=1e6)
    assert "search" in [record.role for record in lab.store.records()][2:]


def test_the_level_at_which_a_configuration_should_be_at_its_best_is_measured_first(
    model: ModelFolder, tmp_path: Path
) -> None:
    lab = Lab(tmp_path, model)
    lab.proposer.saturation = Saturation(concurrency=16, throughput_per_s=100.0, room=1.0)
    lab.session().run(2, proof_rounds=0)
    _, searched = lab.store.study.get_trials(deepcopy=False)
    assert searched.user_attrs["saturation"]["concurrency"] == 16
    assert _first_concurrency(lab) == 16


def test_with_two_objectives_the_search_looks_along_the_front(
    model: ModelFolder, tmp_path: Path
) -> None:
    lab = Lab(tmp_path, model, second=P50)
    lab.session().run(4, proof_rounds=3)
    told = [[seen.value for seen in history] for history in lab.proposer.told]
    assert all(value is not None for history in told for value in history)
    # The same first configuration is another value in another direction.
    assert len({round(history[0] or 0.0, 6) for history in told}) == len(told)
    assert "weighing Throughput 90%, p50 Latency 10%" in lab.store.records()[1].proposal

    records = [record for record in lab.store.records() if record.role != "proof"]
    front = pareto_front(records, (THROUGHPUT, P50), ())
    assert len({point.record.number for point in front}) >= 2
    proved = {r.replicate_of for r in lab.store.records() if r.role == "proof"}
    best = max(front, key=lambda point: point.scores[0])
    assert best.record.number in proved


def test_a_configuration_that_cannot_win_is_climbed_all_the_same_where_there_is_a_front(
    model: ModelFolder, tmp_path: Path
) -> None:
    def levels(lab: Lab) -> int:
        lab.session().run(4, proof_rounds=0)
        last = lab.store.records()[-1].outcome
        assert isinstance(last, Measured)
        return len(last.levels)

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    lab = Lab(tmp_path / "two", model, second=P50)
    lab.proposer.saturation = Saturation(concurrency=64, throughput_per_s=100.0, room=1.0)
    with_front = levels(lab)
    concurrencies = _first_concurrency(lab)
    assert concurrencies == 1
    assert with_front >= levels(Lab(tmp_path / "one", model))


def _first_concurrency(lab: Lab) -> int:
    outcome = lab.store.records()[-1].outcome
    assert isinstance(outcome, Measured)
    return min(int(getattr(lv.workload.load, "concurrency", 0)) for lv in outcome.levels)


@pytest.mark.parametrize(
    ("second", "limits", "said"),
    [
        (None, (Limit(metric="gpu_power_w", bound=300.0),), r"the limit GPU Power \(W\) <= 300"),
        (Objective(metric="gpu_power_w"), (), r"the objective GPU Power \(W\)"),
    ],
    ids=["limit", "objective"],
)
def test_what_nothing_measures_ends_the_study_after_its_first_trial(
    model: ModelFolder,
    tmp_path: Path,
    second: Objective | None,
    limits: tuple[Limit, ...],
    said: str,
) -> None:
    lab = Lab(tmp_path, model, second=second, limits=limits)
    for _ in range(2):
        with pytest.raises(UsageError, match=f"{said} is of no use here"):
            lab.session().run(5, proof_rounds=0)
        assert len(lab.store.records()) == 1


def test_a_percentile_that_a_slow_configuration_cannot_give_is_no_reason_to_stop(
    model: ModelFolder, tmp_path: Path
) -> None:
    lab = Lab(tmp_path, model, limits=(Limit(metric="latency_p99_ms", bound=1.0),))
    lab.session().run(2, proof_rounds=0)
    assert len(lab.store.records()) == 2


def test_a_study_with_two_objectives_comes_back_from_its_record(
    model: ModelFolder, tmp_path: Path
) -> None:
    lab = Lab(tmp_path, model, second=P50)
    spec = replace(lab.spec, started_from=("one", "two"))
    header = StudyHeader(schema=SCHEMA, spec=spec, environment={}, created_at_utc="now")
    assert decode(StudyHeader, encode(header)) == header


def test_records_of_the_first_version_can_still_be_read(
    model: ModelFolder, tmp_path: Path
) -> None:
    lab = Lab(tmp_path, model)
    lab.session().run(1, proof_rounds=0)
    header = StudyHeader(schema=SCHEMA, spec=lab.spec, environment={}, created_at_utc="now")
    stored = encode(header)
    for added in ("second", "started_from"):
        del stored["spec"][added]
    assert decode(StudyHeader, stored) == header
    (record,) = lab.store.records()
    kept = encode(record)
    del kept["expected_gain"]
    assert decode(TrialRecord, kept) == record


def test_other_objectives_are_other_terms(model: ModelFolder, tmp_path: Path) -> None:
    lab = Lab(tmp_path, model)
    assert lab.store.differences(lab.spec, {}) == []
    (difference,) = lab.store.differences(replace(lab.spec, second=P50), {})
    assert difference == 'second: null → {"metric": "latency_p50_ms"}'
