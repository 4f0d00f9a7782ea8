"""Levels of a trial on the simulator: how long they are and what they are measured again for."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tuner.judge.goal import Limit, Objective
from tuner.judge.rank import Ranked, violation
from tuner.measure.estimate import Estimate
from tuner.measure.measurement import ClosedLoop, Latency, Measurement, Workload
from tuner.measure.record import SCHEMA, Measured, TrialRecord
from tuner.measure.saturation import Saturation
from tuner.model.config import ModelConfig
from tuner.model.repository import find_model, stage
from tuner.simulator.adapters import simulated
from tuner.simulator.batcher import SimConfig
from tuner.simulator.cost import CostModel, Faults
from tuner.study.bench import Bench
from tuner.study.climb import climb
from tuner.study.events import LevelStarted
from tuner.study.experience import Experience
from tuner.study.length import CLOSELY, SCREENING
from tuner.study.level import MADE_AGAIN, Levels
from tuner.study.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuner.model.repository import ModelFolder
    from tuner.study.events import Event

WINDOW_S = 4.0
SLOW = CostModel(table_ms={1: 360.0, 128: 900.0}, contention=1.0, cv=0.03, cv_start=0.0)
"""As a language model on a GPU: one request takes 0.36 s, a batch of 128 takes 0.9 s."""

LINEAR = CostModel(per_row_ms=5.0, contention=1.0, cv=0.05, cv_start=0.0, network_ms=0.02)
"""Each row takes 5 ms whatever the batch: 200 rows a second with every configuration."""


@dataclass
class Runs:
    """Notes how long each run of load was to be, and how many there were at each load."""

    lengths_s: list[float] = field(default_factory=list)
    count: int = 0
    at: Counter[Workload] = field(default_factory=Counter)

    def on(self, event: Event) -> None:
        """See Observer."""
        if not isinstance(event, LevelStarted):
            return
        self.count += 1
        self.at[event.workload] += 1
        if event.expected_s is not None:
            self.lengths_s.append(event.expected_s)


def read(path: Path) -> SimConfig:
    config = ModelConfig.read(path)
    return SimConfig(
        max_batch_size=config.max_batch_size,
        dynamic_batching=config.dynamic_batching,
        instances=config.instance_count,
        max_queue_delay_microseconds=config.max_queue_delay_microseconds,
    )


@dataclass
class Served:
    """A configuration that is up."""

    levels: Levels
    config: ModelConfig
    runs: Runs

    @property
    def measured(self) -> list[Measurement]:
        """The levels so far."""
        return self.levels.measured


@pytest.fixture
def serve(repository: Path, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Serve a configuration of the light model at a cost, until the test is over."""
    with ExitStack() as stack:
        yield partial(_served, stack, find_model("light", repository), tmp_path)


def _served(  # noqa: PLR0913 - one parameter a property of what is served
    stack: ExitStack,
    model: ModelFolder,
    folder: Path,
    cost: CostModel,
    *,
    size: int = 8,
    instances: int = 1,
    delay_us: int = 0,
    experience: Experience | None = None,
    limit: Limit | None = None,
) -> Served:
    parts = simulated(cost, 1, read_config=read)
    params = {
        "max_batch_size": size,
        "dynamic_batching": True,
        "max_queue_delay_microseconds": delay_us,
        "instance_count": instances,
    }
    config = model.config.with_params(params, kind="KIND_CPU")
    serving = parts.server.serving(
        repository=stage(model, config, folder / "staged"),
        model="light",
        log=folder / "server.log",
        deadline_s=60.0,
    )
    runs = Runs()
    experience = experience or Experience()
    levels = Levels(
        bench=Bench(
            model=model,
            weights=None,
            server=parts.server,
            load=parts.load,
            telemetry=parts.telemetry,
            objective=Objective(metric="throughput_per_s"),
            limits=() if limit is None else (limit,),
            request_batch=1,
            max_concurrency=512,
            window_s=WINDOW_S,
            load_deadline_s=60.0,
            experience=experience,
        ),
        endpoint=stack.enter_context(serving),
        folder=folder,
        watch=Stopwatch(),
        observer=runs,
        measured=[],
        seen=experience.of(config.fingerprint()),
    )
    return Served(levels=levels, config=config, runs=runs)


def test_a_run_in_which_only_the_quickest_were_answered_is_made_again_longer(
    serve: Callable[..., Served],
) -> None:
    """512 clients wait 2.6 s; in 4 s only small early batches come back: 100 rows/s, not 200."""
    served = serve(LINEAR, size=128, instances=8)
    served.levels.measure(Workload(load=ClosedLoop(concurrency=512)), CLOSELY)
    (level,) = served.measured
    assert level.throughput_per_s.low <= 200 <= level.throughput_per_s.high
    assert max(served.runs.lengths_s) >= CLOSELY.windows * WINDOW_S


