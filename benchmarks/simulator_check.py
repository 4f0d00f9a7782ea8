"""Does the simulator tell what the real server does? The light test model on both, point by point.

    python benchmarks/simulator_check.py [--seconds 5] [--attempts 5] [--json FILE]

Each configuration of the grid is served by the local Triton and measured by perf_analyzer; the
same load is then sent to the simulator. A point agrees where throughput and p99 latency
both are within 10 %. The exit code is 1 where one does not.

The simulator knows nothing of other work on this machine, and a p99 of a few hundred requests
rests on the three slowest. So a thread that only sleeps records how late it wakes during each
real run. A run that was disturbed is measured again, up to ``--attempts`` times, and the run that
was disturbed least counts. Which run counts never depends on what it measured. Where others
use the machine too, run it with real-time priority (as root, before the command: `chrt -r 1`):
the load itself needs little of a processor, but needs it at once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from threading import Event, Thread
from time import perf_counter, sleep
from typing import TYPE_CHECKING

import numpy as np
from result_file import Target, add_option, finish

from tuner.load.perf_analyzer import PerfAnalyzer
from tuner.measure.measurement import ClosedLoop, Workload
from tuner.model.config import ModelConfig
from tuner.model.repository import find_model, stage
from tuner.servers.local import LocalServer
from tuner.simulator.adapters import simulated
from tuner.simulator.batcher import SimConfig
from tuner.simulator.cost import FILE_NAME, CostModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner.load.port import LoadGenerator
    from tuner.measure.trace import Trace
    from tuner.servers.port import Server

LIGHT = Path(__file__).parents[1] / "tests" / "models" / "light"
SIZES = (4, 16)
DELAYS_US = (None, 0, 2_000, 10_000)
INSTANCES = (1, 2)
CONCURRENCIES = (1, 4, 16, 48)
TOLERANCE = 0.10
DISCARDED = 0.2
"""The share of a run that is dropped at its start."""
SIMULATED_RUNS = 15
START_S = 60.0
NAP_S = 0.002
NAPS = 99.8
QUIET_MS = 2.0
"""A run is undisturbed if so many per cent of its naps end less than this late. A request lasts
as long as some five naps, and it takes one disturbed request in a hundred to move the p99."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """``max_queue_delay_microseconds`` is None where dynamic batching is off."""

    max_batch_size: int
    max_queue_delay_microseconds: int | None
    instance_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one run; of the simulator, the medians of its runs."""

    throughput_per_s: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of the grid on both sides."""

    configuration: Configuration
    concurrency: int
    real: Figures
    simulated: Figures
    disturbance_ms: float

    @property
    def deviations(self) -> tuple[float, float]:
        """Of throughput and p99: simulated over real, minus 1."""
        return (
            self.simulated.throughput_per_s / self.real.throughput_per_s - 1,
            self.simulated.p99_ms / self.real.p99_ms - 1,
        )

    @property
    def agrees(self) -> bool:
        """Both are within the tolerance."""
        return max(map(abs, self.deviations)) <= TOLERANCE


def main() -> int:
    """Run the grid, print it, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--attempts", type=int, default=5, help="at an undisturbed run")
    add_option(parser)
    arguments = parser.parse_args()
    points = []
    with tempfile.TemporaryDirectory() as folder:
        for point in _grid(Path(folder), arguments.seconds, arguments.attempts):
            points.append(point)
            print(_row(point), flush=True)
    _print_summary([point for point in points if point.disturbance_ms < QUIET_MS], "undisturbed")
    _print_summary(points, "all")
    agreeing = sum(point.agrees for point in points)
    what = f"points of {len(points)} at which throughput and p99 are within {TOLERANCE:.0%}"
    return finish(
        arguments.json,
        [Target(what=what, value=agreeing, low=len(points))],
        settings={"seconds": arguments.seconds, "attempts": arguments.attempts},
        details=[{**asdict(point), "agrees": point.agrees} for point in points],
    )


def _print_summary(points: list[Point], which: str) -> None:
    agreeing = sum(point.agrees for point in points)
    worst = [max((abs(point.deviations[side]) for point in points), default=0) for side in (0, 1)]
    print(
        f"{which}: {agreeing} of {len(points)} points agree within {TOLERANCE:.0%}; "
        f"worst throughput {worst[0]:.1%}, worst p99 {worst[1]:.1%}"
    )


