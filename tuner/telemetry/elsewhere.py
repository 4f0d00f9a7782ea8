"""What can be watched of a server on another machine: what it tells of itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuner.telemetry.port import Reading
from tuner.telemetry.triton_stats import difference, read_stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tuner.telemetry.port import Telemetry


class ElsewhereTelemetry:
    """Triton's statistics only: this machine's processor and GPUs are not the server's."""

    @contextmanager
    def sampling(
        self, *, http: str, model: str, pid: int | None
    ) -> Iterator[Callable[[], Reading]]:
        """Watch from entry to exit; see the port."""
        del pid  # of another machine
        before = read_stats(http, model)

        def reading() -> Reading:
            use = difference(before, read_stats(http, model))
            return Reading(
                server=use.time if use else None,
                batches=use.batches if use else (),
                gpus=(),
                host=None,
                caveats=(),
            )

        yield reading

    def rest(self, *, deadline_s: float) -> None:
        """Do not wait; the server's unload has ended when its memory is free."""

    def describe(self) -> Mapping[str, str]:
        """Tell nothing: the server tells no more of its machine."""
        return {}


if TYPE_CHECKING:
    _: type[Telemetry] = ElsewhereTelemetry
