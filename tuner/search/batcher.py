"""What Triton's dynamic batcher makes of a configuration, under every belief about the model.

The time to compute a batch of ``b`` rows while ``k`` instances are busy is taken to be::

    s(b, k) = scale · (1 + (b / b0)^(p q))^(1/q) · (1 + g max(0, k - k0))

``b0`` is the batch at which compute starts to grow with its size, ``q`` how sharp that knee is and
``p`` how steep the growth (above 1, batches beyond some size lose: caches, tiles, padding). Up to
``k0`` instances do not meet; ``g`` is how much each further one stands in the way of the others
(with ``k0`` = 1, 0 is not at all and 1 means that a second instance gains nothing).

The rest is arithmetic on a closed loop of ``c`` rows in flight (Little's law; own derivation).
Without a delay the rows settle into one group per instance and one that waits. With a delay those
that were answered together come back together, so that instances fill up one after the other; it
has to be at least ``d`` a row for that, since clients take a while to send again.

A belief is one choice of the six; BELIEFS holds a grid of them. Arrays have one row per belief;
what was measured tells which of them to trust.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

BELIEFS = tuple(
    (knee, sharpness, growth, apart, contention, gathering_ms)
    for knee, (sharpness, growth), (apart, contention), gathering_ms in itertools.product(
        (0.5, 1.5, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 400.0),
        ((1.0, 1.0), (4.0, 1.0), (1.0, 1.6)),
        (
            *((1, contention) for contention in (0.0, 0.08, 0.2, 0.4, 0.65, 1.0, 1.4)),
            *((2, contention) for contention in (0.3, 0.6, 1.0)),
            *((3, contention) for contention in (0.3, 0.8)),
        ),
        (0.0, 0.01, 0.1),
    )
)
"""Each is (b0, q, p, k0, g, d in ms)."""

_GRID = np.array(BELIEFS, dtype=np.float64).T

_LEVEL_ERROR = 0.08
"""Relative error of a level's prediction that is nothing to wonder at."""

_BATCH_ERROR = 0.02
"""The same of a batch's compute time against another one's of the same size."""

_TAIL = 4.0
"""Degrees of freedom of Student's t: a level that the arithmetic gets wrong weighs little."""

_LIMIT_SOFTNESS = 0.1
"""Relative width over which a latency limit fades in: the predicted latency is not that sure."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """Configurations, and for each the rows in flight; all of shape (n,).

    Attributes:
        batch: the most rows that are executed at once.
        instances: copies of the model.
        delay_ms: the longest that a request waits for others.
        joins: whether requests of different clients share a batch.
        rows: rows in flight (concurrency times rows per request).
    """

    batch: Array
    instances: Array
    delay_ms: Array
    joins: NDArray[np.bool_]
    rows: Array

    def loaded(self, which: NDArray[np.intp], rows: float) -> Setting:
        """Those at the places ``which``, with so many rows in flight."""
        return Setting(
            batch=self.batch[which],
            instances=self.instances[which],
            delay_ms=self.delay_ms[which],
            joins=self.joins[which],
            rows=np.full(which.size, rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Executed:
    """Batches that the server reported; all of shape (n,).

    Attributes:
        rows: size of the batch.
        busy: instances at work at the time.
        compute_ms: mean time that it took.
    """

    rows: Array
    busy: Array
    compute_ms: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beliefs:
    """Beliefs, with the time scale that fits what was measured.

    Attributes:
        which: shape (beliefs,); their places in BELIEFS.
        request_rows: rows in each request.
        scale_ms: shape (beliefs, 1).
        log_likelihood: shape (beliefs,); how well each explains what was measured.
    """

    which: NDArray[np.int64]
    request_rows: int
    scale_ms: Array
    log_likelihood: Array

    def only(self, which: NDArray[np.int64]) -> Beliefs:
        """Those at the places ``which`` of these."""
        return replace(
            self,
            which=self.which[which],
            scale_ms=self.scale_ms[which],
            log_likelihood=self.log_likelihood[which],
        )

    def throughput(self, at: Setting) -> Array:
        """Rows per second, shape (beliefs, n)."""
        cycle = _cycle(at, self.request_rows, self.which)
        return 1e3 * cycle.rows / (self.scale_ms * cycle.shape + cycle.wait_ms)

    def p99_ms(self, at: Setting, *, tail: float) -> Array:
        """By Little's law, shape (beliefs, n); ``tail`` is p99 over mean latency."""
        return 1e3 * tail * at.rows / self.throughput(at)

    def value(
        self, at: Setting, *, max_rows: int, latency_limit_ms: float | None, tail: float
    ) -> Array:
        """The highest throughput over the loads, rows per second, shape (beliefs, n).

        Args:
            at: configurations; their own ``rows`` are not used.
            max_rows: the heaviest load, rows in flight.
            latency_limit_ms: loads with a higher p99 do not count.
            tail: p99 over mean latency.
        """
        best = np.zeros((self.which.size, at.batch.size))
        rows = self.request_rows
        while rows <= max_rows:
            # Twice what is executed at once saturates: beyond that only the latency grows.
            tells = np.flatnonzero(rows < 4 * at.batch * at.instances)
            loaded = at.loaded(tells, float(rows))
            reached = self.reached(loaded, latency_limit_ms=latency_limit_ms, tail=tail)
            best[:, tells] = np.maximum(best[:, tells], reached)
            rows *= 2
        return best

    def reached(self, at: Setting, *, latency_limit_ms: float | None, tail: float) -> Array:
        """Throughput that counts under the limit, rows per second, shape (beliefs, n).

        Args:
            at: configurations and loads.
            latency_limit_ms: of the p99; it fades in, since the latency is not known exactly.
            tail: p99 over mean latency.
        """
        reached = self.throughput(at)
        if latency_limit_ms is None:
            return reached
        p99_ms = 1e3 * tail * at.rows / reached
        excess = np.log(p99_ms / latency_limit_ms) / _LIMIT_SOFTNESS
        return np.asarray(reached / (1 + np.exp(np.clip(excess, -30, 30))))


