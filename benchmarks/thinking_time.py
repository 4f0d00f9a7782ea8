"""How long our search thinks about a proposal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from replay_table import Level, measurement

from tuner.search.model_guided import ModelGuided
from tuner.search.port import Seen
from tuner.space.triton import (
    DYNAMIC_BATCHING,
    INSTANCE_COUNT,
    MAX_BATCH_SIZE,
    MAX_QUEUE_DELAY_US,
    Bounds,
    search_space,
)

if TYPE_CHECKING:
    from tuner.measure.record import Params


def thinking_s(trials: int) -> float:
    """How long one proposal takes after so many trials, in a space of several hundreds."""
    default: Params = {
        DYNAMIC_BATCHING: False,
        MAX_BATCH_SIZE: 8,
        MAX_QUEUE_DELAY_US: 0,
        INSTANCE_COUNT: 1,
    }
    space = search_space(default, Bounds(max_instance_count=8))
    random = np.random.default_rng(trials)
    chosen = random.permutation(len(space.candidates()))[:trials]
    history = [imagined(space.candidates()[place], random) for place in chosen]
    proposer = ModelGuided(space, seed=0, p99_limit_ms=500.0)
    began = time.perf_counter()
    proposer.propose(history)
    return time.perf_counter() - began


def imagined(params: Params, random: np.random.Generator) -> Seen:
    """A trial of six levels of 20 ms + 1 ms a row."""
    rows = int(params[MAX_BATCH_SIZE]) if params[DYNAMIC_BATCHING] else 1
    copies = int(params[INSTANCE_COUNT])
    levels = []
    for clients in (1, 4, 16, 64, 256, 1024):
        batch = min(rows, max(1.0, clients / (copies + 1)))
        rate = 1e3 * batch * min(copies, clients) / (20 + batch) * random.normal(1, 0.02)
        latency_ms = 1.2e3 * clients / rate
        level = Level(throughput_per_s=rate, p99_ms=latency_ms, memory_mb=1e3 * copies)
        levels.append(measurement(clients, level))
    return Seen(
        params=params,
        value=max(level.throughput_per_s.value for level in levels),
        levels=tuple(levels),
    )
