"""What earlier studies of the same model, or of its architecture, say about this one.

They may have run on another GPU, with other weights or other inputs, so they never decide: their
best is tried early, which costs one trial if it is wrong; their levels lean on the beliefs about
the model no more than about one trial of this study does; and what they could not load makes the
search cautious without forbidding anything.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tuner.search import batcher, encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.record import Params
    from tuner.search.port import Seen
    from tuner.space.knobs import Knob, SearchSpace

Array: TypeAlias = NDArray[np.float64]

_WEIGHT = 0.1
"""Of an earlier level against one of this study."""

_MOST_SAY = 3.0
"""Log odds that earlier levels may give one belief over another at most; a single level of this
study that contradicts by a half gives as much."""

_CAUTION = 0.5
"""Of what was as large as a configuration that an earlier study could not load."""


def log_prior(earlier: Sequence[Seen], *, request_rows: int) -> Array:
    """What earlier levels say for each belief, at most 0 and bounded below; shape (beliefs,).

    The time scale is left free: another GPU is faster or slower, but behaves alike.
    """
    at, throughput_per_s = encoding.levels(earlier, request_rows=request_rows)
    if not throughput_per_s.size:
        return np.zeros(len(batcher.BELIEFS))
    seen = encoding.executed(earlier, request_rows=request_rows)
    fitted = batcher.fit(at, throughput_per_s, seen, request_rows=request_rows)
    log_odds = _WEIGHT * (fitted.log_likelihood - fitted.log_likelihood.max())
    return np.asarray(np.logaddexp(log_odds, -_MOST_SAY))


def best(earlier: Sequence[Seen], space: SearchSpace) -> Params | None:
    """The configuration of the space that is nearest to the best of the earlier ones."""
    keeping = [
        (seen.value, seen.params)
        for seen in earlier
        if seen.value is not None and seen.violation <= 0 and not seen.rejected
    ]
    if not keeping:
        return None
    _, params = max(keeping, key=lambda pair: pair[0])
    wanted = {**space.default, **params}
    return min(space.candidates(), key=lambda other: _distance(wanted, other, space.knobs))


def caution(unseen: Sequence[Params], earlier: Sequence[Seen], history: Sequence[Seen]) -> Array:
    """A factor for what each configuration promises; shape (configurations,).

    Less than 1 where an earlier study could not load one with as many instances and as large a
    batch or fewer, unless this study has loaded one as large since.
    """
    factor = np.ones(len(unseen))
    ahead = _sizes(unseen)
    served = _sizes([seen.params for seen in history if seen.value is not None])
    for size in _sizes([seen.params for seen in earlier if seen.rejected]):
        if not (served >= size).all(axis=1).any():
            factor[(ahead >= size).all(axis=1)] = _CAUTION
    return factor


def _sizes(where: Sequence[Params]) -> Array:
    """Largest batch and instances, shape (configurations, 2)."""
    at = encoding.setting(where, [1.0] * len(where), request_rows=1)
    return np.stack([at.batch, at.instances], axis=1)


def _distance(one: Params, other: Params, knobs: Sequence[Knob]) -> float:
    """Sum over the knobs: integers by their ratio, others by whether they differ."""
    total = 0.0
    for knob in knobs:
        if knob.ordered:
            ours, theirs = cast("int", one[knob.name]), cast("int", other[knob.name])
            total += abs(math.log((1 + ours) / (1 + theirs)))
        else:
            total += float(one[knob.name] != other[knob.name])
    return total
