"""Where a configuration is expected to yield what it can, as somebody predicts it."""

from __future__ import annotations

import math
from dataclasses import dataclass

_WORTH = 1.15
"""Room below which a prediction that was confirmed counts as none: it is an upper bound."""

_AGREES = 0.12
"""Log of the factor by which a level may differ from its prediction and still confirm it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """A load level at which to begin measuring, with what is expected of it.

    Attributes:
        concurrency: requests in flight.
        throughput_per_s: expected there.
        room: by what factor more load would then raise it, at the most; 1 is not at all.
    """

    concurrency: int
    throughput_per_s: float
    room: float

    def room_at(self, concurrency: int, throughput_per_s: float) -> float:
        """By what factor more load can raise what was measured, if that confirms the prediction.

        Args:
            concurrency: of the level that was measured.
            throughput_per_s: that it came to.

        Returns:
            `room`, 1 where there is next to none; infinite at another level, and where the
            prediction was wrong.
        """
        if concurrency != self.concurrency or throughput_per_s <= 0:
            return math.inf
        agrees = abs(math.log(throughput_per_s / self.throughput_per_s)) <= _AGREES
        if not agrees:
            return math.inf
        return self.room if self.room > _WORTH else 1.0
