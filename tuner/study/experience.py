"""What was seen of a model's waits, so that the next level is long enough at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner.measure.measurement import Workload
    from tuner.study.gate import Alone

_UNSHARED = 4.0
"""Requests that come together share batches and instances. Where nothing is known but the wait of
far fewer of them, one in so many is taken to wait for the others in turn."""

_SURELY = 2.0
"""Up to so many times as many requests wait at the most so many times as long, and the wait of
fewer is bounded by that of more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long a request is expected to wait for its answer.

    Attributes:
        seconds: from its sending to its answer.
        sure: it was seen at about this load; else it may be anything.
    """

    seconds: float
    sure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What was seen of one configuration.

    Attributes:
        waits_s: requests in flight → mean wait, as last seen.
        closely_s: how long a level has to be for a close look, as last seen.
    """

    waits_s: dict[int, float] = field(default_factory=dict)
    closely_s: dict[Workload, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Experience:
    """What was seen of a model, for as long as the process lives. Nothing rests on it but time.

    Attributes:
        configurations: fingerprint → what was seen of it.
        answered: fingerprints of those whose answers were found right.
        alone: how requests that were alone were answered, with any configuration.
        alone_s: the wait of a request that was alone, as last seen with any configuration.
    """

    configurations: dict[str, Configuration] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    alone: Alone | None = None
    alone_s: float | None = None

    def of(self, fingerprint: str) -> Configuration:
        """What was seen of one configuration; it is added to by who measures it."""
        return self.configurations.setdefault(fingerprint, Configuration())


def expected_wait(
    concurrency: int, waits_s: Mapping[int, float], alone_s: float | None
) -> Wait | None:
    """Guess how long requests wait at a load.

    Args:
        concurrency: requests in flight.
        waits_s: requests in flight → mean wait, seen with the same configuration.
        alone_s: the wait of a request that was alone, with whatever configuration; None if unseen.

    Returns:
        The guess; None where nothing was seen.
    """
    seen = dict(waits_s) if alone_s is None else {1: alone_s, **waits_s}
    if not seen:
        return None
    nearest = min(seen, key=lambda other: abs(math.log(concurrency / other)))
    ratio = concurrency / nearest
    sure = 1 / _SURELY <= ratio <= _SURELY
    if ratio <= _SURELY:
        return Wait(seconds=seen[nearest] * max(1.0, ratio), sure=sure)
    return Wait(seconds=seen[nearest] * max(_SURELY, ratio / _UNSHARED), sure=False)
