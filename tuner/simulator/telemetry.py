"""What Triton's statistics and NVML would tell of a simulated server."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.measure.measurement import BatchTime, GpuUse, ServerTime
from tuner.telemetry.port import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tuner.simulator.cost import CostModel
    from tuner.simulator.world import Started, World

GPU_UUID = "SIM-GPU-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counters:
    """A server's statistics at one moment."""

    now_ms: float
    batches: Mapping[int, tuple[float, float]]
    requests: int
    queue_ms: float
    compute_ms: float


class SimulatedTelemetry:
    """What Triton's statistics and NVML would tell."""

    def __init__(self, world: World) -> None:
        self._world = world

    @contextmanager
    def sampling(
        self,
        *,
        http: str,
        model: str,  # noqa: ARG002 - the port's; a simulated server has one model
        pid: int | None,  # noqa: ARG002 - the port's; there is no process
    ) -> Iterator[Callable[[], Reading]]:
        """Watch from entry to exit; a server that is not up has an empty reading."""
        started = self._world.find(http)
        if started is None:
            yield lambda: Reading(server=None, batches=(), gpus=(), host=None)
            return
        before = _counters(started)
        yield lambda: self._reading(started, before)

    def rest(self, *, deadline_s: float) -> None:
        """Return at once: simulated servers give their memory back when they end."""

    def describe(self) -> Mapping[str, str]:
        """There is no machine to describe."""
        return {"device": "simulated"}

    def _reading(self, started: Started, before: _Counters) -> Reading:
        after = _counters(started)
        batches: list[BatchTime] = []
        for size, (number, total_ms) in sorted(after.batches.items()):
            old_number, old_ms = before.batches.get(size, (0, 0.0))
            if count := int(number - old_number):
                mean_ms = (total_ms - old_ms) / count
                batches.append(BatchTime(size=size, count=count, compute_ms=mean_ms))
        return Reading(
            server=_server_time(before, after, self._world.cost),
            batches=tuple(batches),
            gpus=self._gpus(started, batches, after.now_ms - before.now_ms),
            host=None,
        )

    def _gpus(
        self, started: Started, batches: list[BatchTime], elapsed_ms: float
    ) -> tuple[GpuUse, ...]:
        cost, config = self._world.cost, started.config
        if cost.memory_total_bytes is None:
            return ()
        busy_ms = cost.gpu_share * sum(batch.count * batch.compute_ms for batch in batches)
        return (
            GpuUse(
                uuid=GPU_UUID,
                utilization_pct=min(100.0, 100 * busy_ms / elapsed_ms) if elapsed_ms else None,
                memory_peak_bytes=cost.memory_bytes(
                    instances=config.instances, rows=max(1, config.max_batch_size)
                ),
                memory_total_bytes=cost.memory_total_bytes,
                power_w=None,
            ),
        )


def _counters(started: Started) -> _Counters:
    usage = started.device.usage
    return _Counters(
        now_ms=started.device.now_ms,
        batches={size: (number, total) for size, (number, total) in usage.batches.items()},
        requests=usage.requests,
        queue_ms=usage.queue_ms,
        compute_ms=usage.compute_ms,
    )


def _server_time(before: _Counters, after: _Counters, cost: CostModel) -> ServerTime | None:
    requests = after.requests - before.requests
    if not requests:
        return None
    return ServerTime(
        queue_ms=(after.queue_ms - before.queue_ms) / requests,
        compute_input_ms=0.0,
        compute_infer_ms=(after.compute_ms - before.compute_ms) / requests,
        compute_output_ms=cost.batch_overhead_ms + cost.request_overhead_ms,
    )
