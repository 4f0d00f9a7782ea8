"""The instances of a model and the device that they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, inf, log, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from tuner.simulator.cost import CostModel

BLOCK = 4096
"""Random numbers are drawn so many at once: one by one they would cost most of the run."""


def normals(random: np.random.Generator) -> Iterator[float]:
    """Standard normal numbers without end."""
    while True:
        yield from random.standard_normal(BLOCK).tolist()


def way_times_ms(random: np.random.Generator, mean_ms: float) -> Iterator[float]:
    """Times on the network without end: half of the mean is fixed, half is exponential."""
    while True:
        yield from ((1 + random.standard_exponential(BLOCK)) * mean_ms / 2).tolist()


@dataclass(slots=True, eq=False)
class _Job:
    requests: list[int]
    started_ms: float
    left_ms: float


@dataclass(slots=True, eq=False)
class Usage:
    """What a server has done since it started, in the terms of Triton's statistics.

    Attributes:
        batches: batch size in rows → [count, total compute time in ms].
        requests: answered requests.
        queue_ms: total over the requests.
        compute_ms: total over the requests, each counting its batch's whole time.
    """

    batches: dict[int, list[float]] = field(default_factory=dict)
    requests: int = 0
    queue_ms: float = 0.0
    compute_ms: float = 0.0


class Device:
    """Batches that run side by side and slow each other down.

    ``k`` of them together progress at ``1 / (1 + contention x (k - 1))`` of the speed of one
    alone, each; when one ends the others speed up at once. The device lives from a start of
    the server to its end, over all runs of load.

    Args:
        cost: of the model.
        random: of this start.
    """

    def __init__(self, cost: CostModel, random: np.random.Generator) -> None:
        self.now_ms = 0.0
        self.usage = Usage()
        self._cost = cost
        self._sigma = sqrt(log(1 + cost.cv**2))
        self._start_factor = _log_normal(cost.cv_start, float(random.standard_normal()))
        self._noise = normals(random)
        self._last = next(self._noise)
        self._seen: set[int] = set()
        self._jobs: list[_Job] = []
        self._pause_at_ms = cost.faults.pause_every_s * 1e3 or inf
        self.next_end_ms = inf

    def rest(self, duration_ms: float) -> None:
        """Time goes by without load."""
        self._advance(self.now_ms + duration_ms)

    def start(self, now_ms: float, requests: list[int], rows: int) -> None:
        """An instance begins to compute a batch of ``rows`` rows."""
        self._advance(now_ms)
        self._jobs.append(_Job(requests, now_ms, self._work_ms(now_ms, rows)))
        self._plan()

    def end(self) -> tuple[list[int], float]:
        """The batch that ends first, at ``next_end_ms``, and how long it computed, in ms."""
        self._advance(self.next_end_ms)
        job = min(self._jobs, key=_left)
        self._jobs.remove(job)
        self._plan()
        return job.requests, self.now_ms - job.started_ms

    def _advance(self, now_ms: float) -> None:
        if self._jobs:
            done_ms = (now_ms - self.now_ms) / self._slowdown()
            for job in self._jobs:
                job.left_ms -= done_ms
        self.now_ms = now_ms

    def _plan(self) -> None:
        self.next_end_ms = inf
        if self._jobs:
            left_ms = max(0.0, min(map(_left, self._jobs)))
            self.next_end_ms = self.now_ms + left_ms * self._slowdown()

    def _slowdown(self) -> float:
        return 1 + self._cost.contention * (len(self._jobs) - 1)

    def _work_ms(self, now_ms: float, rows: int) -> float:
        cost, faults = self._cost, self._cost.faults
        phi = cost.autocorrelation
        self._last = phi * self._last + sqrt(1 - phi**2) * next(self._noise)
        noise = exp(self._sigma * self._last - self._sigma**2 / 2)
        work_ms = cost.compute_ms(rows) * self._start_factor * noise
        if now_ms < faults.warmup_s * 1e3:
            work_ms *= faults.warmup_factor
        if rows not in self._seen:
            self._seen.add(rows)
            work_ms += cost.first_batch_ms
        if now_ms >= self._pause_at_ms:
            self._pause_at_ms = now_ms + faults.pause_every_s * 1e3
            work_ms += faults.pause_ms
        return work_ms


def _left(job: _Job) -> float:
    return job.left_ms


def _log_normal(cv: float, standard_normal: float) -> float:
    """A factor of mean 1 and the given coefficient of variation."""
    sigma = sqrt(log(1 + cv**2))
    return exp(sigma * standard_normal - sigma**2 / 2)