def fit(at: Setting, throughput_per_s: Array, executed: Executed, *, request_rows: int) -> Beliefs:
    """Find each belief's time scale, and how well it then explains what was measured.

    Args:
        at: the measured levels, at least one.
        throughput_per_s: what they came to, rows per second, shape (levels,), positive.
        executed: batches whose compute time is known; may be of length 0.
        request_rows: rows in each request.
    """
    every = np.arange(len(BELIEFS))
    cycle = _cycle(at, request_rows, every)
    shape = np.hstack([cycle.shape, _shape(executed.rows, executed.busy, every)])
    wait_ms = np.hstack([cycle.wait_ms, np.zeros((every.size, executed.rows.size))])
    known_ms = np.broadcast_to(executed.compute_ms, (every.size, executed.rows.size))
    took_ms = np.hstack([1e3 * cycle.rows / throughput_per_s, known_ms])
    log_took = np.log(took_ms)
    # Without waiting the mean is exact; Newton's steps then account for the waits.
    log_scale = (log_took - np.log(shape)).mean(axis=1, keepdims=True)
    for _ in range(4):
        compute_ms = np.exp(log_scale) * shape
        share = compute_ms / (compute_ms + wait_ms)
        residual = log_took - np.log(compute_ms + wait_ms)
        step = (share * residual).sum(axis=1) / ((share**2).sum(axis=1) + 1e-6)
        log_scale = log_scale + np.clip(step, -1.0, 1.0)[:, None]
    residual = log_took - np.log(np.exp(log_scale) * shape + wait_ms)
    of_levels, of_batches = np.split(residual, [throughput_per_s.size], axis=1)
    of_sizes, among_equals = _by_size(of_batches, executed.rows)
    likelihood = (
        _log_t(of_levels / _LEVEL_ERROR)
        + _log_t(of_sizes / _LEVEL_ERROR)
        + _log_t(among_equals / _BATCH_ERROR)
    )
    return Beliefs(
        which=every,
        request_rows=request_rows,
        scale_ms=np.exp(log_scale),
        log_likelihood=likelihood,
    )


def _by_size(residual: Array, rows: Array) -> tuple[Array, Array]:
    """Split the residuals of batches into one for each size, and what is left of each batch.

    A shape that is wrong at some size is as wrong for all batches of that size. How these differ
    tells of nothing but the instances that were busy beside them.
    """
    has_size = (rows[:, None] == np.unique(rows)).astype(np.float64)
    means = residual @ (has_size / has_size.sum(axis=0))
    return means, residual - means @ has_size.T


def _log_t(deviation: Array) -> Array:
    """Log density of Student's t up to a constant, summed over the last axis."""
    return np.asarray((-(_TAIL + 1) / 2 * np.log1p(deviation**2 / _TAIL)).sum(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cycle:
    """What all instances together do in one round; all of shape (beliefs, n).

    Attributes:
        rows: answered in a round.
        shape: the round's compute time in units of the scale.
        wait_ms: time in a round that is spent waiting for others.
    """

    rows: Array
    shape: Array
    wait_ms: Array


def _cycle(at: Setting, request_rows: int, which: NDArray[np.int64]) -> _Cycle:
    # Those that do not gather: one group per instance, and one more in the queue.
    busy = np.minimum(at.instances, np.maximum(at.rows / request_rows, 1.0))
    batch = np.clip(at.rows / (at.instances + 1), request_rows, at.batch)
    batch = np.where(at.joins, batch, request_rows)
    shape = _shape(batch, busy, which)
    rows = np.broadcast_to(busy * batch, shape.shape).copy()
    wait_ms = np.zeros_like(shape)
    # Instances fill up one after the other; one that is not full waits in vain.
    late = np.flatnonzero(at.joins & (at.delay_ms > 0))
    largest, delay_ms = at.batch[late], at.delay_ms[late]
    filled = np.clip(np.floor(at.rows[late] / largest), 1.0, at.instances[late])
    gathered = np.minimum(largest, at.rows[late] / filled)
    gathers = delay_ms >= _GRID[5, which, None] * gathered
    in_vain_ms = np.where(gathered < largest, delay_ms, 0.0)
    shape[:, late] = np.where(gathers, _shape(gathered, filled, which), shape[:, late])
    rows[:, late] = np.where(gathers, filled * gathered, rows[:, late])
    wait_ms[:, late] = np.where(gathers, in_vain_ms, 0.0)
    return _Cycle(rows=rows, shape=shape, wait_ms=wait_ms)


def _shape(rows: Array, busy: Array, which: NDArray[np.int64]) -> Array:
    """``s(b, k) / scale`` of the beliefs at the places ``which``, shape (beliefs, n)."""
    knee, sharpness, growth, apart, contention = _GRID[:5, which, None]
    # The same few sizes come again and again, and powers are dear.
    sizes, size_of = np.unique(rows, return_inverse=True)
    counts, count_of = np.unique(busy, return_inverse=True)
    alone = (1 + (sizes / knee) ** (growth * sharpness)) ** (1 / sharpness)
    met = 1 + contention * np.maximum(0.0, counts - apart)
    return np.asarray(alone[:, size_of] * met[:, count_of], dtype=np.float64)
