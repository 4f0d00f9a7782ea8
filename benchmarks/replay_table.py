"""A table of measured levels, to be searched as if it were a server."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tuner.measure.estimate import Estimate
from tuner.measure.measurement import ClosedLoop, GpuUse, Latency, Measurement, Workload
from tuner.search.port import Seen
from tuner.space.knobs import Knob, SearchSpace
from tuner.space.triton import INSTANCE_COUNT, MAX_BATCH_SIZE, MAX_QUEUE_DELAY_US

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.measure.record import Params

KNOBS = (MAX_BATCH_SIZE, INSTANCE_COUNT, MAX_QUEUE_DELAY_US)
GROWTH = 1.02

Key: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One measured level."""

    throughput_per_s: float
    p99_ms: float
    memory_mb: float | None


class Table:
    """A table, its search space, and what a trial of each configuration comes to.

    Args:
        path: the CSV file.
        p99_ms: the limit, where there is one.
    """

    def __init__(self, path: Path, p99_ms: float | None) -> None:
        self.path = path
        self.p99_ms = p99_ms
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        self.names = tuple(name for name in KNOBS if len({row[name] for row in rows}) > 1)
        self.levels: dict[Key, dict[int, Level]] = {}
        for row in rows:
            levels = self.levels.setdefault(tuple(int(row[name]) for name in self.names), {})
            if row["status"] == "ok":
                levels[int(row["concurrency"])] = Level(
                    throughput_per_s=float(row["throughput_per_s"]),
                    p99_ms=float(row["p99_ms"]),
                    memory_mb=float(row["gpu_memory_mb"]) if row["gpu_memory_mb"] else None,
                )
        self.constant = {name: int(rows[0][name]) for name in KNOBS if name not in self.names}
        self.loads = sorted({load for levels in self.levels.values() for load in levels})
        self.best = max(
            (self._score(level) for levels in self.levels.values() for level in levels.values()),
            default=0.0,
        )
        if self.best <= 0:
            raise SystemExit(f"{path}: no level keeps a p99 of {p99_ms} ms; raise --p99-ms.")
        self._trials: dict[Key, Seen] = {}

    def space(self, seed: int) -> SearchSpace:
        """Its configurations, starting from one that the seed draws."""
        knobs = tuple(
            Knob(name=name, values=tuple(sorted({key[place] for key in self.levels})))
            for place, name in enumerate(self.names)
        )
        starts = [key for key in self.levels if self.levels[key] and self._untuned(key)]
        start = starts[np.random.default_rng(seed).integers(len(starts))]
        return SearchSpace(
            knobs=knobs, rules=(self._nearest,), default=dict(zip(self.names, start, strict=True))
        )

    def trial(self, params: Params) -> Seen:
        """Measure a configuration; the same answer each time."""
        key = self._key(params)
        if key not in self._trials:
            self._trials[key] = self._measure(key, params)
        return self._trials[key]

    def found(self, seen: Seen) -> float:
        """A trial's value as a fraction of the table's best; 0 where it is not feasible."""
        return seen.value / self.best if seen.value is not None and seen.violation <= 0 else 0.0

    def _measure(self, key: Key, params: Params) -> Seen:
        if not self.levels[key]:
            return Seen(params=params, value=None, rejected=True)
        asked = self._ladder(key)
        measured = [self.levels[key][load] for load in asked]
        scores = [self._score(level) for level in measured]
        levels = tuple(
            measurement(load, level) for load, level in zip(asked, measured, strict=True)
        )
        if max(scores) > 0:
            return Seen(params=params, value=max(scores), levels=levels)
        assert self.p99_ms is not None
        nearest = min(measured, key=lambda level: level.p99_ms)
        return Seen(
            params=params,
            value=nearest.throughput_per_s,
            violation=nearest.p99_ms / self.p99_ms - 1,
            levels=levels,
        )

    def _ladder(self, key: Key) -> list[int]:
        """The loads that a trial asks for: 1, what fills the instances, doubling, bisecting."""
        have = sorted(self.levels[key])
        knobs = {**self.constant, **dict(zip(self.names, key, strict=True))}
        full = knobs[MAX_BATCH_SIZE] * knobs[INSTANCE_COUNT]
        place = min(range(len(have)), key=lambda i: abs(math.log(have[i] / full)))
        asked = [0]
        last = self._score(self.levels[key][have[0]])
        while place < len(have):
            asked.append(place)
            now = self._score(self.levels[key][have[place]])
            if now < GROWTH * last and place > asked[0]:
                break
            last, place = now, place + 1
        # Between the highest load that keeps the limit and the lowest that does not.
        while True:
            kept = [i for i in asked if self._score(self.levels[key][have[i]]) > 0]
            broken = [i for i in asked if self._score(self.levels[key][have[i]]) == 0]
            if not kept or not broken or min(broken) - max(kept) < 2:
                break
            asked.append((max(kept) + min(broken)) // 2)
        return [have[i] for i in dict.fromkeys(asked)]

    def _score(self, level: Level) -> float:
        kept = self.p99_ms is None or level.p99_ms <= self.p99_ms
        return level.throughput_per_s if kept else 0.0

    def _untuned(self, key: Key) -> bool:
        knobs = {**self.constant, **dict(zip(self.names, key, strict=True))}
        lowest = {name: min(k[i] for k in self.levels) for i, name in enumerate(self.names)}
        return all(
            knobs[name] == lowest.get(name, knobs[name])
            for name in (INSTANCE_COUNT, MAX_QUEUE_DELAY_US)
        ) and knobs[MAX_BATCH_SIZE] <= max(8, lowest.get(MAX_BATCH_SIZE, 0))

    def _key(self, params: Params) -> Key:
        return tuple(int(params[name]) for name in self.names)

    def _nearest(self, params: Params) -> Params:
        """A configuration that the table lacks stands for the nearest one that it has."""
        key = self._key(params)
        if key not in self.levels:
            key = min(
                self.levels,
                key=lambda other: sum(
                    abs(math.log((1 + a) / (1 + b))) for a, b in zip(key, other, strict=True)
                ),
            )
        return dict(zip(self.names, key, strict=True))


def measurement(load: int, level: Level) -> Measurement:
    """A level of a table in the form in which a trial hands it over."""
    memory = None if level.memory_mb is None else int(level.memory_mb * 1e6)
    return Measurement(
        workload=Workload(load=ClosedLoop(concurrency=load)),
        throughput_per_s=exactly(level.throughput_per_s),
        latency=Latency(
            mean_ms=exactly(1e3 * load / level.throughput_per_s),
            p50_ms=None,
            p90_ms=None,
            p95_ms=None,
            p99_ms=exactly(level.p99_ms),
        ),
        server=None,
        batches=(),
        gpus=(
            GpuUse(
                uuid="table",
                utilization_pct=None,
                memory_peak_bytes=memory,
                memory_total_bytes=None,
                power_w=None,
            ),
        ),
        host=None,
        requests=0,
        errors=0,
        duration_s=0.0,
        discarded_s=0.0,
        caveats=(),
    )


def exactly(value: float) -> Estimate:
    """A number of the table, which has no interval."""
    return Estimate(value=value, low=value, high=value, n_effective=1.0)