def test_levels_that_a_warming_server_slowed_down_are_measured_again_and_say_so(
    serve: Callable[..., Served],
) -> None:
    faults = Faults(warmup_s=6.0)
    cost = CostModel(base_ms=10.0, per_row_ms=1.0, cv=0.05, cv_start=0.0, faults=faults)
    served = serve(cost)
    climb(served.levels, served.config, best=None)
    first = next(m for m in served.measured if m.workload.load == ClosedLoop(concurrency=1))
    assert first.latency.mean_ms.value == pytest.approx(11, rel=0.1)
    assert "warming" in {caveat.code for caveat in first.caveats}


def test_a_close_look_begins_as_long_as_the_first_look_said(serve: Callable[..., Served]) -> None:
    served = serve(CostModel(base_ms=10.0, per_row_ms=1.0, cv=0.05, cv_start=0.0))
    workload = Workload(load=ClosedLoop(concurrency=1))
    served.levels.measure(workload, SCREENING)
    served.levels.measure(workload, CLOSELY)
    assert served.runs.lengths_s[0] == WINDOW_S
    assert served.runs.lengths_s[1] > WINDOW_S


def test_a_client_that_stalls_at_the_start_is_named_and_costs_no_throughput(
    serve: Callable[..., Served],
) -> None:
    faults = Faults(client_stall_s=3.0)
    cost = CostModel(base_ms=10.0, per_row_ms=1.0, cv=0.05, cv_start=0.0, faults=faults)
    served = serve(cost)
    served.levels.measure(Workload(load=ClosedLoop(concurrency=16)), CLOSELY)
    (level,) = served.measured
    assert level.throughput_per_s.value == pytest.approx(442, rel=0.02)
    assert "littles_law" in {caveat.code for caveat in level.caveats}


def best_of(levels: list[Measurement]) -> float:
    return max(level.throughput_per_s.value for level in levels)


def rival(repository: Path, throughput: float) -> Ranked:
    """A configuration to beat, whose best level yields so much, give or take 2 %."""
    level = measurement(throughput)
    record = TrialRecord(
        schema=SCHEMA,
        number=0,
        role="baseline",
        params={},
        fingerprint="",
        config_pbtxt=(repository / "light" / "config.pbtxt").read_text("utf-8"),
        proposal="",
        outcome=Measured(levels=(level,)),
        phases_s={},
        started_at_utc="",
    )
    return Ranked(record=record, level=level, score=throughput, violation=0.0)


def somewhere(concurrency: int) -> Saturation:
    """A load to begin at, with a prediction that no level confirms."""
    return Saturation(concurrency=concurrency, throughput_per_s=1e6, room=1.0)


def measurement(throughput: float) -> Measurement:
    estimate = partial(Estimate, n_effective=30.0)
    half = 0.02 * throughput
    mean = estimate(value=10.0, low=9.0, high=11.0)
    return Measurement(
        workload=Workload(load=ClosedLoop(concurrency=1)),
        throughput_per_s=estimate(value=throughput, low=throughput - half, high=throughput + half),
        latency=Latency(mean_ms=mean, p50_ms=None, p90_ms=None, p95_ms=None, p99_ms=None),
        server=None,
        batches=(),
        gpus=(),
        host=None,
        requests=100,
        errors=0,
        duration_s=4.0,
        discarded_s=0.0,
        caveats=(),
    )


FAST = CostModel(base_ms=10.0, per_row_ms=1.0, cv=0.05, cv_start=0.0)


@pytest.mark.parametrize("start", [8, 32, 128])
@pytest.mark.parametrize("delay_us", [0, 5000])
def test_a_start_that_is_four_times_too_low_or_too_high_loses_no_winner(
    serve: Callable[..., Served], repository: Path, start: int, delay_us: int
) -> None:
    """Batches of 16 in 26 ms: 610 rows/s from 32 clients on; the best so far yields 560."""
    served = serve(FAST, size=16, delay_us=delay_us)
    climb(served.levels, served.config, best=rival(repository, 560.0), start=somewhere(start))
    assert best_of(served.measured) == pytest.approx(610, rel=0.03)


@pytest.mark.parametrize("start", [4, 16, 64])
def test_a_start_that_is_four_times_too_low_or_too_high_loses_no_winner_of_a_slow_model(
    serve: Callable[..., Served], repository: Path, start: int
) -> None:
    """Batches of 16 in 420 ms: 38 rows/s; the best so far yields 34."""
    served = serve(SLOW, size=16)
    climb(served.levels, served.config, best=rival(repository, 34.0), start=somewhere(start))
    assert best_of(served.measured) == pytest.approx(38, rel=0.1)


