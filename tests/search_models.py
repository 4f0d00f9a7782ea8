"""The light test model as the search sees it: a space, and trials of it without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.measure.estimate import Estimate
from tuner.measure.measurement import (
    BatchTime,
    ClosedLoop,
    GpuUse,
    Latency,
    Measurement,
    Workload,
)
from tuner.search import encoding
from tuner.search.port import Seen
from tuner.space.triton import (
    DYNAMIC_BATCHING,
    INSTANCE_COUNT,
    MAX_BATCH_SIZE,
    MAX_QUEUE_DELAY_US,
    Bounds,
    search_space,
)

if TYPE_CHECKING:
    from tuner.measure.record import Params
    from tuner.space.knobs import SearchSpace

CLIENTS = 512


def triton_space(*, instances: int = 3, batch: int = 128) -> SearchSpace:
    default: Params = {
        DYNAMIC_BATCHING: False,
        MAX_BATCH_SIZE: 8,
        MAX_QUEUE_DELAY_US: 0,
        INSTANCE_COUNT: 1,
    }
    return search_space(default, Bounds(max_batch_size=batch, max_instance_count=instances))


def exactly(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value, n_effective=100.0)


def level(
    params: Params,
    clients: int,
    *,
    memory_gb: float | None = None,
    total_gb: float | None = None,
    shared: bool = False,
) -> Measurement:
    """The light test model under a closed loop: 10 ms + 1 ms a row.

    Instances do not meet, or share one device: then each further one slows all of them down.
    """
    at = encoding.setting([params], [float(clients)], request_rows=1)
    instances = min(at.instances[0], clients)
    rows = min(at.batch[0], max(1.0, clients / (at.instances[0] + 1))) if at.joins[0] else 1.0
    slowed = float(instances) if shared else 1.0
    throughput = 1e3 * instances * rows / (10 + rows) / slowed
    compute_ms = slowed * (10.0 + int(rows))
    return Measurement(
        workload=Workload(load=ClosedLoop(concurrency=clients)),
        throughput_per_s=exactly(throughput),
        latency=Latency(
            mean_ms=exactly(1e3 * clients / throughput),
            p50_ms=None,
            p90_ms=None,
            p95_ms=None,
            p99_ms=exactly(1.2e3 * clients / throughput),
        ),
        server=None,
        batches=(BatchTime(size=max(1, int(rows)), count=50, compute_ms=compute_ms),),
        gpus=()
        if memory_gb is None
        else (
            GpuUse(
                uuid="GPU-0",
                utilization_pct=None,
                memory_peak_bytes=int(memory_gb * 1e9),
                memory_total_bytes=None if total_gb is None else int(total_gb * 1e9),
                power_w=None,
            ),
        ),
        host=None,
        requests=1000,
        errors=0,
        duration_s=1.0,
        discarded_s=0.0,
        caveats=(),
    )


def light(params: Params, *, shared: bool = False) -> Seen:
    """A trial of the light test model."""
    levels = tuple(level(params, clients, shared=shared) for clients in (1, 8, 64, CLIENTS))
    return Seen(
        params=params, value=max(one.throughput_per_s.value for one in levels), levels=levels
    )
