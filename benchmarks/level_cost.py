"""How much longer does a level take than the requests that its numbers rest on?

    python benchmarks/level_cost.py [--levels 20] [--server] [--workers 2] [--json FILE]

A level costs more than its requests need: the load generator starts, both ends of a run
are cut off, and a run that turns out too short is made again. The time of a level is all of that;
what it needs is its number of answered requests over its throughput. Both for a level that is
screened and for one that may be the answer, which was screened before, on steady simulated
services (some as slow as a language model on a GPU) in their virtual time and, with
``--server``, on the light test model on a real Triton. The ratio of a service is over all its
levels: one in which a run had to be made again takes more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from level_calibration import LIGHT, SERVICES, START_S, Service
from result_file import Target, add_option, finish, give_way
from simulated_study import bench_of, default, model_folder, read_config

from tuner.load.perf_analyzer import PerfAnalyzer
from tuner.measure.measurement import ClosedLoop, Workload
from tuner.model.repository import find_model, stage
from tuner.servers.local import LocalServer
from tuner.simulator.adapters import BETWEEN_RUNS_MS, simulated
from tuner.simulator.cost import CostModel
from tuner.study.events import LevelStarted
from tuner.study.length import SCREENING, seconds
from tuner.study.level import Levels
from tuner.study.stopwatch import Stopwatch
from tuner.telemetry.machine import MachineTelemetry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner.load.port import LoadGenerator
    from tuner.measure.measurement import Measurement
    from tuner.measure.trace import Trace
    from tuner.servers.port import Endpoint
    from tuner.study.bench import Bench
    from tuner.study.events import Event

MOST = 1.3
MOST_SLOW = 1.8
"""Where a request takes seconds: of five rounds the first is cut off, and a run that counts
answers ends at a whole second."""
HOW = ("screened", "closely")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow(Service):
    """A service like falcon7b on a GPU, of which one batch at a time makes progress."""

    @property
    def cost(self) -> CostModel:
        """One row takes 0.36 s, 128 rows take 0.88 s, give or take 3 %."""
        return CostModel(
            table_ms={1: 360.0, 4: 375.0, 32: 430.0, 128: 880.0},
            contention=1.0,
            cv=0.03,
            cv_start=0.0,
        )


SLOW = (
    Slow(name="slow: 1 client", load=ClosedLoop(concurrency=1)),
    Slow(
        name="slow: 64 clients, batches of 64", load=ClosedLoop(concurrency=64), max_batch_size=64
    ),
    Slow(
        name="slow: 256 clients, batches of 128",
        load=ClosedLoop(concurrency=256),
        max_batch_size=128,
    ),
    Slow(
        name="slow: 256 clients, batches of 128, 2 instances",
        load=ClosedLoop(concurrency=256),
        max_batch_size=128,
        instances=2,
    ),
)


@dataclass(slots=True)
class RunCounter:
    """An observer that counts the runs of load."""

    runs: int = 0

    def on(self, event: Event) -> None:
        """See Observer."""
        self.runs += isinstance(event, LevelStarted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one level.

    Attributes:
        taken_s: all its runs, with what lies between them.
        needed_s: its answered requests over its throughput.
        runs: of load.
    """

    taken_s: float
    needed_s: float
    runs: int


@dataclass(slots=True)
class Clocked:
    """A load generator with a clock, which also counts seconds that are only simulated."""

    load: LoadGenerator
    load_s: float = 0.0

    def run(self, **asked: Any) -> Trace:  # noqa: ANN401 - as the one that it stands before
        """See LoadGenerator."""
        trace = self.load.run(**asked)
        self.load_s += seconds(trace)
        return trace

    def describe(self) -> Mapping[str, str]:
        """See LoadGenerator."""
        return self.load.describe()


def level(
    bench: Bench, endpoint: Endpoint, workload: Workload, how: str, folder: Path
) -> tuple[Measurement, Stopwatch, Clocked, int]:
    """Measure one level as a trial does: the level, seconds by phase and under load, its runs."""
    found: list[Measurement] = []
    watch, counter, clocked = Stopwatch(), RunCounter(), Clocked(load=bench.load)
    bench = replace(bench, load=clocked)
    levels = Levels(
        bench=bench,
        endpoint=endpoint,
        folder=folder,
        watch=watch,
        observer=counter,
        measured=found,
    )
    levels.measure(workload, SCREENING)
    if how == "closely":
        watch.phases_s.clear()
        counter.runs, clocked.load_s = 0, 0.0
        levels.measure(workload, levels.close_look)
    return found[0], watch, clocked, counter.runs


def needed_s(found: Measurement) -> float:
    """How long its answered requests take."""
    return found.requests * found.workload.request_batch / found.throughput_per_s.value