def test_a_level_that_turns_out_as_predicted_is_enough_where_more_load_gains_nothing(
    serve: Callable[..., Served], repository: Path
) -> None:
    """One of four instances works, the others would share its device: 142 rows/s at any load."""
    served = serve(SLOW, size=128, instances=4, delay_us=100_000)
    start = Saturation(concurrency=128, throughput_per_s=140.0, room=1.02)
    climb(served.levels, served.config, best=rival(repository, 140.0), start=start)
    assert [level.workload.load for level in served.measured] == [ClosedLoop(concurrency=128)]


def test_a_level_that_was_predicted_wrongly_does_not_end_a_ladder(
    serve: Callable[..., Served], repository: Path
) -> None:
    served = serve(SLOW, size=128, instances=4, delay_us=100_000)
    start = Saturation(concurrency=128, throughput_per_s=180.0, room=1.02)
    climb(served.levels, served.config, best=rival(repository, 140.0), start=start)
    assert len(served.measured) > 1


def test_one_level_is_enough_for_what_cannot_win(
    serve: Callable[..., Served], repository: Path
) -> None:
    served = serve(FAST, size=4)
    climb(served.levels, served.config, best=rival(repository, 900.0), start=somewhere(8))
    assert [level.workload.load for level in served.measured] == [ClosedLoop(concurrency=8)]
    assert served.runs.count == 1


def test_a_slow_level_of_which_a_single_wait_is_known_takes_one_run(
    serve: Callable[..., Served],
) -> None:
    served = serve(SLOW, size=128, experience=Experience(alone_s=0.36))
    served.levels.measure(Workload(load=ClosedLoop(concurrency=256)), CLOSELY)
    assert served.runs.count == 1
    assert MADE_AGAIN not in served.levels.watch.phases_s
    (level,) = served.measured
    assert level.throughput_per_s.value == pytest.approx(142, rel=0.1)


def test_a_slow_level_of_which_nothing_is_known_is_waited_for(
    serve: Callable[..., Served],
) -> None:
    """A thousand seconds of it yield 112 rows/s."""
    served = serve(SLOW, size=128, instances=6)
    served.levels.measure(Workload(load=ClosedLoop(concurrency=512)), SCREENING)
    (level,) = served.measured
    assert level.throughput_per_s.low <= 112 <= level.throughput_per_s.high


@pytest.mark.parametrize("cost", [FAST, SLOW])
def test_a_proof_gets_the_length_that_the_search_found_out_at_once(
    serve: Callable[..., Served], cost: CostModel
) -> None:
    experience = Experience()
    workload = Workload(load=ClosedLoop(concurrency=16))
    first = serve(cost, experience=experience)
    climb(first.levels, first.config, best=None)
    again = serve(cost, experience=experience)
    again.levels.measure(workload, CLOSELY)
    assert again.runs.count == 1


def test_a_look_from_afar_takes_no_longer_than_its_rounds(serve: Callable[..., Served]) -> None:
    """A close look at so noisy a service would take all that the cap allows."""
    noisy = CostModel(base_ms=40.0, cv=0.5, cv_start=0.0)
    served = serve(noisy, size=1)
    workload = Workload(load=ClosedLoop(concurrency=2))
    served.levels.measure(workload, CLOSELY)
    served.levels.measure(workload, served.levels.far_look)
    assert served.runs.lengths_s[-1] == WINDOW_S
    assert served.runs.lengths_s[-2] > WINDOW_S


def test_what_is_thrown_away_is_not_called_warming_up(serve: Callable[..., Served]) -> None:
    served = serve(LINEAR, size=128, instances=8)
    served.levels.measure(Workload(load=ClosedLoop(concurrency=512)), CLOSELY)
    assert served.levels.watch.phases_s[MADE_AGAIN] > 0


@pytest.mark.parametrize("bound_ms", range(50, 130, 10))
def test_where_a_close_look_breaks_a_limit_another_level_that_keeps_it_gets_one(
    serve: Callable[..., Served], bound_ms: int
) -> None:
    """A window often keeps a p99 limit by chance."""
    limit = Limit(metric="latency_p99_ms", bound=float(bound_ms))
    served = serve(CostModel(table_ms={1: 20.0, 8: 20.0}, cv=0.4), instances=2, limit=limit)
    climb(served.levels, served.config, best=None)
    keeping = [one.workload for one in served.measured if violation(one, (limit,)) <= 0]
    looked = {w for w in keeping if served.runs.at[w] > 1} | served.levels.looked
    assert looked & set(keeping)
