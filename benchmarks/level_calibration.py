"""How often do the intervals of a measured level hold the truth, from the load to the number?

    python benchmarks/level_calibration.py simulator [--runs 200] [--workers 2] [--json FILE]
    python benchmarks/level_calibration.py light [--runs 200] [--minutes 10] [--state FILE] …

Where `calibration.py` tries the estimators on runs of a fixed length, this one goes the way that a
level of a study goes: load until the run is long enough, warm-up cut off, numbers made. The
length depends on what was seen, which is one more way to go wrong.

``simulator`` knows the truth from long runs without any rule. ``light`` is the light test
model on a real Triton, its load sent by perf_analyzer: there the truth is all requests of all
runs together, one run of 200 making no difference. That takes minutes and a quiet machine, so each
run is kept in a state file as it ends, and the same command goes on where it was stopped. Where
others use the machine too, run it with real-time priority (as root, before the command:
`chrt -r 1`): the load needs little of a processor, but needs it at once.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from result_file import Target, add_option, finish, give_way
from simulated_study import Unwatched, bench_of, default, model_folder, read_config

from tuner.load.perf_analyzer import PerfAnalyzer
from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload
from tuner.measure.stationarity import split_warm_up
from tuner.model.config import ModelConfig
from tuner.model.repository import find_model, stage
from tuner.servers.local import LocalServer
from tuner.simulator.adapters import simulated
from tuner.simulator.cost import CostModel
from tuner.study.level import Levels
from tuner.study.stopwatch import Stopwatch
from tuner.telemetry.machine import MachineTelemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.measure.measurement import Measurement
    from tuner.servers.port import Endpoint
    from tuner.study.bench import Bench
    from tuner.study.length import Care

METRICS = ("throughput", "p50", "p99")
LOW_PCT, HIGH_PCT = 93.0, 97.0
TRUTH_RUNS, TRUTH_S = 12, 150.0
LIGHT = Path(__file__).parents[1] / "tests" / "models" / "light"
LIGHT_S = 6.0
LIGHT_PARAMETERS = {"base_ms": "20", "per_row_ms": "1", "cv": "0.7"}
"""Long times that differ as those of a real service do. What one run of perf_analyzer differs from
the next by (some 70 µs a request here) no run can tell that knows only itself; beside a request of
a few ms it would be wider than the interval."""
LIGHT_INSTANCES = 4
"""As many clients: 6 s hold enough requests for a p99, and none shares another's fate."""
START_S = 60.0

Interval = tuple[float, float, float]
"""Low, value, high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A configuration of the simulated service and the load on it.

    Attributes:
        name: in the table.
        load: how requests arrive.
        max_batch_size: rows; 1 leaves dynamic batching off.
        instances: of the model.
        delay_us: queue delay.
        autocorrelation: of the noise, from batch to batch.
    """

    name: str
    load: ClosedLoop | OpenLoop
    max_batch_size: int = 1
    instances: int = 1
    delay_us: int = 0
    autocorrelation: float = 0.0

    @property
    def cost(self) -> CostModel:
        """Batches of b rows take 10 + b ms, give or take 5 %; starts are alike."""
        return CostModel(
            base_ms=10.0,
            per_row_ms=1.0,
            contention=0.3,
            cv=0.05,
            cv_start=0.0,
            autocorrelation=self.autocorrelation,
        )

    @property
    def params(self) -> dict[str, bool | int]:
        """The knobs."""
        return {
            "dynamic_batching": self.max_batch_size > 1,
            "max_batch_size": self.max_batch_size,
            "max_queue_delay_microseconds": self.delay_us,
            "instance_count": self.instances,
        }


SERVICES = (
    Service(name="1 client", load=ClosedLoop(concurrency=1)),
    Service(name="8 clients", load=ClosedLoop(concurrency=8)),
    Service(name="8 clients, batches of 8", load=ClosedLoop(concurrency=8), max_batch_size=8),
    Service(name="32 clients, batches of 16", load=ClosedLoop(concurrency=32), max_batch_size=16),
    Service(
        name="64 clients, batches of 32, 2 ms delay",
        load=ClosedLoop(concurrency=64),
        max_batch_size=32,
        delay_us=2000,
    ),
    Service(name="8 clients, 2 instances", load=ClosedLoop(concurrency=8), instances=2),
    Service(
        name="32 clients, batches of 8, 2 instances",
        load=ClosedLoop(concurrency=32),
        max_batch_size=8,
        instances=2,
    ),
    Service(
        name="16 clients, batches of 8, noise that lasts",
        load=ClosedLoop(concurrency=16),
        max_batch_size=8,
        autocorrelation=0.5,
    ),
    Service(
        name="60 requests/s at random, batches of 8",
        load=OpenLoop(rate_per_s=60.0),
        max_batch_size=8,
    ),
)


