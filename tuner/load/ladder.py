"""Which load level a trial measures next. Pure policy.

A ladder starts at one request in flight, which is the latency nobody can beat. Then comes twice
what the configuration can work on at once: with one batch running and the next one full in the
queue, a server yields what it can. That is enough to know who may win; a contender's ladder is
climbed thoroughly: also at the load that just fills it, and above saturation while throughput
still grows beyond doubt. Where there are limits, the highest load that keeps them is closed in on.

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
_NEAR, _NEAR_ENOUGH = 1.25, 2.0
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


def next_concurrency(  # noqa: PLR0911 - each return is one rule of the ladder
    levels: Sequence[Level],
    *,
    busy: int,
    max_concurrency: int,
    thorough: bool,
    best_so_far: Estimate | None = None,
) -> int | None:
    """Return the concurrency to measure next, or None when the ladder is done.

    Args:
        levels: measured so far, in any order.
        busy: what the configuration can work on at once: ``max_batch_size x instances``.
        max_concurrency: never more than this.
        thorough: climb as for a contender.
        best_so_far: throughput of the best configuration at its best level. A saturated ladder
            is given up when even twice its throughput would stay behind.
    """
    if not levels:
        return 1
    if len(levels) >= _LONGEST:
        return None
    climbed = sorted(levels, key=lambda level: level.concurrency)
    top, saturated = climbed[-1], min(2 * busy, max_concurrency)
    keeping = [level for level in climbed if level.keeps_limits]
    if top.concurrency >= saturated and best_so_far and _hopeless(climbed, best_so_far):
        return None
    if not keeping:
        # One request in flight may break a limit that a full batch keeps: it waits out
        # the queue delay for batch-mates that never come.
        filled = min(busy, max_concurrency)
        return filled if top.concurrency < filled else None
    if keeping[-1] is not top:
        broken = next(level for level in climbed if level.concurrency > keeping[-1].concurrency)
        return _between(keeping[-1], broken, near=_NEAR if thorough else _NEAR_ENOUGH)
    if top.concurrency < saturated:
        return saturated
    return _above(climbed, busy=busy, max_concurrency=max_concurrency) if thorough else None


def _hopeless(climbed: Sequence[Level], best: Estimate) -> bool:
    return 2 * max(level.throughput.high for level in climbed) < best.low


def _above(climbed: Sequence[Level], *, busy: int, max_concurrency: int) -> int | None:
    """Fill in the load that just fills the server, then go on while throughput grows."""
    top, below = climbed[-1], climbed[-2] if len(climbed) > 1 else None
    if busy < top.concurrency and busy not in {level.concurrency for level in climbed}:
        return busy
    grows = below is None or _surely_better(top.throughput, below.throughput)
    if not grows or top.concurrency >= max_concurrency:
        return None
    return min(max_concurrency, 2 * top.concurrency)


def _between(keeping: Level, broken: Level, *, near: float) -> int | None:
    """Close in on the highest load that keeps the limits."""
    close = broken.concurrency <= max(keeping.concurrency * near, keeping.concurrency + 1)
    if close or _surely_not_better(broken.throughput, keeping.throughput):
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
