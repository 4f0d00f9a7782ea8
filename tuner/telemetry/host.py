"""What the server's processes take of the host while load runs."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from tuner.measure.measurement import HostUse
from tuner.telemetry.ticker import ticking

if TYPE_CHECKING:
    from collections.abc import Iterator

# Going through the processes of a busy host takes some ms; memory does not change faster.
_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSampler:
    """Watches a process and its descendants.

    Attributes:
        pid: the server's first process, on this host.
    """

    pid: int

    @contextmanager
    def sampling(self) -> Iterator[HostReader]:
        """Watch from entry to exit. That a process is gone is no error."""
        reader = HostReader(pid=self.pid)
        with ticking(reader.sample, every_s=_EVERY_S):
            yield reader


@dataclass(slots=True, kw_only=True)
class HostReader:
    """What was seen.

    CPU time is the difference of the kernel's own counters, so that nothing is missed between
    samples, except by processes that were born and ended between two of them.
    """

    pid: int
    _cpu_s: dict[psutil.Process, tuple[float, float]] = field(default_factory=dict)
    _peak_bytes: int = 0
    _begun_at: float | None = None
    _seen_at: float = 0.0

    def sample(self) -> None:
        """Look once."""
        memory_bytes = 0
        for process in _tree(self.pid):
            with suppress(psutil.Error):  # it ended between two lines
                with process.oneshot():
                    times = process.cpu_times()
                    memory = process.memory_info()
                cpu_s = times.user + times.system
                # What is born while we watch had used nothing when we began.
                unseen = (0.0 if self._begun_at is not None else cpu_s, 0.0)
                self._cpu_s[process] = (self._cpu_s.get(process, unseen)[0], cpu_s)
                # Resident and not shared: anonymous pages, which is where weights and buffers
                # lie. USS says the same more exactly, but reading it holds a lock of the
                # server's memory map for as long as all its pages take to walk.
                memory_bytes += memory.rss - memory.shared
        self._seen_at = time.monotonic()
        if self._begun_at is None:
            self._begun_at = self._seen_at
        self._peak_bytes = max(self._peak_bytes, memory_bytes)

    def use(self) -> HostUse | None:
        """Return the use until the last sample; None where nothing could be seen."""
        if self._begun_at is None or self._seen_at <= self._begun_at or not self._cpu_s:
            return None
        cpu_s = sum(last - first for first, last in self._cpu_s.values())
        return HostUse(
            cpu_pct=100 * cpu_s / (self._seen_at - self._begun_at),
            memory_peak_bytes=self._peak_bytes,
        )


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []
