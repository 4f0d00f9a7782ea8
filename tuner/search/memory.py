"""Whether a configuration fits: what rejections and measured memory say about the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

_HEADROOM = 0.97
"""Part of the memory that a model may fill: allocators fragment, drivers take their share."""

_BOLDNESS = 0.5
"""How fast hope sinks per multiple of the most that was seen to fit, while no end is known."""

_ROWS_PART = 0.1
_USUAL_BATCH = 16.0
"""While nothing tells, this part of an instance's memory is taken to go to its batch, or to a
batch of this size where its own is smaller."""

_LEAST_CHANCE = (0.3, 0.6)
_LEAST_CHANCE_LATER = 0.9
"""A launch that fails costs a whole load, so each failure makes the next one less welcome."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """Configurations that were launched; all of shape (n,).

    Attributes:
        batch: the most rows that are executed at once.
        instances: copies of the model.
        used: peak memory, any unit; NaN where it was not measured.
        total: memory of the GPU, same unit; NaN where unknown.
        rejected: it could not serve.
        limit: what the user allows, same unit.
    """

    batch: Array
    instances: Array
    used: Array
    total: Array
    rejected: NDArray[np.bool_]
    limit: float = np.inf


def chance_to_fit(batch: Array, instances: Array, loaded: Loaded) -> Array:
    """Probability that each configuration loads, shape (n,).

    Memory is taken to be linear, ``instances · (weights + activations · batch)``, with both
    parts fitted to what was measured. More than the GPU has, or than the limit allows, never
    fits. Where its size is unknown, the truth lies between the most that fitted and the least
    that did not.
    """
    needed, known = _needed(batch, instances, loaded), _known(loaded)
    fits = known[~loaded.rejected].max(initial=0.0)
    too_much = known[explained(loaded)].min(initial=np.inf)
    total = loaded.total[np.isfinite(loaded.total)].min(initial=np.inf)
    chance = np.ones(batch.size)
    beyond = needed > fits
    if np.isfinite(too_much):
        chance[beyond] = (too_much - needed[beyond]) / (too_much - fits)
    elif np.isinf(total) and fits > 0:
        chance[beyond] = np.exp(-_BOLDNESS * (needed[beyond] / fits - 1))
    chance[needed > min(_HEADROOM * total, loaded.limit)] = 0.0
    return np.clip(chance, 0.0, 1.0)


def hopeless(batch: Array, instances: Array, loaded: Loaded) -> NDArray[np.bool_]:
    """Where a rejection leaves no hope, whatever its cause; shape (n,).

    Where a configuration was rejected, none with as many or more instances and as large or
    larger a batch serves, unless one such was seen to.
    """
    without = np.zeros(batch.size, dtype=np.bool_)
    served = ~loaded.rejected
    for row in np.flatnonzero(loaded.rejected):
        as_large = (loaded.batch >= loaded.batch[row]) & (
            loaded.instances >= loaded.instances[row]
        )
        if not (served & as_large).any():
            without |= (batch >= loaded.batch[row]) & (instances >= loaded.instances[row])
    return without


def beyond_limit(batch: Array, instances: Array, loaded: Loaded) -> NDArray[np.bool_]:
    """Where the limit is surely broken; shape (n,).

    That is without a guess at what a batch takes: an instance needs no less than the least
    that one with as small or a smaller batch was measured to need.
    """
    measured = ~loaded.rejected & np.isfinite(loaded.used)
    each = loaded.used[measured] / loaded.instances[measured]
    comparable = loaded.batch[measured] <= batch[:, None]
    least = np.where(comparable, each, np.inf).min(axis=1, initial=np.inf)
    return np.asarray(np.isfinite(least) & (instances * least > loaded.limit))


def explained(loaded: Loaded) -> NDArray[np.bool_]:
    """Which rejections memory explains: those that needed more than anything that served."""
    known = _known(loaded)
    return np.asarray(loaded.rejected & (known > known[~loaded.rejected].max(initial=0.0)))


def least_chance(rejections: int) -> float:
    """The probability of fitting below which a launch is not worth it."""
    return _LEAST_CHANCE[rejections] if rejections < len(_LEAST_CHANCE) else _LEAST_CHANCE_LATER


def _known(loaded: Loaded) -> Array:
    """What each launched configuration needed, measured or not."""
    return _needed(loaded.batch, loaded.instances, loaded)


def _needed(batch: Array, instances: Array, loaded: Loaded) -> Array:
    """Memory that configurations need, in the unit of ``loaded.used``."""
    weights, activations = _per_instance(loaded)
    return instances * (weights + activations * batch)


def _per_instance(loaded: Loaded) -> tuple[float, float]:
    """Memory of an instance without rows, and what each row of its largest batch adds."""
    served = ~loaded.rejected
    measured = served & np.isfinite(loaded.used)
    if np.unique(loaded.batch[measured]).size > 1:
        each = loaded.used[measured] / loaded.instances[measured]
        rows_part, weights = np.polyfit(loaded.batch[measured], each, 1)
        return max(0.0, float(weights)), max(0.0, float(rows_part))
    largest = loaded.batch[served].max(initial=_USUAL_BATCH)
    one = (loaded.used[measured] / loaded.instances[measured]).max(initial=0.0) or 1.0
    return (1 - _ROWS_PART) * float(one), _ROWS_PART * float(one / largest)
