"""The metrics: what each is called, which way is better, and where it is read from.

This table is the only place that knows. A new metric is one more row.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from tuner.errors import UsageError
from tuner.measure.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuner.measure.measurement import Measurement

Goal: TypeAlias = Literal["maximize", "minimize"]

_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number of a Measurement.

    Attributes:
        key: how it is stored and typed, unit included.
        header: over its column in tables.
        unit: of the value that ``read`` gives.
        goal: which way is better.
        read: the value; an Estimate where it has an interval, None where it was not measured.
        aliases: what else a user may type.
        may_be_zero: whether a served model can reach 0, so that 0 makes sense as a limit.
        read_rough: the rough value of a percentile that could not be bounded; None where the
            metric has no such thing.
    """

    key: str
    header: str
    unit: str
    goal: Goal
    read: Callable[[Measurement], Estimate | float | None]
    aliases: tuple[str, ...] = ()
    may_be_zero: bool = False
    read_rough: Callable[[Measurement], float | None] | None = None

    def value(self, measurement: Measurement) -> float | None:
        """Read the point value, without its interval."""
        match self.read(measurement):
            case Estimate(value=value):
                return value
            case number:
                return number

    def rough(self, measurement: Measurement) -> float | None:
        """Read the rough value, where the metric could not be bounded and there is one."""
        if self.read_rough is None or self.read(measurement) is not None:
            return None
        return self.read_rough(measurement)


def _gpu_utilization_pct(measurement: Measurement) -> float | None:
    seen = [gpu.utilization_pct for gpu in measurement.gpus if gpu.utilization_pct is not None]
    return sum(seen) / len(seen) if seen else None


def _gpu_memory_peak_mb(measurement: Measurement) -> float | None:
    seen = [gpu.memory_peak_bytes for gpu in measurement.gpus if gpu.memory_peak_bytes is not None]
    return sum(seen) / _MB if seen else None


def _gpu_power_w(measurement: Measurement) -> float | None:
    seen = [gpu.power_w for gpu in measurement.gpus if gpu.power_w is not None]
    return sum(seen) if seen else None


def _cpu_pct(measurement: Measurement) -> float | None:
    return measurement.host.cpu_pct if measurement.host else None


def _host_memory_peak_mb(measurement: Measurement) -> float | None:
    return measurement.host.memory_peak_bytes / _MB if measurement.host else None


def _row(
    goal: Goal,
    key: str,
    header: str,
    read: Callable[[Measurement], Estimate | float | None],
    *aliases: str,
    may_be_zero: bool = False,
    read_rough: Callable[[Measurement], float | None] | None = None,
) -> Metric:
    unit = header[header.rindex("(") + 1 : -1]
    return Metric(
        key=key,
        header=header,
        unit=unit,
        goal=goal,
        read=read,
        aliases=aliases,
        may_be_zero=may_be_zero,
        read_rough=read_rough,
    )


_MAX: Goal = "maximize"
_MIN: Goal = "minimize"

_ROWS = (
    _row(_MAX, "throughput_per_s", "Throughput (infer/sec)", lambda m: m.throughput_per_s, "rate"),
    _row(
        _MIN, "latency_mean_ms", "Client Response Wait (ms)", lambda m: m.latency.mean_ms, "mean"
    ),
    _row(
        _MIN,
        "latency_p50_ms",
        "p50 Latency (ms)",
        lambda m: m.latency.p50_ms,
        "p50",
        "median",
        read_rough=lambda m: m.latency.p50_rough_ms,
    ),
    _row(
        _MIN,
        "latency_p90_ms",
        "p90 Latency (ms)",
        lambda m: m.latency.p90_ms,
        "p90",
        read_rough=lambda m: m.latency.p90_rough_ms,
    ),
    _row(
        _MIN,
        "latency_p95_ms",
        "p95 Latency (ms)",
        lambda m: m.latency.p95_ms,
        "p95",
        read_rough=lambda m: m.latency.p95_rough_ms,
    ),
    _row(
        _MIN,
        "latency_p99_ms",
        "p99 Latency (ms)",
        lambda m: m.latency.p99_ms,
        "p99",
        "latency",
        read_rough=lambda m: m.latency.p99_rough_ms,
    ),
    _row(
        _MIN,
        "queue_ms",
        "Server Queue (ms)",
        lambda m: m.server.queue_ms if m.server else None,
        may_be_zero=True,
    ),
    _row(
        _MIN,
        "compute_input_ms",
        "Server Compute Input (ms)",
        lambda m: m.server.compute_input_ms if m.server else None,
        may_be_zero=True,
    ),
    _row(
        _MIN,
        "compute_infer_ms",
        "Server Compute Infer (ms)",
        lambda m: m.server.compute_infer_ms if m.server else None,
        "compute",
    ),
    _row(
        _MIN,
        "compute_output_ms",
        "Server Compute Output (ms)",
        lambda m: m.server.compute_output_ms if m.server else None,
        may_be_zero=True,
    ),
    _row(_MAX, "gpu_utilization_pct", "Average GPU Utilization (%)", _gpu_utilization_pct),
    _row(_MIN, "gpu_memory_peak_mb", "Max GPU Memory Usage (MB)", _gpu_memory_peak_mb),
    _row(_MIN, "gpu_power_w", "GPU Power (W)", _gpu_power_w, "power"),
    _row(_MIN, "cpu_pct", "Server CPU (% of a core)", _cpu_pct),
    _row(_MIN, "host_memory_peak_mb", "Max Host Memory Usage (MB)", _host_memory_peak_mb),
    _row(
        _MIN,
        "errors",
        "Failed Requests (requests)",
        lambda m: float(m.errors),
        may_be_zero=True,
    ),
)

METRICS: Mapping[str, Metric] = MappingProxyType({row.key: row for row in _ROWS})
"""Key → metric, in the order of a detail table's columns."""


def metric(name: str) -> Metric:
    """Look a metric up as a user types it.

    Args:
        name: a key, a key without its unit, or an alias; case and ``-`` for ``_`` do not matter.

    Raises:
        UsageError: there is none of that name; the nearest ones are in the message.
    """
    names = {other: row for row in _ROWS for other in _names(row)}
    typed = name.strip().lower().replace("-", "_")
    if typed in names:
        return names[typed]
    near = list(dict.fromkeys(names[hit].key for hit in difflib.get_close_matches(typed, names)))
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise UsageError(f"There is no metric {name!r}. {hint}The metrics are {', '.join(METRICS)}.")


def _names(row: Metric) -> tuple[str, ...]:
    for unit in ("_per_s", "_ms", "_pct", "_mb", "_w"):
        if row.key.endswith(unit):
            return (row.key, row.key.removesuffix(unit), *row.aliases)
    return (row.key, *row.aliases)