def _grid(folder: Path, duration_s: float, attempts: int) -> Iterator[Point]:
    cost = CostModel.read(LIGHT / FILE_NAME)
    simulation = simulated(cost, 0, read_config=_read_config)
    load = PerfAnalyzer(study=folder, cache=folder / "cache")
    server = LocalServer(study=folder)
    for size, delay_us, instances in product(SIZES, DELAYS_US, INSTANCES):
        if delay_us is None and size != SIZES[0]:
            continue  # without dynamic batching the size changes nothing
        configuration = Configuration(
            max_batch_size=size, max_queue_delay_microseconds=delay_us, instance_count=instances
        )
        repository = _stage(configuration, folder)
        with (
            _serving(server, repository) as send_real,
            _serving(simulation.server, repository) as send_simulated,
        ):
            for concurrency in CONCURRENCIES:
                real, disturbance_ms = _undisturbed(
                    partial(send_real, load, concurrency, duration_s), attempts
                )
                runs = [
                    send_simulated(simulation.load, concurrency, duration_s)
                    for _ in range(SIMULATED_RUNS)
                ]
                yield Point(
                    configuration=configuration,
                    concurrency=concurrency,
                    real=real,
                    simulated=_medians(runs),
                    disturbance_ms=disturbance_ms,
                )


def _stage(configuration: Configuration, folder: Path) -> Path:
    model = find_model(str(LIGHT), LIGHT.parent)
    config = model.config.with_params(
        {
            "max_batch_size": configuration.max_batch_size,
            "dynamic_batching": configuration.max_queue_delay_microseconds is not None,
            "max_queue_delay_microseconds": configuration.max_queue_delay_microseconds or 0,
            "instance_count": configuration.instance_count,
        },
        kind="KIND_CPU",
    )
    return stage(model, config, folder / "repository")


def _read_config(path: Path) -> SimConfig:
    config = ModelConfig.read(path)
    return SimConfig(
        max_batch_size=config.max_batch_size,
        dynamic_batching=config.dynamic_batching,
        max_queue_delay_microseconds=config.max_queue_delay_microseconds,
        instances=config.instance_count,
    )


@contextmanager
def _serving(
    server: Server, repository: Path
) -> Iterator[Callable[[LoadGenerator, int, float], Figures]]:
    """Serve, and hand out how to send load: (generator, concurrency, duration_s) → figures."""
    folder = Path(tempfile.mkdtemp(dir=repository.parent))
    with server.serving(
        repository=repository, model=LIGHT.name, log=folder / "server.log", deadline_s=START_S
    ) as endpoint:

        def send(load: LoadGenerator, concurrency: int, duration_s: float) -> Figures:
            trace = load.run(
                grpc=endpoint.grpc,
                model=LIGHT.name,
                workload=Workload(load=ClosedLoop(concurrency=concurrency)),
                duration_s=duration_s,
                folder=folder,
            )
            return _figures(trace)

        yield send


def _undisturbed(measure: Callable[[], Figures], attempts: int) -> tuple[Figures, float]:
    """The figures of the run that was disturbed least, and by how many ms it was."""
    best: tuple[Figures, float] | None = None
    for _ in range(attempts):
        with _napping() as late_ms:
            figures = measure()
        disturbance_ms = float(np.percentile(late_ms, NAPS))
        if best is None or disturbance_ms < best[1]:
            best = figures, disturbance_ms
        if disturbance_ms < QUIET_MS:
            break
    assert best is not None, "at least one attempt"
    return best


@contextmanager
def _napping() -> Iterator[list[float]]:
    """Sleep again and again in a thread; the list fills with how late each nap ended, in ms."""
    late_ms: list[float] = []
    over = Event()

    def nap() -> None:
        while not over.is_set():
            began_s = perf_counter()
            sleep(NAP_S)
            late_ms.append((perf_counter() - began_s - NAP_S) * 1e3)

    thread = Thread(target=nap)
    thread.start()
    try:
        yield late_ms
    finally:
        over.set()
        thread.join()


def _medians(runs: list[Figures]) -> Figures:
    return Figures(
        throughput_per_s=float(np.median([run.throughput_per_s for run in runs])),
        p99_ms=float(np.median([run.p99_ms for run in runs])),
    )


def _figures(trace: Trace) -> Figures:
    first = int(len(trace.sent_ns) * DISCARDED)
    done_ns = np.sort(trace.done_ns)[first:]
    return Figures(
        throughput_per_s=float((len(done_ns) - 1) / (done_ns[-1] - done_ns[0]) * 1e9),
        p99_ms=float(np.percentile(trace.latency_ms[first:], 99)),
    )


def _row(point: Point) -> str:
    configuration, deviations = point.configuration, point.deviations
    delay_us = configuration.max_queue_delay_microseconds
    return (
        f"size {configuration.max_batch_size:3}  "
        f"delay {'off' if delay_us is None else delay_us:>6}  "
        f"instances {configuration.instance_count}  concurrency {point.concurrency:3}  "
        f"real {point.real.throughput_per_s:7.1f}/s {point.real.p99_ms:7.1f} ms  "
        f"simulated {point.simulated.throughput_per_s:7.1f}/s {point.simulated.p99_ms:7.1f} ms  "
        f"{deviations[0]:+6.1%} {deviations[1]:+6.1%}  disturbed {point.disturbance_ms:4.1f} ms"
        f"{'' if point.agrees else '  DIFFERS'}"
    )


if __name__ == "__main__":
    sys.exit(main())