def simulated_costs(service: Service, *, levels: int) -> dict[str, list[Cost]]:
    """Measure levels of one service; in a process of the pool."""
    costs: dict[str, list[Cost]] = {how: [] for how in HOW}
    with model_folder() as model:
        parts = simulated(service.cost, 2, read_config=read_config)
        bench, folder = bench_of(model, parts), model.path.parent
        # As the answer gate tells it before the first level.
        bench.experience.alone_s = service.cost.compute_ms(1) / 1e3
        config = model.config.with_params(service.params, kind=None)
        repository = stage(model, config, folder / "repository")
        for number in range(2 * levels):
            how = HOW[number % 2]
            with parts.server.serving(
                repository=repository, model=model.name, log=folder / "log", deadline_s=START_S
            ) as endpoint:
                found, _, clocked, runs = level(
                    bench, endpoint, Workload(load=service.load), how, folder
                )
            taken_s = clocked.load_s + runs * BETWEEN_RUNS_MS / 1e3
            costs[how].append(Cost(taken_s=taken_s, needed_s=needed_s(found), runs=runs))
    return costs


def real_costs(levels: int) -> tuple[dict[str, list[Cost]], dict[str, str]]:
    """Measure levels of the light test model by the clock; also what served it."""
    costs: dict[str, list[Cost]] = {how: [] for how in HOW}
    with tempfile.TemporaryDirectory(prefix="tuner-benchmark-") as name:
        root = Path(name)
        model = find_model(str(LIGHT), LIGHT.parent)
        server, load = LocalServer(study=root), PerfAnalyzer(study=root, cache=root / "cache")
        simulation = simulated(CostModel(base_ms=1.0), 0, read_config=read_config)
        bench = replace(
            bench_of(model, simulation), server=server, load=load, telemetry=MachineTelemetry()
        )
        repository = stage(model, model.config, root / "repository")
        with server.serving(
            repository=repository, model=model.name, log=root / "log", deadline_s=START_S
        ) as endpoint:
            for number in range(2 * levels):
                how = HOW[number % 2]
                folder = Path(tempfile.mkdtemp(dir=root))
                workload = Workload(load=ClosedLoop(concurrency=4))
                found, watch, _, runs = level(bench, endpoint, workload, how, folder)
                taken_s = sum(watch.phases_s.values())
                costs[how].append(Cost(taken_s=taken_s, needed_s=needed_s(found), runs=runs))
        versions = {**server.describe(), **load.describe()}
    return costs, versions


def main() -> int:
    """Print the ratios and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--levels", type=int, default=20, help="of each service and kind")
    parser.add_argument("--server", action="store_true", help="also on a real Triton, 4 levels")
    parser.add_argument("--workers", type=int, default=2)
    add_option(parser)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.workers, initializer=give_way) as pool:
        measure = partial(simulated_costs, levels=arguments.levels)
        services = (*SERVICES, *SLOW)
        by_name = dict(zip((s.name for s in services), pool.map(measure, services), strict=True))
    versions: dict[str, str] = {}
    if arguments.server:
        by_name["light test model on Triton"], versions = real_costs(4)
    ratios: dict[str, dict[str, float]] = {}
    for name, costs in by_name.items():
        ratios[name] = {
            how: sum(c.taken_s for c in found) / sum(c.needed_s for c in found)
            for how, found in costs.items()
        }
        told = [
            f"{how} {ratios[name][how]:.2f} x"
            f" {np.mean([c.needed_s for c in found]):5.1f} s"
            f" in {np.mean([c.runs for c in found]):.1f} runs"
            for how, found in costs.items()
        ]
        print(f"{name:44} " + " | ".join(told))
    slow = {service.name for service in SLOW}
    singly = [
        cost.taken_s / cost.needed_s
        for name, costs in by_name.items()
        for found in costs.values()
        for cost in found
        if name not in slow
    ]
    above = sum(ratio > MOST for ratio in singly)
    print(f"{above} of {len(singly)} single levels took more, because a run was made again")
    targets = [
        Target(
            what=f"worst ratio of a {'slow service' if is_slow else 'service'}, {how}",
            value=max(r[how] for name, r in ratios.items() if (name in slow) == is_slow),
            high=MOST_SLOW if is_slow else MOST,
        )
        for is_slow in (False, True)
        for how in HOW
    ]
    return finish(
        arguments.json,
        targets,
        settings={"levels": arguments.levels, "window": default("window")},
        details={"ratios": ratios, "single_levels": len(singly), "single_levels_above": above},
        versions=versions,
    )


if __name__ == "__main__":
    sys.exit(main())
