"""Telemetry of this host."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from tuner.telemetry.host import HostSampler
from tuner.telemetry.nvml import GpuSampler, gpus


def busy_for(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass


def test_the_processor_time_of_a_process_is_seen() -> None:
    with HostSampler(pid=os.getpid()).sampling() as reader:
        begun = time.monotonic()
        busy_for(0.3)
        wall_s = time.monotonic() - begun
    use = reader.use()
    assert use is not None
    # Clock ticks are 10 ms, and a tick at either end may fall inside or outside.
    assert 0.25 <= use.cpu_pct / 100 * wall_s <= 0.4
    assert 0 < use.memory_peak_bytes <= psutil.virtual_memory().total


def test_the_memory_of_descendants_counts() -> None:
    hold = "import sys; b = bytearray(b'x') * 200_000_000; print(len(b), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with HostSampler(pid=os.getpid()).sampling() as reader:
            pass
        child.communicate(b"\n")
    use = reader.use()
    assert use is not None
    assert use.memory_peak_bytes > 200_000_000


def test_of_a_process_that_is_gone_nothing_is_said() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with HostSampler(pid=child.pid).sampling() as reader:
        pass
    assert reader.use() is None


def test_there_is_a_reading_for_every_gpu_and_none_without_a_driver() -> None:
    with GpuSampler(server_pid=os.getpid()).sampling() as reader:
        pass
    assert [gpu.uuid for gpu in reader.use().gpus] == [gpu.uuid for gpu in gpus()]