def measured(
    bench: Bench,
    endpoint: Endpoint,
    workload: Workload,
    folder: Path,
    care: Care | None = None,
) -> Measurement:
    """Measure one level as a trial does; with no care named, one that may be the answer."""
    found: list[Measurement] = []
    levels = Levels(
        bench=bench,
        endpoint=endpoint,
        folder=folder,
        watch=Stopwatch(),
        observer=Unwatched(),
        measured=found,
    )
    levels.measure(workload, care or levels.close_look)
    return found[0]


def intervals(level: Measurement) -> dict[str, Interval | None]:
    """The intervals of a level; None where one is refused."""
    estimates = {
        "throughput": level.throughput_per_s,
        "p50": level.latency.p50_ms,
        "p99": level.latency.p99_ms,
    }
    return {
        name: None if one is None else (one.low, one.value, one.high)
        for name, one in estimates.items()
    }


def coverage(
    runs: Sequence[dict[str, Interval | None]],
    truth: dict[str, float],
    *,
    metrics: Sequence[str] = METRICS,
) -> dict[str, dict[str, float | None]]:
    """Per metric: how many intervals were given, how many of them hold the truth, how wide."""
    summary: dict[str, dict[str, float | None]] = {}
    for name in metrics:
        given = [one for run in runs if (one := run[name]) is not None]
        held = sum(low <= truth[name] <= high for low, _, high in given)
        widths = [100 * (high - low) / 2 / value for low, value, high in given]
        off = [100 * (value / truth[name] - 1) for _, value, _ in given]
        summary[name] = {
            "truth": truth[name],
            "runs": len(runs),
            "given": len(given),
            "held": held,
            "coverage_pct": 100 * held / len(given) if given else None,
            "half_width_pct": float(np.mean(widths)) if given else None,
            "off_pct": float(np.mean(off)) if given else None,
        }
    return summary


def simulated_service(service: Service, *, runs: int) -> dict[str, dict[str, float | None]]:
    """Measure one service again and again; in a process of the pool."""
    with model_folder() as model:
        parts = simulated(service.cost, 1, read_config=read_config)
        bench = bench_of(model, parts)
        folder = model.path.parent
        repository = stage(
            model, model.config.with_params(service.params, kind=None), folder / "repository"
        )
        workload = Workload(load=service.load)

        @contextmanager
        def serving() -> Iterator[Endpoint]:
            with parts.server.serving(
                repository=repository, model=model.name, log=folder / "log", deadline_s=START_S
            ) as endpoint:
                yield endpoint

        points: list[tuple[float, float, float]] = []
        for _ in range(TRUTH_RUNS):
            with serving() as endpoint:
                trace = parts.load.run(
                    grpc=endpoint.grpc,
                    model=model.name,
                    workload=workload,
                    duration_s=TRUTH_S,
                    folder=folder,
                )
            steady = split_warm_up(trace)[0]
            span_s = float(np.ptp(steady.done_ns)) / 1e9
            p50, p99 = np.quantile(steady.latency_ms, (0.5, 0.99))
            points.append(((len(steady.done_ns) - 1) / span_s, float(p50), float(p99)))
        truth = dict(zip(METRICS, np.mean(points, axis=0).tolist(), strict=True))
        if isinstance(service.load, OpenLoop):
            truth["throughput"] = service.load.rate_per_s
        found = []
        for _ in range(runs):
            with serving() as endpoint:
                level = measured(bench, endpoint, workload, folder)
            found.append(intervals(level))
    return coverage(found, truth)


def on_simulator(arguments: argparse.Namespace) -> int:
    """Calibrate the simulated services."""
    with ProcessPoolExecutor(arguments.workers, initializer=give_way) as pool:
        found = list(pool.map(partial(simulated_service, runs=arguments.runs), SERVICES))
    for service, summary in zip(SERVICES, found, strict=True):
        print_row(service.name, summary)
    return finish(
        arguments.json,
        targets(found),
        settings={"runs": arguments.runs, "window": default("window")},
        details=[
            {"service": asdict(service), **summary}
            for service, summary in zip(SERVICES, found, strict=True)
        ],
    )


