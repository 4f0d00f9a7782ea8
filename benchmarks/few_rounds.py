"""How far off are the numbers of a level whose clients each wait for seconds?

    python benchmarks/few_rounds.py [--runs 100] [--workers 2] [--json FILE]

Such a level is measured for five rounds where it is screened and for six where it may be the
answer, of which the first is cut off and the last one not known whole. Simulated services like a
language model on a GPU, whose instances share the device or do not, through load, length rule and
warm-up; the truth is that of long runs without any rule.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from level_calibration import START_S, Service, coverage, intervals, measured
from result_file import Target, add_option, finish, give_way
from simulated_study import bench_of, default, model_folder, read_config

from tuner.measure import statistics
from tuner.measure.measurement import ClosedLoop, Workload
from tuner.measure.stationarity import split_warm_up
from tuner.model.repository import stage
from tuner.simulator.adapters import simulated
from tuner.simulator.cost import CostModel
from tuner.study.length import SCREENING, SLOWLY

LOOKS = {"screened": SCREENING, "closely": SLOWLY}
TRUTH_RUNS, TRUTH_S = 3, 900.0
LEAST_PCT, MOST_OFF_PCT = 90.0, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow(Service):
    """One row takes 0.33 s, 128 rows take 0.84 s, give or take 3 %.

    Attributes:
        contention: how much instances stand in each other's way; 1 is that a second gains nothing.
    """

    contention: float = 1.05

    @property
    def cost(self) -> CostModel:
        """See CostModel."""
        return CostModel(
            table_ms={1: 330.0, 16: 375.0, 32: 430.0, 128: 840.0},
            contention=self.contention,
            cv=0.03,
            cv_start=0.0,
        )


def service(
    clients: int, size: int, instances: int, *, delay_us: int = 0, contention: float = 1.05
) -> Slow:
    """A service by its numbers."""
    delay = f", {delay_us / 1e3:g} ms delay" if delay_us else ""
    apart = "" if contention else ", apart"
    return Slow(
        name=f"{clients} clients, {instances} x {size}{delay}{apart}",
        load=ClosedLoop(concurrency=clients),
        max_batch_size=size,
        instances=instances,
        delay_us=delay_us,
        contention=contention,
    )


SERVICES = (
    service(128, 128, 1, delay_us=100_000),
    service(256, 128, 1),
    service(128, 128, 4, delay_us=100_000),
    service(512, 128, 4, delay_us=100_000),
    service(512, 128, 3),
    service(256, 32, 8),
    service(512, 128, 3, contention=0.0),
    service(181, 16, 8, delay_us=5_000, contention=0.0),
    service(8, 1, 4),
)


def runs_of(slow: Slow, *, runs: int) -> dict[str, dict[str, float | None]]:
    """Measure one service again and again with either look; in a process of the pool."""
    found = {}
    with model_folder() as model:
        parts = simulated(slow.cost, 1, read_config=read_config)
        bench, folder = bench_of(model, parts), model.path.parent
        bench.experience.alone_s = slow.cost.compute_ms(1) / 1e3
        config = model.config.with_params(slow.params, kind=None)
        repository = stage(model, config, folder / "repository")
        workload = Workload(load=slow.load)
        serving = partial(
            parts.server.serving,
            repository=repository,
            model=model.name,
            log=folder / "log",
            deadline_s=START_S,
        )
        truths = []
        for _ in range(TRUTH_RUNS):
            with serving() as endpoint:
                trace = parts.load.run(
                    grpc=endpoint.grpc,
                    model=model.name,
                    workload=workload,
                    duration_s=TRUTH_S,
                    folder=folder,
                )
            truths.append(statistics.throughput(split_warm_up(trace)[0]).value)
        truth = float(np.mean(truths))
        for look, care in LOOKS.items():
            levels = []
            for _ in range(runs):
                with serving() as endpoint:
                    levels.append(measured(bench, endpoint, workload, folder, care))
            given = [intervals(level) for level in levels]
            summary = coverage(given, {"throughput": truth}, metrics=("throughput",))
            values = [level.throughput_per_s.value for level in levels]
            spread = 100 * float(np.std(np.array(values) / truth))
            found[look] = {**summary["throughput"], "spread_pct": spread}
    return found


def main() -> int:
    """Print how far off the throughputs are, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100, help="of each service and look")
    parser.add_argument("--workers", type=int, default=2)
    add_option(parser)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.workers, initializer=give_way) as pool:
        found = list(pool.map(partial(runs_of, runs=arguments.runs), SERVICES))
    for slow, looks in zip(SERVICES, found, strict=True):
        told = [
            f"{look} {one['off_pct']:+5.1f} % give or take {one['spread_pct']:4.1f} %,"
            f" ±{one['half_width_pct']:4.1f} % holds {one['coverage_pct']:3.0f} %"
            for look, one in looks.items()
        ]
        print(f"{slow.name:38} " + " | ".join(told))
    targets = []
    for look in LOOKS:
        given = sum(one[look]["given"] or 0 for one in found)
        held = sum(one[look]["held"] or 0 for one in found)
        off = [
            float(np.hypot(one[look]["off_pct"] or 0, one[look]["spread_pct"] or 0))
            for one in found
        ]
        targets += [
            Target(what=f"{look}: coverage, %", value=100 * held / given, low=LEAST_PCT),
            Target(what=f"{look}: root mean square error, median service, %",
                   value=float(np.median(off)), high=MOST_OFF_PCT),
        ]  # fmt: skip
    return finish(
        arguments.json,
        targets,
        settings={"runs": arguments.runs, "window": default("window")},
        details=[
            {"service": asdict(slow), **looks} for slow, looks in zip(SERVICES, found, strict=True)
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
