"""Which load level a trial measures next. Pure policy.

A ladder starts at one request in flight, which is the latency nobody can beat. Then comes twice
what the configuration can work on at once: with one batch running and the next one full in the
queue, a server yields what it can. That is enough to know who may win; a contender's ladder is
climbed thoroughly: also at the load that just fills it, and above saturation while throughput
still grows beyond doubt. Where there are limits, the highest load that keeps them is closed in on.

Decisions rest on the ends of the intervals: a noisy level never ends a ladder by its noise alone.

Where somebody expects the load at which a configuration yields what it can, the ladder starts
there, and mostly ends there. That must not lose a winner when the load was expected wrongly, so
the level itself has to show that more load would not help. Triton tells how long batches took. A
larger batch takes no less time than a smaller one, so all instances, always busy with full
batches, would yield at most ``instances x max_batch_size / mean time of a batch``. How far that
lies above what was measured is the level's `room`, whatever load it was measured at. Instances
that get in each other's way have less than that: where a level turns out as it was predicted, what
other configurations showed of them may narrow its room (`measure.saturation`): an upper bound on
what more load gains is then trusted, and below 15 % taken for nothing. Then:

- A configuration whose upper bound, with all its room, lies below the best's lower bound is done.
- A level with next to no room is what the configuration can yield: nothing above it is measured.
- Any other ladder goes on as if nothing had been expected, with the level it has. A load that was
  expected too high yields no less: it is never above twice what the configuration can work on at
  once. Only a limit may be broken there; then half of it comes next, and one request after that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.estimate import Estimate
    from tuner.measure.measurement import BatchTime

_GAIN = 0.05
_NEAR, _NEAR_ENOUGH = 1.25, 2.0
_LONGEST = 10
_FULL = 1.1
"""Room that no further level is worth: the server's clock stops before an answer is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A level that was measured.

    Attributes:
        concurrency: requests in flight.
        throughput: per second.
        keeps_limits: every limit holds; True where there are none.
        room: by what factor more load can raise the throughput at the most; see `room`.
    """

    concurrency: int
    throughput: Estimate
    keeps_limits: bool = True
    room: float = math.inf


def room(
    throughput_per_s: float, batches: Sequence[BatchTime], *, instances: int, largest: int
) -> float:
    """By what factor more load can raise the throughput at the most.

    Args:
        throughput_per_s: rows per second.
        batches: what the server executed meanwhile.
        instances: of the model.
        largest: rows in the largest batch that it can form.

    Returns:
        At least 1; infinite where the server does not tell.
    """
    count = sum(batch.count for batch in batches)
    busy_s = sum(batch.count * batch.compute_ms for batch in batches) / 1e3
    if not busy_s:
        return math.inf
    return max(1.0, instances * largest * count / busy_s / throughput_per_s)


def next_concurrency(  # noqa: C901, PLR0911 - each return is one rule of the ladder
    levels: Sequence[Level],
    *,
    busy: int,
    max_concurrency: int,
    thorough: bool,
    best_so_far: Estimate | None = None,
    start: int | None = None,
    limited: bool = False,
) -> int | None:
    """Return the concurrency to measure next, or None when the ladder is done.

    Args:
        levels: measured so far, in any order.
        busy: what the configuration can work on at once: ``max_batch_size x instances``.
        max_concurrency: never more than this.
        thorough: climb as for a contender.
        best_so_far: throughput of the best configuration at its best level. A saturated ladder
            is given up when even twice its throughput would stay behind.
        start: where it is expected to yield what it can, while it keeps the limits; None where
            nobody knows, or where throughput does not matter.
        limited: whether there are limits, so that a load that is too high tells little.
    """
    saturated = min(2 * busy, max_concurrency)
    if not levels:
        return 1 if start is None else max(1, min(start, saturated))
    if len(levels) >= _LONGEST:
        return None
    climbed = sorted(levels, key=lambda level: level.concurrency)
    top, lowest = climbed[-1], climbed[0].concurrency
    if start is not None and best_so_far and _cannot_win(climbed, best_so_far, saturated):
        return None
    if start is not None and (top.room <= _FULL or saturated <= _NEAR * top.concurrency):
        saturated = top.concurrency
    keeping = [level for level in climbed if level.keeps_limits]
    if top.concurrency >= saturated and best_so_far and _hopeless(climbed, best_so_far):
        return None
    if not keeping:
        if start is not None and lowest > 1:
            return max(1, lowest // 2) if len(climbed) == 1 else 1
        # One request in flight may break a limit that a full batch keeps: it waits out
        # the queue delay for batch-mates that never come.
        filled = min(busy, max_concurrency)
        return filled if top.concurrency < filled else None
    if keeping[-1] is not top:
        broken = next(level for level in climbed if level.concurrency > keeping[-1].concurrency)
        return _between(keeping[-1], broken, near=_NEAR if thorough else _NEAR_ENOUGH)
    if top.concurrency < saturated:
        return min(2 * top.concurrency, saturated) if start is not None and limited else saturated
    if start is not None and top.room <= _FULL:
        return None
    return _above(climbed, busy=busy, max_concurrency=max_concurrency) if thorough else None


def _hopeless(climbed: Sequence[Level], best: Estimate) -> bool:
    return 2 * max(level.throughput.high for level in climbed) < best.low


def _cannot_win(climbed: Sequence[Level], best: Estimate, saturated: int) -> bool:
    """Whether some level shows that no load lets the configuration reach the best."""
    bounds = [
        level.throughput.high * (1.0 if level.concurrency >= saturated else level.room)
        for level in climbed
    ]
    return min(bounds) < best.low


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
