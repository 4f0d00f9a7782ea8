"""Levels that were measured while the server was still warming up.

A server that is slow for some time after its start and then quick looks steady in a short level
that lies before the change. What gives it away is Triton's own account: a batch computed for
longer than one of that size or a larger one did later, although no less was in flight then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.measure.measurement import Caveat, ClosedLoop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.measurement import BatchTime, Measurement

CODE = "warming"

_SLOWER = 1.5
"""Batches differ by less from level to level, but for what else is in flight."""
_FEWEST = 10
"""Batches of a size that make its mean one to rely on. To show that the server can be quicker,
a single one is enough."""


def warming(levels: Sequence[Measurement]) -> dict[int, Caveat]:
    """Find the levels in which the server was not yet as quick as later.

    Instances that compute at the same time slow each other down. So a level is first compared
    only with later ones at the same load or a higher one, in which that would show the other
    way. If one of those gives the server away, all levels before it are compared with it.

    Args:
        levels: of one server, in the order in which they were measured.

    Returns:
        By place in ``levels``, what was seen.
    """
    pairs = [
        (place, later)
        for later in range(len(levels))
        for place in range(later)
        if _in_flight(levels[later]) >= _in_flight(levels[place])
        and _slower(levels[place], levels[later]) is not None
    ]
    if not pairs:
        return {}
    quick = min(later for _, later in pairs)
    found = {place: _slower(levels[place], levels[quick]) for place in range(quick)}
    return {place: caveat for place, caveat in found.items() if caveat is not None}


def _slower(level: Measurement, later: Measurement) -> Caveat | None:
    """Compare each batch size with those in the later level that are as large or larger."""
    if any(caveat.code == "pauses" for caveat in level.caveats):
        return None  # they are in its means
    seen = [
        (own, other)
        for own in level.batches
        for other in later.batches
        if own.size <= other.size and own.count >= _FEWEST and other.compute_ms > 0
    ]
    if not seen:
        return None
    own, other = max(seen, key=lambda pair: pair[0].compute_ms / pair[1].compute_ms)
    return _caveat(own, other) if own.compute_ms > _SLOWER * other.compute_ms else None


def _in_flight(level: Measurement) -> int:
    match level.workload.load:
        case ClosedLoop(concurrency=concurrency):
            return concurrency
        case _:
            return 0


def _caveat(own: BatchTime, other: BatchTime) -> Caveat:
    return Caveat(
        code=CODE,
        message=(
            f"The server was still warming up when this load was first sent: a batch of {own.size}"
            f" took {own.compute_ms:.3g} ms, and one of {other.size} {other.compute_ms:.3g} ms"
            " later on. It was measured again."
        ),
        advice=(
            "Users of a fresh server meet that, too: send it requests before they come, such as"
            " with model_warmup in config.pbtxt."
        ),
    )
