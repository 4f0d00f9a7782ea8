"""Levels of a trial on the simulator: how long they are and what they are measured again for."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tuner.judge.goal import Objective
from tuner.measure.measurement import ClosedLoop, Workload
from tuner.model.config import ModelConfig
from tuner.model.repository import find_model, stage
from tuner.simulator.adapters import simulated
from tuner.simulator.batcher import SimConfig
from tuner.simulator.cost import CostModel, Faults
from tuner.study.bench import Bench
from tuner.study.events import LevelStarted
from tuner.study.length import CLOSELY, SCREENING
from tuner.study.level import Levels
from tuner.study.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuner.measure.measurement import Measurement
    from tuner.model.repository import ModelFolder
    from tuner.study.events import Event

WINDOW_S = 4.0
LINEAR = CostModel(per_row_ms=5.0, contention=1.0, cv=0.05, cv_start=0.0, network_ms=0.02)
"""Each row takes 5 ms whatever the batch: 200 rows a second with every configuration."""


@dataclass
class Runs:
    """Notes how long each run of load was to be."""

    lengths_s: list[float] = field(default_factory=list)

    def on(self, event: Event) -> None:
        """See Observer."""
        if isinstance(event, LevelStarted) and event.expected_s is not None:
            self.lengths_s.append(event.expected_s)


def read(path: Path) -> SimConfig:
    config = ModelConfig.read(path)
    return SimConfig(
        max_batch_size=config.max_batch_size,
        dynamic_batching=config.dynamic_batching,
        instances=config.instance_count,
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


def _served(
    stack: ExitStack,
    model: ModelFolder,
    folder: Path,
    cost: CostModel,
    *,
    size: int = 8,
    instances: int = 1,
) -> Served:
    parts = simulated(cost, 1, read_config=read)
    params = {
        "max_batch_size": size,
        "dynamic_batching": True,
        "max_queue_delay_microseconds": 0,
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
    levels = Levels(
        bench=Bench(
            model=model,
            weights=None,
            server=parts.server,
            load=parts.load,
            telemetry=parts.telemetry,
            objective=Objective(metric="throughput_per_s"),
            limits=(),
            request_batch=1,
            max_concurrency=512,
            window_s=WINDOW_S,
            load_deadline_s=60.0,
        ),
        endpoint=stack.enter_context(serving),
        folder=folder,
        watch=Stopwatch(),
        observer=runs,
        measured=[],
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
    assert max(served.runs.lengths_s) == CLOSELY.windows * WINDOW_S


def test_levels_that_a_warming_server_slowed_down_are_measured_again_and_say_so(
    serve: Callable[..., Served],
) -> None:
    faults = Faults(warmup_s=6.0)
    cost = CostModel(base_ms=10.0, per_row_ms=1.0, cv=0.05, cv_start=0.0, faults=faults)
    served = serve(cost)
    served.levels.climb(served.config, None)
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
