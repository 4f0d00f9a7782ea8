from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest

from tuner.measure.trace import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Loop(Protocol):
    """A closed loop of ``clients`` against one instance that takes all of them in one batch."""

    def __call__(
        self,
        service_ms: NDArray[np.float64],
        clients: int = 1,
        *,
        think_ms: NDArray[np.float64] | float = 0.0,
        client_cpu_pct: float | None = None,
    ) -> Trace:
        """Make a run of one batch for each service time; the clients pause before each."""
        ...


@pytest.fixture(scope="session")
def loop() -> Loop:
    def run(
        service_ms: NDArray[np.float64],
        clients: int = 1,
        *,
        think_ms: NDArray[np.float64] | float = 0.0,
        client_cpu_pct: float | None = None,
    ) -> Trace:
        think = np.broadcast_to(think_ms, service_ms.shape)
        done = np.cumsum(service_ms + think)
        sent = done - service_ms
        # Answers of a batch are written one after the other, a microsecond apart.
        spread = np.arange(clients) * 0.001
        return Trace(
            sent_ns=((sent[:, None] + spread).ravel() * 1e6).astype(np.int64),
            done_ns=((done[:, None] + spread).ravel() * 1e6).astype(np.int64),
            failed=np.zeros(len(service_ms) * clients, dtype=np.bool_),
            client_cpu_pct=client_cpu_pct,
        )

    return run


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)
