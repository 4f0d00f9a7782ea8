"""Hill climbing in the manner of Model Analyzer's quick mode, as a rival in the replay.

Our own, after the description in its documentation and source; nothing is copied.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tuner.search.port import Proposal, Seen
from tuner.space.triton import INSTANCE_COUNT, MAX_BATCH_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.record import Params, Value
    from tuner.space.knobs import SearchSpace

Place: TypeAlias = tuple[int, ...]
"""Indexes into the values of the knobs that are climbed."""


class Quick:
    """Hill climbing over the exponent of the batch and the number of instances.

    Starts at the smallest, measures at least three neighbours, steps along the mean direction of
    improvement (one to three places a knob), looks at all direct neighbours where some serve and
    others do not, and ends at home or at a place visited twice. The queue delay stays as it is.

    Args:
        space: what may change.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._climbed = [
            knob for knob in space.knobs if knob.name in (MAX_BATCH_SIZE, INSTANCE_COUNT)
        ]

    def propose(self, history: Sequence[Seen]) -> Proposal | None:
        """Climb again from the start through what is known; stop at what is not."""
        if not history:
            return Proposal(params=self._space.default, why="default")
        known = {tuple(seen.params.values()): score(seen) for seen in history}
        home: Place = tuple(0 for _ in self._climbed)
        visits: dict[Place, int] = {}
        while visits.get(home, 0) < 2:
            visits[home] = visits.get(home, 0) + 1
            needed = [home, *self._neighbours(home, known)]
            for place in needed:
                if self._key(place) not in known:
                    return Proposal(params=self._params(place), why="climbing")
            step = self._step(home, {place: known[self._key(place)] for place in needed})
            if step == home:
                return None
            home = step
        return None

    def _neighbours(self, home: Place, known: dict[tuple[Value, ...], float]) -> list[Place]:
        around = [
            tuple(np.add(home, offset).tolist())
            for offset in itertools.product((-1, 0, 1), repeat=len(home))
            if any(offset)
        ]
        around = [place for place in around if self._inside(place)]
        tried = [place for place in around if self._key(place) in known]
        serves = {known[self._key(p)] > 0 for p in [home, *tried] if self._key(p) in known}
        if len(serves) > 1:
            return around
        fresh = sorted((place for place in around if place not in tried), key=sum, reverse=True)
        return (tried + fresh)[: max(3, len(tried))]

    def _step(self, home: Place, scores: dict[Place, float]) -> Place:
        pull, weight = np.zeros(len(home)), np.zeros(len(home))
        for place, value in scores.items():
            way = np.subtract(place, home)
            both = abs(value) + abs(scores[home])
            pull += way * (2 * (value - scores[home]) / both if both else 0.0)
            weight += np.abs(way)
        mean = pull / np.maximum(weight, 1)
        size = np.select([abs(mean) >= least for least in (1.0, 0.3, 0.09)], [3, 2, 1], 0)
        ends = [len(knob.values) - 1 for knob in self._climbed]
        return tuple(np.clip(np.add(home, size * np.sign(mean)), 0, ends).astype(int).tolist())

    def _inside(self, place: Place) -> bool:
        return all(0 <= i < len(knob.values) for i, knob in zip(place, self._climbed, strict=True))

    def _params(self, place: Place) -> Params:
        moved = {knob.name: knob.values[i] for i, knob in zip(place, self._climbed, strict=True)}
        return self._space.canonical({**self._space.default, **moved})

    def _key(self, place: Place) -> tuple[Value, ...]:
        return tuple(self._params(place).values())


def score(seen: Seen) -> float:
    """What is climbed on: throughput; below zero by how far the limits were missed."""
    if seen.rejected or seen.value is None:
        return 0.0
    return seen.value if seen.violation <= 0 else -seen.violation
