"""The port: watch something while load runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from tuner.measure.measurement import BatchTime, Caveat, GpuUse, HostUse, ServerTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was seen from the start of the sampling until now.

    Attributes:
        server: Triton's own split of a request's time; None where it could not be read.
        batches: executed batch sizes, ascending; empty where they could not be read.
        gpus: one entry a GPU; empty where there is none.
        host: the server's processes; None where they cannot be seen.
        caveats: what was seen beside the server that may have disturbed it.
    """

    server: ServerTime | None
    batches: tuple[BatchTime, ...]
    gpus: tuple[GpuUse, ...]
    host: HostUse | None
    caveats: tuple[Caveat, ...] = ()


class Telemetry(Protocol):
    """A way to watch a server."""

    def sampling(
        self, *, http: str, model: str, pid: int | None
    ) -> AbstractContextManager[Callable[[], Reading]]:
        """Watch from entry to exit; the callable tells what was seen so far.

        Losing sight of something is no error: its part of the reading is absent then.

        Args:
            http: ``host:port`` of the server.
            model: the model's name.
            pid: the server's process on this host, or None.
        """
        ...

    def rest(self, *, deadline_s: float) -> None:
        """Wait until the GPUs hold no more memory than before the first server.

        Raises:
            TrialAborted: they still did at the deadline.
        """
        ...

    def describe(self) -> Mapping[str, str]:
        """Tell what numbers depend on: processor, cores, memory, GPUs, driver."""
        ...
