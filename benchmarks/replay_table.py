"""A table of measured levels, to be searched as if it were a server."""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import numpy as np

from tuner.measure.estimate import Estimate
from tuner.measure.measurement import ClosedLoop, GpuUse, Latency, Measurement, Workload
from tuner.search.port import Seen
from tuner.space.knobs import Knob, SearchSpace
from tuner.space.triton import INSTANCE_COUNT, MAX_BATCH_SIZE, MAX_QUEUE_DELAY_US

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.measure.record import Params

COLUMNS = (
    MAX_BATCH_SIZE,
    INSTANCE_COUNT,
    MAX_QUEUE_DELAY_US,
    "concurrency",
    "throughput_per_s",
    "p99_ms",
    "gpu_memory_mb",
    "status",
)
KNOBS = (MAX_BATCH_SIZE, INSTANCE_COUNT, MAX_QUEUE_DELAY_US)
GROWTH = 1.02
WORST_VIOLATION = 10.0

Key: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One measured level; a p99 that was not measured keeps no limit."""

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
        rows = read(path)
        self.names = tuple(name for name in KNOBS if len({row[name] for row in rows}) > 1)
        self.levels: dict[Key, dict[int, Level]] = {}
        for row in rows:
            levels = self.levels.setdefault(tuple(whole(row[name]) for name in self.names), {})
            if row["status"] == "ok" and float(row["throughput_per_s"]) > 0:
                levels[whole(row["concurrency"])] = level(row)
        self.constant = {name: whole(rows[0][name]) for name in KNOBS if name not in self.names}
        self.loads = sorted({load for levels in self.levels.values() for load in levels}) or [1]
        self.best = max((self._score(one) for one in self._all()), default=0.0)
        """0 where nothing keeps the limit."""
        self._lowest = {name: min(k[i] for k in self.levels) for i, name in enumerate(self.names)}
        self._trials: dict[tuple[Key, int | None], Seen] = {}

    def space(self, seed: int) -> SearchSpace:
        """Its configurations, starting from one that the seed draws."""
        knobs = tuple(
            Knob(name=name, values=tuple(sorted({key[place] for key in self.levels})))
            for place, name in enumerate(self.names)
        )
        served = [key for key in self.levels if self.levels[key]] or list(self.levels)
        starts = [key for key in served if self._untuned(key)] or served
        start = starts[np.random.default_rng(seed).integers(len(starts))]
        return SearchSpace(
            knobs=knobs, rules=(self._nearest,), default=dict(zip(self.names, start, strict=True))
        )

    def trial(self, params: Params, start: int | None = None) -> Seen:
        """Measure a configuration; the same answer each time.

        Args:
            params: the configuration.
            start: requests in flight at which to begin; None where nobody knows better than to
                begin with one, and what fills the instances.
        """
        key = self._key(params)
        if (key, start) not in self._trials:
            self._trials[key, start] = self._measure(key, params, start)
        return self._trials[key, start]

    def found(self, seen: Seen) -> float:
        """A trial's value as a fraction of the table's best; 0 where it is not feasible."""
        keeps = seen.value is not None and seen.violation <= 0 < self.best
        return seen.value / self.best if keeps and seen.value is not None else 0.0

    @property
    def out_of_memory(self) -> float:
        """The share of its configurations that do not load."""
        return sum(not levels for levels in self.levels.values()) / len(self.levels)

    def binding_limit_ms(self) -> float:
        """A p99 limit that binds and that something keeps.

        20 % above the lowest p99 at which half of the highest throughput can be had.
        """
        half = 0.5 * max(one.throughput_per_s for one in self._all())
        lowest = min(one.p99_ms for one in self._all() if one.throughput_per_s >= half)
        return float(f"{1.2 * lowest:.3g}")

    def _all(self) -> Iterator[Level]:
        return (one for levels in self.levels.values() for one in levels.values())

    def _measure(self, key: Key, params: Params, start: int | None) -> Seen:
        if not self.levels[key]:
            return Seen(params=params, value=None, rejected=True)
        asked = self._ladder(key, start)
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
            violation=min(nearest.p99_ms / self.p99_ms - 1, WORST_VIOLATION),
            levels=levels,
        )

    def _full(self, key: Key) -> int:
        """Requests that a configuration can execute at once."""
        knobs = {**self.constant, **dict(zip(self.names, key, strict=True))}
        return max(1, knobs[MAX_BATCH_SIZE]) * max(1, knobs[INSTANCE_COUNT])

    def _ladder(self, key: Key, start: int | None) -> list[int]:
        """The loads that a trial asks for: where to begin, doubling while it pays, bisecting.

        Where nobody says where to begin, that is with one request and then what fills the
        instances. Where a limit is broken there, half of it is next, and then one request.
        """
        have = sorted(self.levels[key])
        scores = [self._score(self.levels[key][load]) for load in have]
        wanted = self._full(key) if start is None else start
        place = min(range(len(have)), key=lambda i: abs(math.log(have[i] / wanted)))
        asked = [0, place] if start is None else [place]
        if start is not None and scores[place] == 0:
            asked += [max(0, place - 1)] if scores[max(0, place - 1)] else [max(0, place - 1), 0]
        last = scores[place]
        for above in range(place + 1, len(have) if last or start is None else 0):
            asked.append(above)
            if scores[above] < GROWTH * last:
                break
            last = scores[above]
        # Between the highest load that keeps the limit and the lowest that does not.
        while True:
            kept = [i for i in asked if scores[i] > 0]
            broken = [i for i in asked if scores[i] == 0]
            if not kept or not broken or min(broken) - max(kept) < 2:
                break
            asked.append((max(kept) + min(broken)) // 2)
        return [have[i] for i in dict.fromkeys(asked)]

    def _score(self, level: Level) -> float:
        kept = self.p99_ms is None or level.p99_ms <= self.p99_ms
        return level.throughput_per_s if kept else 0.0

    def _untuned(self, key: Key) -> bool:
        knobs = {**self.constant, **dict(zip(self.names, key, strict=True))}
        lowest = self._lowest
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


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table.

    Raises:
        SystemExit: with status 2; it is no table of levels, as stderr says.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = []
            for row in reader:
                check(row, f"{path}, line {reader.line_num}")
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "not a CSV file"
        refuse(f"{path} cannot be read ({why}); name a CSV file of measured levels.")
    if not rows:
        refuse(f"{path} has no rows; a table has the columns {', '.join(COLUMNS)}.")
    return rows


def check(row: dict[str, str], where: str) -> None:
    """End the program unless the row has all columns, and in them what belongs there."""
    if missing := [name for name in COLUMNS if row.get(name) is None]:
        refuse(
            f"{where} lacks the column {', '.join(missing)}; "
            f"a table has the columns {', '.join(COLUMNS)}."
        )
    if row["status"] not in {"ok", "oom"}:
        refuse(
            f"{where}, column status: {row['status']!r} is neither ok nor oom; write ok where the "
            "level was measured, oom where the configuration ran out of memory."
        )
    required: tuple[str, ...] = KNOBS
    if row["status"] == "ok":
        required = (*KNOBS, "concurrency", "throughput_per_s")
        for name in ("p99_ms", "gpu_memory_mb"):
            if row[name] and not is_number(row[name], least=0.0):
                refuse(
                    f"{where}, column {name}: {row[name]!r} is not a number; "
                    "write one, or nothing where it was not measured."
                )
    for name in required:
        least = 1.0 if name == "concurrency" else 0.0
        if not is_number(row[name], least=least):
            refuse(
                f"{where}, column {name}: {row[name]!r} is not a number of {least:g} or more; "
                "write what was measured, or leave the row out."
            )


def is_number(text: str, *, least: float) -> bool:
    """Whether it is a finite number of at least that much."""
    try:
        return least <= float(text) < math.inf
    except ValueError:
        return False


def refuse(sentence: str) -> NoReturn:
    """End the program as for a wrong option: the sentence on stderr, status 2."""
    sys.stderr.write(f"{sentence}\n")
    raise SystemExit(2)


def level(row: dict[str, str]) -> Level:
    """The numbers of a row."""
    return Level(
        throughput_per_s=float(row["throughput_per_s"]),
        p99_ms=float(row["p99_ms"] or math.inf),
        memory_mb=float(row["gpu_memory_mb"]) if row["gpu_memory_mb"] else None,
    )


def whole(text: str) -> int:
    """An integer, also where it was written as 8.0."""
    return int(float(text))


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
            p99_ms=exactly(level.p99_ms) if math.isfinite(level.p99_ms) else None,
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
