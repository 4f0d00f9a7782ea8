"""What the load generator saw: when each request left and when its answer came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """One run of the load generator, request by request, in the order of sending.

    Attributes:
        sent_ns: int64, shape (requests,), ns on the load generator's clock, ascending.
        done_ns: int64, shape (requests,), when the last response came, same clock.
        failed: bool, shape (requests,), the request got an error instead of an answer.
        client_cpu_pct: processor use of the load generator over the run; 100 is one whole
            core. None where it could not be read.
    """

    sent_ns: NDArray[np.int64]
    done_ns: NDArray[np.int64]
    failed: NDArray[np.bool_]
    client_cpu_pct: float | None = None

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """float64, shape (requests,): send to response, in ms."""
        return (self.done_ns - self.sent_ns) / 1e6
