"""How often do the 95 % intervals hold the truth?

    python benchmarks/calibration.py [--runs 200] [--json FILE]

Each service is simulated once for long, which gives the truth, and then in many short runs. A run
goes through what a real one goes through: warm-up and drain are cut off, intervals are made, and
we count in how many runs they hold the truth. A good 95 % interval does so in 93 to 97 %.

The services differ in concurrency, instances, batching and in whether the noise of one batch is
carried into the next. Three of them are there to show a limit: several instances that share
too few requests for their batches settle into one of several rhythms and keep it for
thousands of batches. One run sees one rhythm, and no interval from it can hold the mean over
all. There the interval is taken over five fresh runs instead, as the tuner's proof does.
"""

from __future__ import annotations

import argparse
import heapq
import math
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from result_file import Target, add_option, finish

from tuner.measure.stationarity import split_warm_up
from tuner.measure.statistics import latency, throughput
from tuner.measure.student import t_quantile
from tuner.measure.trace import Trace

if TYPE_CHECKING:
    from tuner.measure.estimate import Estimate

FRESH_RUNS = 5
METRICS = ("throughput", "p50", "p99")


@dataclass(frozen=True, kw_only=True)
class Service:
    """A batching server under a closed loop: a batch of b takes ``10 + b`` ms, times noise.

    Attributes:
        concurrency: clients.
        instances: batches that run at once.
        max_batch: largest batch.
        carry: lag-1 correlation of the logarithm of the noise from batch to batch.
        requests: length of a run.
        noise: standard deviation of the logarithm of the service time.
        settles: the rhythm of a run depends on its start; judged over fresh runs.
    """

    concurrency: int
    instances: int
    max_batch: int
    requests: int
    carry: float = 0.0
    noise: float = 0.05
    settles: bool = False

    @property
    def name(self) -> str:
        """Name the service in a table."""
        carry = f" carry {self.carry}" if self.carry else ""
        return f"c={self.concurrency} {self.instances}x{self.max_batch}{carry}"


SERVICES = (
    Service(concurrency=1, instances=1, max_batch=1, requests=2000),
    Service(concurrency=1, instances=1, max_batch=1, requests=6000, carry=0.7),
    Service(concurrency=8, instances=1, max_batch=1, requests=6000),
    Service(concurrency=8, instances=1, max_batch=8, requests=8000),
    Service(concurrency=8, instances=2, max_batch=1, requests=4000),
    Service(concurrency=8, instances=3, max_batch=1, requests=6000),
    Service(concurrency=8, instances=3, max_batch=1, requests=12000, carry=0.7),
    Service(concurrency=32, instances=1, max_batch=1, requests=20000),
    Service(concurrency=32, instances=1, max_batch=8, requests=20000),
    Service(concurrency=32, instances=1, max_batch=8, requests=40000, carry=0.7),
    Service(concurrency=32, instances=1, max_batch=32, requests=40000),
    Service(concurrency=32, instances=2, max_batch=8, requests=20000),
    Service(concurrency=32, instances=3, max_batch=1, requests=10000),
    Service(concurrency=32, instances=3, max_batch=8, requests=40000),
    Service(concurrency=8, instances=2, max_batch=8, requests=4000, settles=True),
    Service(concurrency=32, instances=2, max_batch=32, requests=4000, settles=True),
    Service(concurrency=32, instances=3, max_batch=32, requests=4000, settles=True),
)


def simulate(service: Service, requests: int, rng: np.random.Generator) -> Trace:
    """Run one closed loop of so many requests; times start at 0 with a cold queue."""
    sent, done = np.empty(requests), np.empty(requests)
    waiting = [(0.01 * i, i) for i in range(min(service.concurrency, requests))]
    sent[: len(waiting)] = [at for at, _ in waiting]
    following = len(waiting)
    free = [0.0] * service.instances
    fresh = rng.standard_normal(requests)
    state, batches = 0.0, 0
    while waiting:
        start = max(heapq.heappop(free), waiting[0][0])
        batch: list[int] = []
        while waiting and waiting[0][0] <= start and len(batch) < service.max_batch:
            batch.append(heapq.heappop(waiting)[1])
        innovation = math.sqrt(1 - service.carry**2) * fresh[batches]
        state = service.carry * state + innovation
        batches += 1
        end = start + (10 + len(batch)) * math.exp(service.noise * state - service.noise**2 / 2)
        heapq.heappush(free, end)
        for place, request in enumerate(batch):
            # Answers are written one after the other, and the client needs a moment to go on.
            done[request] = end + 0.005 * (place + 1)
            if following < requests:
                sent[following] = done[request] + 0.02
                heapq.heappush(waiting, (float(sent[following]), following))
                following += 1
    order = np.argsort(sent, kind="stable")
    return Trace(
        sent_ns=(sent[order] * 1e6).astype(np.int64),
        done_ns=(done[order] * 1e6).astype(np.int64),
        failed=np.zeros(requests, dtype=np.bool_),
    )


