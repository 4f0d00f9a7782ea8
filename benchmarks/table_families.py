"""The simulated families of models on Triton of which ``make_tables.py`` makes tables.

Their formulas are on purpose of other shapes than those that the search assumes: steps, cliffs,
time sharing, staircases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of model and machine.

    Attributes:
        compute_ms: time of a batch of so many rows while so many instances are busy.
        memory_mb: what a configuration (largest batch, instances) takes.
        memory_total_mb: what there is.
        instances: how many are tried.
        delays_us: queue delays that are tried.
        largest_load: highest concurrency.
        jitter: relative standard deviation of a batch's time.
        reading_error: relative standard deviation of a level's readings on top.
    """

    compute_ms: Callable[[int, int], float]
    memory_mb: Callable[[int, int], float]
    memory_total_mb: float = 80_000
    instances: tuple[int, ...] = (1, 2, 3, 4)
    delays_us: tuple[int, ...] = (0, 500, 5_000, 50_000)
    largest_load: int = 512
    jitter: float = 0.05
    reading_error: float = 0.005


FAMILIES: dict[str, Family] = {
    # 10 ms + 1 ms a row, three instances that do not touch each other.
    "light": Family(
        compute_ms=lambda rows, _: 10 + rows,
        memory_mb=lambda rows, copies: copies * (900 + rows),
        instances=(1, 2, 3),
    ),
    # Every row costs; the device is full with one instance, a second hides the host's part.
    "compute_bound": Family(
        compute_ms=lambda rows, busy: 4 + 1.5 * rows * busy**0.98,
        memory_mb=lambda rows, copies: copies * (3_000 + 20 * rows),
    ),
    # Weights are read once per batch, whatever its size; instances share the bandwidth.
    "memory_bound": Family(
        compute_ms=lambda rows, busy: (25 + 0.06 * rows) * (1 + 0.7 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (7_000 + 30 * rows),
        instances=(1, 2, 3, 4, 5, 6),
    ),
    # falcon7b on an H100: facts measured at batch 1 and 128 with one, two and four instances.
    "launch_bound": Family(
        compute_ms=lambda rows, busy: (110 + 0.23 * rows) * (1 + 0.54 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (15_100 + 4 * rows),
        instances=(1, 2, 3, 4, 5, 6),
        largest_load=1024,
    ),
    # Two instances hardly meet, four thrash; batches beyond 32 fall out of the cache.
    "contention": Family(
        compute_ms=lambda rows, busy: (
            (6 + 0.4 * rows + 1.6 * max(0, rows - 32)) * {1: 1.0, 2: 1.1, 3: 1.9, 4: 3.4}[busy]
        ),
        memory_mb=lambda rows, copies: copies * (2_000 + 10 * rows),
        jitter=0.08,
    ),
    # Few clients and a large fixed cost: what is gathered before the start decides.
    "delay_sensitive": Family(
        compute_ms=lambda rows, busy: (60 + 0.5 * rows) * (1 + 0.85 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (4_000 + 10 * rows),
        delays_us=(0, 200, 1_000, 5_000, 20_000, 100_000),
        largest_load=64,
    ),
    # Eight instances are allowed and two of five configurations do not load.
    "many_out_of_memory": Family(
        compute_ms=lambda rows, busy: (30 + 0.3 * rows) * (1 + 0.35 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (9_000 + 90 * rows),
        memory_total_mb=60_000,
        instances=(1, 2, 3, 4, 5, 6, 7, 8),
        delays_us=(0, 2_000, 20_000),
    ),
    # Nearly all of it is activations: batch and instances compete for the same memory.
    "activations": Family(
        compute_ms=lambda rows, busy: (12 + 0.9 * rows**0.9) * (1 + 0.25 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (1_500 + 420 * rows),
        memory_total_mb=32_000,
        instances=(1, 2, 3, 4, 5, 6),
        delays_us=(0, 2_000, 20_000),
    ),
    # Rows are padded to tiles of 16: time is a staircase.
    "tiles": Family(
        compute_ms=lambda rows, busy: (3 + 9 * math.ceil(rows / 16)) * (1 + 0.3 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (5_000 + 15 * rows),
    ),
    # A processor with two cores: instances share time, longer batches spill.
    "two_cores": Family(
        compute_ms=lambda rows, busy: (4 + 0.5 * rows**1.12) * max(1.0, busy / 2) ** 1.15,
        memory_mb=lambda rows, copies: copies * (400 + 2 * rows),
        jitter=0.12,
        reading_error=0.015,
    ),
    # falcon7b with 15 prompt tokens on an H200: one instance fills the GPU, and further ones
    # only take turns; facts measured at batch 1 and 128 with one, two, three and eight.
    "gpu_bound": Family(
        compute_ms=lambda rows, busy: (355 + 4.3 * rows) * (1 + 0.93 * (busy - 1)) * 1.012**busy,
        memory_mb=lambda rows, copies: copies * (15_300 + 18 * rows),
        memory_total_mb=141_000,
        instances=(1, 2, 3, 4, 5, 6, 7, 8),
    ),
}
"""On which the constants of the search were chosen."""

HELD_OUT: dict[str, Family] = {
    # Another model that one instance saturates, with a host part that overlaps.
    "prefill": Family(
        compute_ms=lambda rows, busy: 9 + 1.1 * (8 + rows) * busy**1.06,
        memory_mb=lambda rows, copies: copies * (6_200 + 45 * rows),
        instances=(1, 2, 3, 4, 5, 6),
    ),
    # Attention over padded rows: time grows with the square of the batch.
    "superlinear": Family(
        compute_ms=lambda rows, busy: (
            (7 + 0.35 * rows + 0.011 * rows**2) * (1 + 0.22 * (busy - 1))
        ),
        memory_mb=lambda rows, copies: copies * (1_100 + 25 * rows),
        instances=(1, 2, 3, 4, 5, 6),
        delays_us=(0, 1_000, 10_000),
    ),
    # Three instances have a memory channel each; the fourth shares one.
    "step": Family(
        compute_ms=lambda rows, busy: (14 + 0.8 * rows) * (1.0 if busy <= 3 else 2.3),
        memory_mb=lambda rows, copies: copies * (1_800 + 8 * rows),
        instances=(1, 2, 3, 4, 5, 6, 7, 8),
        delays_us=(0, 2_000, 20_000),
    ),
    # A busy host: batches vary by 30 %, and each reading errs by 4 %.
    "noisy": Family(
        compute_ms=lambda rows, busy: (18 + 0.6 * rows) * (1 + 0.45 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (2_500 + 10 * rows),
        jitter=0.3,
        reading_error=0.04,
    ),
    # Few clients, and starting a batch costs nearly all of it: waiting for all of them pays.
    "delay_helps": Family(
        compute_ms=lambda rows, busy: (95 + 0.1 * rows) * (1 + 0.97 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (3_300 + 5 * rows),
        delays_us=(0, 300, 3_000, 10_000, 30_000, 100_000),
        largest_load=32,
        jitter=0.15,
    ),
    # The fastest kernel ends at 24 rows, and what is larger runs on a slower one.
    "mid_batch": Family(
        compute_ms=lambda rows, busy: (
            (5 + 0.5 * rows if rows <= 24 else 16 + 1.4 * rows) * (1 + 0.3 * (busy - 1))
        ),
        memory_mb=lambda rows, copies: copies * (2_200 + 12 * rows),
    ),
    # Two of five configurations do not load, and the allocator takes more than its share.
    "fragments": Family(
        compute_ms=lambda rows, busy: (40 + 0.9 * rows) * (1 + 0.5 * (busy - 1)),
        memory_mb=lambda rows, copies: 1_500 + copies * (10_500 + 60 * rows) * 1.03**copies,
        memory_total_mb=56_000,
        instances=(1, 2, 3, 4, 5, 6, 7),
        delays_us=(0, 5_000, 50_000),
    ),
}
"""Not replayed once before the constants of the search were frozen, and not used to mend them."""
