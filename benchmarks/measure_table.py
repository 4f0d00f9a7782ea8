"""Measure a table for the replay on the real local server: the light test model.

    python benchmarks/measure_table.py [--seconds 1.5] [-o benchmarks/tables/real/light_real.csv]

Serves every configuration of a grid by the local Triton and drives it with perf_analyzer, once a
level; the first 30 % of each run are dropped. The model takes 10 ms and 1 ms a row, and its
instances do not meet. Memory is left empty: it runs on the processor.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from replay_table import COLUMNS

from tuner.load.perf_analyzer import PerfAnalyzer
from tuner.measure.measurement import ClosedLoop, Workload
from tuner.model.repository import find_model, stage
from tuner.servers.local import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.measure.trace import Trace

LIGHT = Path(__file__).parents[1] / "tests" / "models" / "light"
TABLE = Path(__file__).parent / "tables" / "real" / "light_real.csv"
SIZES = (1, 4, 16, 64, 128)
INSTANCES = (1, 2, 3)
DELAYS_US = (0, 5_000)
CONCURRENCIES = (1, 16, 64, 256)
DISCARDED = 0.3
START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A configuration of the grid, in the order of a table's columns."""

    max_batch_size: int
    instance_count: int
    max_queue_delay_microseconds: int


def main() -> None:
    """Measure the grid and write the table, level by level."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=1.5, help="of each run")
    parser.add_argument("-o", type=Path, default=TABLE, metavar="FILE")
    asked = parser.parse_args()
    asked.o.parent.mkdir(parents=True, exist_ok=True)
    with asked.o.open("w", newline="") as file, tempfile.TemporaryDirectory() as folder:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for size, instances, delay_us in product(SIZES, INSTANCES, DELAYS_US):
            configuration = Configuration(
                max_batch_size=size,
                instance_count=instances,
                max_queue_delay_microseconds=delay_us,
            )
            for row in levels(configuration, Path(folder), asked.seconds):
                writer.writerow(row)
                file.flush()
                print(*row, flush=True)


def levels(
    configuration: Configuration, folder: Path, duration_s: float
) -> Iterator[tuple[object, ...]]:
    """Serve a configuration and measure it at each concurrency; one row each."""
    size, delay_us = configuration.max_batch_size, configuration.max_queue_delay_microseconds
    knobs = {
        "max_batch_size": size,
        "dynamic_batching": size > 1,
        "max_queue_delay_microseconds": delay_us if size > 1 else 0,
        "instance_count": configuration.instance_count,
    }
    model = find_model(str(LIGHT), LIGHT.parent)
    config = model.config.with_params(knobs, kind="KIND_CPU")
    load = PerfAnalyzer(study=folder, cache=folder / "cache")
    with ExitStack() as stack:
        evidence = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        endpoint = stack.enter_context(
            LocalServer(study=folder).serving(
                repository=stage(model, config, folder / "repository"),
                model=LIGHT.name,
                log=evidence / "server.log",
                deadline_s=START_S,
            )
        )
        for concurrency in CONCURRENCIES:
            trace = load.run(
                grpc=endpoint.grpc,
                model=LIGHT.name,
                workload=Workload(load=ClosedLoop(concurrency=concurrency)),
                duration_s=duration_s,
                folder=evidence,
            )
            throughput, p99_ms = numbers(trace)
            reading = (f"{throughput:.4g}", f"{p99_ms:.4g}", "", "ok")
            yield size, configuration.instance_count, delay_us, concurrency, *reading


def numbers(trace: Trace) -> tuple[float, float]:
    """Throughput per second and p99 in ms of what is not dropped."""
    first = int(len(trace.sent_ns) * DISCARDED)
    done_ns = np.sort(trace.done_ns)[first:]
    span_s = (done_ns[-1] - done_ns[0]) / 1e9
    return (done_ns.size - 1) / span_s, float(np.percentile(trace.latency_ms[first:], 99))


if __name__ == "__main__":
    main()