@dataclass
class Tally:
    """What the intervals of one metric came to."""

    truth: float
    runs: int = 0
    refused: int = 0
    covered: int = 0
    widths: list[float] = field(default_factory=list)

    def add(self, interval: tuple[float, float, float] | None) -> None:
        """Count one interval (low, value, high), or a refusal."""
        self.runs += 1
        if interval is None:
            self.refused += 1
            return
        low, value, high = interval
        self.covered += low <= self.truth <= high
        self.widths.append((high - low) / 2 / value)

    def summary(self) -> dict[str, float | None]:
        """Coverage of the intervals that were given, in per cent, and their mean half-width."""
        given = self.runs - self.refused
        return {
            "truth": self.truth,
            "given_pct": 100 * given / self.runs,
            "coverage_pct": 100 * self.covered / given if given else None,
            "half_width_pct": 100 * float(np.mean(self.widths)) if given else None,
        }


def interval(estimate: Estimate | None) -> tuple[float, float, float] | None:
    """Bring an estimate into the form that a Tally counts."""
    return None if estimate is None else (estimate.low, estimate.value, estimate.high)


def over_runs(values: list[float]) -> tuple[float, float, float]:
    """Student's t interval over the values of fresh runs."""
    mean = float(np.mean(values))
    half = t_quantile(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean - half, mean, mean + half


def points(trace: Trace) -> dict[str, float]:
    """Point values of one run, without intervals."""
    rate = (len(trace.done_ns) - 1) / (np.ptp(trace.done_ns) / 1e9)
    p50, p99 = np.quantile(trace.latency_ms, (0.5, 0.99))
    return {"throughput": float(rate), "p50": float(p50), "p99": float(p99)}


def truth(service: Service, rng: np.random.Generator, scale: int) -> dict[str, float]:
    """Values of the service itself: from long runs, or from many where a run keeps its rhythm."""
    long = (4, 10_000 * scale)
    pieces, length = (20 * scale, service.requests) if service.settles else long
    found = [points(split_warm_up(simulate(service, length, rng))[0]) for _ in range(pieces)]
    return {name: float(np.mean([one[name] for one in found])) for name in METRICS}


def calibrate(service: Service, runs: int, rng: np.random.Generator) -> dict[str, Tally]:
    """Count how often the intervals of so many runs hold the truth."""
    tallies = {name: Tally(value) for name, value in truth(service, rng, scale=30).items()}
    for _ in range(runs):
        if service.settles:
            fresh = [
                points(split_warm_up(simulate(service, service.requests, rng))[0])
                for _ in range(FRESH_RUNS)
            ]
            for name, tally in tallies.items():
                tally.add(over_runs([one[name] for one in fresh]))
            continue
        steady, _ = split_warm_up(simulate(service, service.requests, rng))
        times = latency(steady)
        tallies["throughput"].add(interval(throughput(steady)))
        tallies["p50"].add(interval(times.p50_ms))
        tallies["p99"].add(interval(times.p99_ms))
    return tallies


def print_row(service: Service, tallies: dict[str, Tally]) -> None:
    """Print one line of the table: coverage, half-width, and how often one was given."""
    cells = []
    for name in METRICS:
        tally = tallies[name]
        given = tally.runs - tally.refused
        width = 100 * float(np.mean(tally.widths)) if given else math.nan
        coverage = 100 * tally.covered / given if given else math.nan
        cells.append(f"{coverage:5.1f} ±{width:4.1f} {given:4d}")
    over = f"{FRESH_RUNS} runs" if service.settles else "1 run"
    print(f"{service.name:24} {service.requests:6d} {over:7} " + " | ".join(cells), flush=True)


def pooled(results: list[tuple[Service, dict[str, Tally]]], name: str) -> float:
    """Coverage over all services whose rhythm one run sees, in per cent."""
    tallies = [found[name] for service, found in results if not service.settles]
    given = sum(tally.runs - tally.refused for tally in tallies)
    return 100 * sum(tally.covered for tally in tallies) / given if given else math.nan


def main() -> int:
    """Print the table and return the exit code."""
    parser = argparse.ArgumentParser(description="Coverage of the nominal 95 % intervals.")
    parser.add_argument("--runs", type=int, default=200, help="runs of each service")
    parser.add_argument("--seed", type=int, default=1)
    add_option(parser)
    arguments = parser.parse_args()
    heads = " | ".join(f"{name:>10} cov ±% n" for name in METRICS)
    print(f"{'service':24} {'reqs':>6} {'over':7} {heads}")
    results = []
    for index, service in enumerate(SERVICES):
        rng = np.random.default_rng([arguments.seed, index])
        tallies = calibrate(service, arguments.runs, rng)
        results.append((service, tallies))
        print_row(service, tallies)
    return finish(
        arguments.json,
        [
            Target(what=f"coverage of {name} from one run, %", value=share, low=93, high=97)
            for name in METRICS
            if (share := pooled(results, name))
        ],
        settings={"runs": arguments.runs, "seed": arguments.seed},
        details=[
            {"service": asdict(service), **{name: one.summary() for name, one in tallies.items()}}
            for service, tallies in results
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
