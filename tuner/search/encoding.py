"""Configurations and what was seen of them, as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tuner.measure.measurement import ClosedLoop
from tuner.search.batcher import Executed, Setting
from tuner.search.memory import Loaded
from tuner.space.triton import (
    DYNAMIC_BATCHING,
    INSTANCE_COUNT,
    MAX_BATCH_SIZE,
    MAX_QUEUE_DELAY_US,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.measurement import Measurement
    from tuner.measure.record import Params
    from tuner.search.port import Seen
    from tuner.space.knobs import Knob

Array: TypeAlias = NDArray[np.float64]

_KNOWN = (DYNAMIC_BATCHING, MAX_BATCH_SIZE, MAX_QUEUE_DELAY_US, INSTANCE_COUNT)


def setting(
    configurations: Sequence[Params], rows: Sequence[float], *, request_rows: int
) -> Setting:
    """What the batcher model needs to know of each configuration.

    A knob that the space lacks stands at what Triton does without it, except that dynamic
    batching counts as on: a space with a batch size and no switch is one where it always is.
    """
    batch, instances, delay_us, joins = [], [], [], []
    for params in configurations:
        largest = cast("int", params.get(MAX_BATCH_SIZE, request_rows))
        on = bool(params.get(DYNAMIC_BATCHING, True)) and largest >= 2 * request_rows
        joins.append(on)
        batch.append(largest if on else request_rows)
        instances.append(cast("int", params.get(INSTANCE_COUNT, 1)))
        delay_us.append(cast("int", params.get(MAX_QUEUE_DELAY_US, 0)) if on else 0)
    return Setting(
        batch=np.array(batch, dtype=np.float64),
        instances=np.array(instances, dtype=np.float64),
        delay_ms=np.array(delay_us, dtype=np.float64) / 1e3,
        joins=np.array(joins, dtype=np.bool_),
        rows=np.array(rows, dtype=np.float64),
    )


def capacity(params: Params, *, request_rows: int) -> int:
    """Requests that a configuration can execute at once."""
    at = setting([params], [1.0], request_rows=request_rows)
    return int(at.batch[0] // request_rows * at.instances[0])


def features(
    configurations: Sequence[Params], knobs: Sequence[Knob], *, request_rows: int
) -> Array:
    """Coordinates in which neighbours behave alike, shape (configurations, features)."""
    known = setting(configurations, [1.0] * len(configurations), request_rows=request_rows)
    columns = [
        np.log2(known.batch) / 2,
        np.log2(known.instances),
        np.log10(1 + known.delay_ms * 10) / 3,
        known.joins.astype(np.float64),
    ]
    for knob in knobs:
        if knob.name in _KNOWN:
            continue
        places = np.array([knob.values.index(params[knob.name]) for params in configurations])
        if knob.ordered:
            columns.append(2 * places / max(1, len(knob.values) - 1))
        else:
            columns.extend(
                (places == place).astype(np.float64) for place in range(len(knob.values))
            )
    return np.stack(columns, axis=1)


def levels(history: Sequence[Seen], *, request_rows: int) -> tuple[Setting, Array]:
    """Every closed-loop level that answered, with its throughput in rows per second."""
    found = [
        (seen.params, level.workload.load.concurrency * request_rows, level)
        for seen in history
        for level in seen.levels
        if isinstance(level.workload.load, ClosedLoop) and level.throughput_per_s.value > 0
    ]
    at = setting(
        [params for params, _, _ in found],
        [rows for _, rows, _ in found],
        request_rows=request_rows,
    )
    return at, np.array([level.throughput_per_s.value for _, _, level in found])


def executed(history: Sequence[Seen], *, request_rows: int) -> Executed:
    """The batch size that each level executed most rows in, with its compute time."""
    found = []
    for seen in history:
        at = setting([seen.params], [1.0], request_rows=request_rows)
        for level in seen.levels:
            load = level.workload.load
            if not level.batches or not isinstance(load, ClosedLoop):
                continue
            main = max(level.batches, key=lambda batch: batch.size * batch.count)
            if main.compute_ms > 0:
                busy = min(at.instances[0], max(1.0, load.concurrency * request_rows / main.size))
                found.append((main.size, busy, main.compute_ms))
    table = np.array(found, dtype=np.float64).reshape(-1, 3)
    return Executed(rows=table[:, 0], busy=table[:, 1], compute_ms=table[:, 2])


def tail(history: Sequence[Seen]) -> float:
    """P99 over mean latency, typically."""
    ratios = [
        level.latency.p99_ms.value / level.latency.mean_ms.value
        for seen in history
        for level in seen.levels
        if level.latency.p99_ms is not None and level.latency.mean_ms.value > 0
    ]
    return float(np.median(ratios)) if ratios else 1.2


def loaded(
    history: Sequence[Seen], *, request_rows: int, gpu_limit_bytes: float | None = None
) -> Loaded:
    """What was launched and ended, with its peak memory: the GPU's, without one the host's.

    Of several GPUs the fullest counts; the limit is on all of them together, and so never
    stricter here than it is meant. It says nothing of the host's memory.
    """
    ended = [seen for seen in history if seen.rejected or seen.value is not None]
    at = setting([seen.params for seen in ended], [1.0] * len(ended), request_rows=request_rows)
    memory = np.array([_memory(seen.levels) for seen in ended], dtype=np.float64).reshape(-1, 2)
    on_gpu = any(
        use.memory_peak_bytes for seen in ended for level in seen.levels for use in level.gpus
    )
    return Loaded(
        batch=at.batch,
        instances=at.instances,
        used=memory[:, 0],
        total=memory[:, 1],
        rejected=np.array([seen.rejected for seen in ended], dtype=np.bool_),
        limit=np.inf if gpu_limit_bytes is None or not on_gpu else gpu_limit_bytes,
    )


def _memory(levels: Sequence[Measurement]) -> tuple[float, float]:
    """Used and total bytes; NaN where unknown."""
    gpu = [
        (use.memory_peak_bytes, use.memory_total_bytes or np.nan)
        for level in levels
        for use in level.gpus
        if use.memory_peak_bytes
    ]
    host = [(level.host.memory_peak_bytes, np.nan) for level in levels if level.host]
    return max(gpu or host, default=(np.nan, np.nan))


def logarithm(values: Array) -> Array:
    """On a scale where equal steps are equal shares; values of one sign, larger is better."""
    if (values > 0).all():
        return np.log(values)
    if (values < 0).all():
        return -np.log(-values)
    return np.asarray(values / np.abs(values).max(initial=1e-9))
