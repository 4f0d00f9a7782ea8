"""What the GPUs do while load runs, from NVIDIA's driver (NVML).

Triton's own GPU metrics read 0 in the embedded server, and NVML tells more: throttled clocks, and
who else is on the GPU. Without a driver there are no GPUs, which is no error.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import pynvml

from tuner.gpus import Gpu
from tuner.measure.measurement import Caveat, GpuUse
from tuner.telemetry.ticker import ticking

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

# The driver averages utilisation over 1/6 s to 1 s itself; four looks a second miss little.
_EVERY_S = 0.25
# A clock that is throttled in less of the samples moves no mean that is reported.
_THROTTLED_SHARE = 0.05
# Being idle, and holding clocks that someone set, are no slowdown.
_THROTTLES = {
    "the power cap": pynvml.nvmlClocksThrottleReasonSwPowerCap,
    "heat": pynvml.nvmlClocksThrottleReasonSwThermalSlowdown
    | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "the power brake": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """What was seen: one entry a GPU, and what to doubt."""

    gpus: tuple[GpuUse, ...] = ()
    caveats: tuple[Caveat, ...] = ()


def gpus() -> tuple[Gpu, ...]:
    """Return all GPUs of this machine in the driver's order; empty without a driver."""
    with _devices(None) as devices:
        return tuple(device.gpu for device in devices)


def driver_version() -> str | None:
    """Return the version of NVIDIA's driver; None where there is none."""
    with _opened() as is_there:
        return str(pynvml.nvmlSystemGetDriverVersion()) if is_there else None


def memory_used_bytes(uuids: Collection[str] | None) -> dict[str, int]:
    """Memory in use on each of these GPUs, by UUID; without those that do not tell.

    Args:
        uuids: which ones; None for all.
    """
    with _devices(uuids) as devices:
        seen = {
            device.gpu.uuid: _or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(device.handle).used)  # noqa: B023 - called at once
            for device in devices
        }
    return {uuid: int(used) for uuid, used in seen.items() if used is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSampler:
    """Watches GPUs.

    Attributes:
        uuids: which ones; None for every one that the driver shows.
        server_pid: the server's first process on this host, by which others are told from it;
            None looks for no others.
    """

    uuids: Collection[str] | None = None
    server_pid: int | None = None

    @contextmanager
    def sampling(self) -> Iterator[GpuReader]:
        """Watch from entry to exit."""
        with _devices(self.uuids) as devices:
            reader = GpuReader(devices=devices, server_pid=self.server_pid)
            if not devices:
                yield reader
                return
            reader.look_for_others()
            with ticking(reader.sample, every_s=_EVERY_S):
                yield reader
            reader.look_for_others()


@dataclass(slots=True, kw_only=True)
class GpuReader:
    """What was seen."""

    devices: Sequence[_Device]
    server_pid: int | None

    def sample(self) -> None:
        """Look once at every GPU."""
        for device in self.devices:
            device.sample()

    def look_for_others(self) -> None:
        """Note processes on the GPUs that are not the server's."""
        if self.server_pid is not None:
            own = _tree(self.server_pid)
            for device in self.devices:
                device.look_for_others(own)

    def use(self) -> GpuReading:
        """Return means and peaks until the last sample."""
        return GpuReading(
            gpus=tuple(device.use() for device in self.devices),
            caveats=tuple(caveat for device in self.devices for caveat in device.caveats()),
        )


@dataclass(slots=True, kw_only=True)
class _Device:
    """One GPU and the samples of it. What it does not support stays empty."""

    handle: Any
    gpu: Gpu
    utilization_pct: list[float] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    power_w: list[float] = field(default_factory=list)
    throttles: list[int] = field(default_factory=list)
    others: set[int] = field(default_factory=set)

    def sample(self) -> None:
        handle = self.handle
        _note(self.utilization_pct, lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        _note(self.memory_bytes, lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        _note(self.power_w, lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)
        _note(self.throttles, lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))

    def look_for_others(self, own: frozenset[int]) -> None:
        seen = _or_none(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(self.handle)) or []
        # In a container the driver may tell numbers of the host, which mean nothing here.
        self.others |= {
            process.pid
            for process in seen
            if process.pid not in own and psutil.pid_exists(process.pid)
        }

    def use(self) -> GpuUse:
        return GpuUse(
            uuid=self.gpu.uuid,
            utilization_pct=fmean(self.utilization_pct) if self.utilization_pct else None,
            memory_peak_bytes=max(self.memory_bytes, default=None),
            memory_total_bytes=self.gpu.memory_total_bytes,
            power_w=fmean(self.power_w) if self.power_w else None,
        )

    def caveats(self) -> Iterator[Caveat]:
        for reason, bits in _THROTTLES.items():
            throttled = sum(1 for sample in self.throttles if sample & bits)
            if throttled > _THROTTLED_SHARE * len(self.throttles):
                yield Caveat(
                    code="gpu_throttled",
                    message=f"{self.gpu.name} ({self.gpu.uuid}) was slowed down by {reason} in "
                    f"{throttled} of {len(self.throttles)} samples.",
                    advice="Better cooling, a higher power limit or locked lower clocks "
                    "(nvidia-smi -lgc) make runs comparable.",
                )
        if self.others:
            pids = ", ".join(map(str, sorted(self.others)))
            yield Caveat(
                code="gpu_shared",
                message=f"Other processes were on {self.gpu.name} ({self.gpu.uuid}): {pids}.",
                advice="End them, or tune on a GPU of your own.",
            )


@contextmanager
def _opened() -> Iterator[bool]:
    """Open the driver; tell whether there is one."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


@contextmanager
def _devices(uuids: Collection[str] | None) -> Iterator[tuple[_Device, ...]]:
    """Open the driver; no devices where there is none. ``uuids`` picks some; None takes all."""
    with _opened() as is_there:
        count = (_or_none(pynvml.nvmlDeviceGetCount) or 0) if is_there else 0
        found = (_or_none(lambda: _device(index)) for index in range(count))  # noqa: B023 - called at once
        yield tuple(
            device
            for device in found
            if device is not None and (uuids is None or device.gpu.uuid in uuids)
        )


def _device(index: int) -> _Device:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = _or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    return _Device(
        handle=handle,
        gpu=Gpu(
            index=index,
            uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
            name=str(pynvml.nvmlDeviceGetName(handle)),
            memory_total_bytes=None if memory is None else int(memory.total),
        ),
    )


def _note(samples: list[_T], read: Callable[[], _T]) -> None:
    value = _or_none(read)
    if value is not None:
        samples.append(value)


def _or_none(read: Callable[[], _T]) -> _T | None:
    """Return what the driver says, or None where this GPU does not support the question."""
    try:
        return read()
    except pynvml.NVMLError:
        return None


def _tree(pid: int) -> frozenset[int]:
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return frozenset({pid})
    return frozenset({pid, *(child.pid for child in children)})
