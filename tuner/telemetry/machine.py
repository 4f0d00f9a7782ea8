"""Everything that can be watched on this machine, in one reading."""

from __future__ import annotations

import os
import platform
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tuner.errors import TrialAborted
from tuner.telemetry.host import HostSampler
from tuner.telemetry.nvml import GpuSampler, driver_version, gpus, memory_used_bytes
from tuner.telemetry.port import Reading
from tuner.telemetry.triton_stats import difference, read_stats

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_NOISE_BYTES = 256_000_000
"""The driver's own use goes up and down by less."""
_POLL_S = 0.1
_CPU_INFO = Path("/proc/cpuinfo")


class MachineTelemetry:
    """Triton's statistics, the server's processes, and NVIDIA's driver where there is one.

    What the GPUs hold when this is made is taken for what they hold at rest.

    Args:
        gpu_uuids: of the GPUs that serve; None for all of this machine.
    """

    def __init__(self, gpu_uuids: Collection[str] | None = None) -> None:
        self._gpu_uuids = gpu_uuids
        self._at_rest_bytes = memory_used_bytes(gpu_uuids)

    @contextmanager
    def sampling(
        self, *, http: str, model: str, pid: int | None
    ) -> Iterator[Callable[[], Reading]]:
        """Watch from entry to exit; see the port."""
        with ExitStack() as stack:
            before = read_stats(http, model)
            host = stack.enter_context(HostSampler(pid=pid).sampling()) if pid else None
            gpu = stack.enter_context(GpuSampler(uuids=self._gpu_uuids, server_pid=pid).sampling())

            def reading() -> Reading:
                use = difference(before, read_stats(http, model))
                seen = gpu.use()
                return Reading(
                    server=use.time if use else None,
                    batches=use.batches if use else (),
                    gpus=seen.gpus,
                    host=host.use() if host else None,
                    caveats=seen.caveats,
                )

            yield reading

    def rest(self, *, deadline_s: float) -> None:
        """Wait until the GPUs hold no more memory than at first; see the port."""
        ends_at = time.monotonic() + deadline_s
        while True:
            held = {
                uuid: used - self._at_rest_bytes.get(uuid, 0)
                for uuid, used in memory_used_bytes(self._gpu_uuids).items()
            }
            over = {uuid: used for uuid, used in held.items() if used > _NOISE_BYTES}
            if not over:
                return
            if time.monotonic() > ends_at:
                told = ", ".join(f"{used / 1e9:.1f} GB on {uuid}" for uuid, used in over.items())
                raise TrialAborted(
                    f"After {deadline_s:.0f} s more GPU memory was in use than before the first "
                    f"server: {told}. nvidia-smi tells whose it is; end that and run again."
                )
            time.sleep(_POLL_S)

    def describe(self) -> Mapping[str, str]:
        """Tell the processor, the memory, and the GPUs that serve with their driver."""
        described = {
            "processor": _processor(),
            "cores": str(usable_cores()),
            "memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        }
        wanted = self._gpu_uuids
        serving = [gpu for gpu in gpus() if wanted is None or gpu.uuid in wanted]
        for number, gpu in enumerate(serving):
            described[f"gpu_{number}"] = gpu.name
        if serving and (driver := driver_version()):
            described["gpu_driver"] = driver
        return described


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _processor() -> str:
    names = [line for line in _CPU_INFO.read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()