def on_light(arguments: argparse.Namespace) -> int:
    """Calibrate the light test model on a real Triton, as far as the minutes go."""
    ends_at = time.monotonic() + 60 * arguments.minutes
    state: Path = arguments.state
    lines = state.read_text("utf-8").splitlines() if state.exists() else []
    runs: list[dict[str, Any]] = [json.loads(line) for line in lines]
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuner-benchmark-")))
        model = find_model(str(LIGHT), LIGHT.parent)
        server, load = LocalServer(study=root), PerfAnalyzer(study=root, cache=root / "cache")
        versions = {**server.describe(), **load.describe()}
        if len(runs) < arguments.runs:
            repository = stage(model, _noisy(model.config), root / "repository")
            with (
                server.serving(
                    repository=repository, model=model.name, log=root / "log", deadline_s=START_S
                ) as endpoint,
                state.open("a", encoding="utf-8") as kept,
            ):
                simulation = simulated(CostModel(base_ms=1.0), 0, read_config=read_config)
                bench = replace(
                    bench_of(model, simulation, window_s=LIGHT_S),
                    server=server,
                    load=load,
                    telemetry=MachineTelemetry(),
                )
                workload = Workload(load=ClosedLoop(concurrency=LIGHT_INSTANCES))
                while len(runs) < arguments.runs and time.monotonic() < ends_at:
                    folder = Path(tempfile.mkdtemp(dir=root))
                    level = measured(bench, endpoint, workload, folder)
                    run = {
                        **intervals(level),
                        "seconds": level.duration_s,
                        "latency_ms": _latencies_ms(folder, level),
                        "caveats": [caveat.code for caveat in level.caveats],
                    }
                    runs.append(run)
                    kept.write(json.dumps(run) + "\n")
                    kept.flush()
    latency_ms = np.concatenate([run.pop("latency_ms") for run in runs])
    throughput = latency_ms.size / sum(run["seconds"] for run in runs)
    p50, p99 = np.quantile(latency_ms, (0.5, 0.99)).tolist()
    summary = coverage(runs, {"throughput": throughput, "p50": p50, "p99": p99})
    print_row(f"light test model, {LIGHT_INSTANCES} clients", summary)
    agree = neighbours_agree(runs)
    print(
        "two runs in a row agree: "
        + ", ".join(f"{name} {share:.0f} %" for name, share in agree.items() if share is not None)
    )
    return finish(
        arguments.json,
        targets([summary]),
        settings={"runs": len(runs), "seconds": LIGHT_S, "clients": LIGHT_INSTANCES},
        details={"coverage": summary, "neighbours_agree_pct": agree, "runs": runs},
        versions=versions,
    )


def _latencies_ms(folder: Path, level: Measurement) -> list[float]:
    """Every latency of the steady part of a level's last run, in ms."""
    last = max(folder.glob("requests_*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    requests = pd.read_parquet(last)
    steady = requests[requests["sent_ns"] >= requests["sent_ns"].min() + 1e9 * level.discarded_s]
    latency_ms = (steady["done_ns"] - steady["sent_ns"]) / 1e6
    return [round(one, 4) for one in latency_ms]


def _noisy(light: ModelConfig) -> ModelConfig:
    """The light test model's configuration with the parameters of the calibration."""
    head, _, _ = light.text.partition("parameters [")
    group = f"instance_group [ {{ count: {LIGHT_INSTANCES} kind: KIND_CPU }} ]"
    entries = ", ".join(
        f'{{ key: "{key}" value: {{ string_value: "{value}" }} }}'
        for key, value in LIGHT_PARAMETERS.items()
    )
    return ModelConfig.parse(f"{head}{group}\nparameters [ {entries} ]\n", path=light.path)


def neighbours_agree(runs: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """How often two runs in a row agree within their intervals, in per cent; 95 is right.

    Of a machine that slowly gets faster or slower, this tells what one run can know.
    """
    shares: dict[str, float | None] = {}
    for name in METRICS:
        values = [run[name] for run in runs if run[name] is not None]
        agreeing = [
            abs(one[1] - next_one[1]) <= math.hypot(one[2] - one[0], next_one[2] - next_one[0]) / 2
            for one, next_one in pairwise(values)
        ]
        shares[name] = 100 * sum(agreeing) / len(agreeing) if agreeing else None
    return shares


def targets(found: Sequence[dict[str, dict[str, float | None]]]) -> list[Target]:
    """Coverage by metric over all services, in per cent."""
    made = []
    for name in METRICS:
        given = sum(summary[name]["given"] or 0 for summary in found)
        held = sum(summary[name]["held"] or 0 for summary in found)
        share = 100 * held / given if given else float("nan")
        what = f"coverage of {name} ({given:.0f} intervals), %"
        made.append(Target(what=what, value=share, low=LOW_PCT, high=HIGH_PCT))
    return made


def print_row(name: str, summary: dict[str, dict[str, float | None]]) -> None:
    """One line of the table: coverage, half-width, deviation, and how many were given."""
    cells = []
    for metric in METRICS:
        one = summary[metric]
        if one["coverage_pct"] is None:
            cells.append("refused")
            continue
        cells.append(
            f"{one['coverage_pct']:5.1f} ±{one['half_width_pct']:4.1f}"
            f" {one['off_pct']:+5.2f} {one['given']:4.0f}"
        )
    print(f"{name:44} " + " | ".join(f"{cell:>24}" for cell in cells), flush=True)


def main() -> int:
    """Print the table and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("on", choices=("simulator", "light"))
    parser.add_argument("--runs", type=int, default=200, help="of each service")
    parser.add_argument("--workers", type=int, default=2, help="of the simulator")
    parser.add_argument("--minutes", type=float, default=10.0, help="at most, on the light model")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(tempfile.gettempdir()) / "tuner-light-calibration.jsonl",
        help="where runs on the light model are kept until all are done",
    )
    add_option(parser)
    arguments = parser.parse_args()
    heads = " | ".join(f"{name + ' cov ±% off% n':>24}" for name in METRICS)
    print(f"{'':44} {heads}")
    return on_simulator(arguments) if arguments.on == "simulator" else on_light(arguments)


if __name__ == "__main__":
    sys.exit(main())
