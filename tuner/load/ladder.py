"""Which load level a trial measures next. Pure policy.

A ladder starts at one request in flight, which is the latency nobody can beat. Then comes what
the configuration can work on at once, ``max_batch_size x instances``, and twice that: a server
with dynamic batching is saturated when one batch runs and the next is full in the queue. Above
it only a gain that is beyond doubt is followed. Where there are limits, the highest load that
keeps them is then closed in on.

Decisions rest on the ends of the intervals: a noisy level never ends a ladder by its noise alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.estimate import Estimate

_GAIN = 0.05
_NEAR = 1.25
_LONGEST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A level that was measured.

    Attributes:
        concurrency: requests in flight.
        throughput: per second.
        keeps_limits: every limit holds; True where there are none.
    """

    concurrency: int
    throughput: Estimate
    keeps_limits: bool = True


def next_concurrency(
    levels: Sequence[Level],
    *,
    start: int,
    max_concurrency: int,
    best_so_far: Estimate | None = None,
) -> int | None:
    """Return the concurrency to measure next, or None when the ladder is done.

    Args:
        levels: measured so far, in any order.
        start: where the configuration is expected to be busy: ``max_batch_size x instances``.
        max_concurrency: never more than this.
        best_so_far: throughput of the best configuration at its best level. A ladder is given
            up at ``start`` or above when even twice its throughput would stay behind: more
            load at most doubles what a busy server yields, as latency does not fall with load.
    """
    if not levels:
        return 1
    if len(levels) >= _LONGEST:
        return None
    start = min(start, max_concurrency)
    climbed = sorted(levels, key=lambda level: level.concurrency)
    top = climbed[-1]
    keeping = [level for level in climbed if level.keeps_limits]
    if top.concurrency >= start and best_so_far is not None and _hopeless(climbed, best_so_far):
        return None
    if not keeping:
        # One request in flight may break a limit that a full batch keeps: it waits out
        # the queue delay for batch-mates that never come.
        return start if top.concurrency < start else None
    if keeping[-1] is not top:
        broken = next(level for level in climbed if level.concurrency > keeping[-1].concurrency)
        return _between(keeping[-1], broken)
    return _above(climbed, start=start, max_concurrency=max_concurrency)


def _hopeless(climbed: Sequence[Level], best: Estimate) -> bool:
    return 2 * max(level.throughput.high for level in climbed) < best.low


def _above(climbed: Sequence[Level], *, start: int, max_concurrency: int) -> int | None:
    """Go on from a highest level that keeps the limits."""
    top = climbed[-1]
    if top.concurrency >= max_concurrency:
        return None
    if top.concurrency < start:
        return start
    if len(climbed) > 1:
        below = climbed[-2]
        expected = top.concurrency <= start
        if expected and _surely_not_better(top.throughput, below.throughput):
            return None
        if not expected and not _surely_better(top.throughput, below.throughput):
            return None
    return min(2 * top.concurrency, max_concurrency)


def _between(keeping: Level, broken: Level) -> int | None:
    """Close in on the highest load that keeps the limits."""
    near = broken.concurrency <= max(keeping.concurrency * _NEAR, keeping.concurrency + 1)
    if near or _surely_not_better(broken.throughput, keeping.throughput):
        return None
    # The geometric middle: what matters is by how much per cent the load differs.
    middle = round(math.sqrt(keeping.concurrency * broken.concurrency))
    return min(max(middle, keeping.concurrency + 1), broken.concurrency - 1)


def _surely_better(new: Estimate, old: Estimate) -> bool:
    """A gain of at least 5 %, and not by chance: the intervals do not touch."""
    return new.low > old.high and new.value >= old.value * (1 + _GAIN)


def _surely_not_better(new: Estimate, old: Estimate) -> bool:
    """Even the most favourable reading of the intervals is below a gain of 5 %."""
    return new.high < old.low * (1 + _GAIN)
