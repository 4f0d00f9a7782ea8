"""What the beliefs about the model, weighed by what was measured, predict of configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tuner.measure.saturation import Saturation
from tuner.search import batcher, encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.record import Params
    from tuner.search.port import Seen

Array: TypeAlias = NDArray[np.float64]

_LEVELS_COUNT = 0.5
"""Levels of one trial err together, so each counts for less than an independent one."""

_IMPLAUSIBLE = 15.0
"""Log odds against a belief beyond which it is dropped: it only costs time."""

_NEARLY = 0.97
"""Of the best throughput of a configuration: enough to begin with."""

_START_S, _WINDOW_S, _ROUNDS = 8.0, 4.0, 5
"""What a trial takes, roughly: a start, and a window or so many answers for each client."""

_SURELY = 0.99
"""Of the beliefs, by weight, have to agree that more load gains no more than is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under which configurations are compared.

    Attributes:
        max_concurrency: the heaviest load that is driven, in requests.
        request_rows: rows in each request.
        p99_limit_ms: a limit on p99 latency, where there is one.
    """

    max_concurrency: int
    request_rows: int
    p99_limit_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Of every belief.

    Attributes:
        beliefs: those that are plausible, fitted to what was measured.
        log_odds: shape (beliefs,); against the most likely one.
        tail: p99 over mean latency.
        conditions: what they are asked for.
    """

    beliefs: batcher.Beliefs
    log_odds: Array
    tail: float
    conditions: Conditions

    def log_value(self, where: Sequence[Params]) -> Array:
        """Log of the best throughput within the limit, shape (beliefs, configurations)."""
        rows = self.conditions.request_rows
        value = self.beliefs.value(
            encoding.setting(where, [1.0] * len(where), request_rows=rows),
            max_rows=self.conditions.max_concurrency * rows,
            latency_limit_ms=self.conditions.p99_limit_ms,
            tail=self.tail,
        )
        return np.asarray(np.log(np.maximum(value, 1e-6)))

    def log_lowest_p99_ms(self, where: Sequence[Params]) -> Array:
        """Log of the lowest p99 of any load, shape (beliefs, configurations)."""
        asked = self.conditions
        lowest = np.full((self.log_odds.size, len(where)), np.inf)
        load = 1
        while load <= asked.max_concurrency:
            rows = float(load * asked.request_rows)
            at = encoding.setting(where, [rows] * len(where), request_rows=asked.request_rows)
            lowest = np.minimum(lowest, self.beliefs.p99_ms(at, tail=self.tail))
            load *= 2
        return np.asarray(np.log(lowest))

    def expected_value(self, where: Sequence[Params]) -> Array:
        """Mean over the beliefs of the best throughput within the limit, shape (n,)."""
        weights = np.exp(self.log_odds)
        return np.asarray(weights @ np.exp(self.log_value(where)) / weights.sum())

    def saturation(self, params: Params) -> Saturation:
        """The least load that should nearly reach the configuration's best within the limit."""
        asked = self.conditions
        full = encoding.capacity(params, request_rows=asked.request_rows)
        loads = _loads(full, min(asked.max_concurrency, 2 * full))
        at = encoding.setting(
            [params] * len(loads),
            [float(load * asked.request_rows) for load in loads],
            request_rows=asked.request_rows,
        )
        reached = self.beliefs.reached(at, latency_limit_ms=asked.p99_limit_ms, tail=self.tail)
        weights = np.exp(self.log_odds) / np.exp(self.log_odds).sum()
        expected = weights @ reached
        least = int(np.argmax(expected >= _NEARLY * expected.max()))
        throughput = self.beliefs.throughput(at)
        room = throughput[:, least:].max(axis=1) / throughput[:, least]
        return Saturation(
            concurrency=loads[least],
            throughput_per_s=float(weights @ throughput[:, least]),
            room=_quantile(room, weights, _SURELY),
        )

    def trial_s(self, params: Params) -> float:
        """Seconds that a trial is likely to take, roughly.

        Short waits all take the same; long ones count.
        """
        load = self.saturation(params)
        wait_s = load.concurrency * self.conditions.request_rows / load.throughput_per_s
        return _START_S + max(_WINDOW_S, _ROUNDS * wait_s)


def predict(
    serving: Sequence[Seen], conditions: Conditions, *, log_prior: Array
) -> Prediction | None:
    """Weigh the beliefs; None where no level of a closed loop was measured.

    Args:
        serving: what was measured.
        conditions: what is asked for.
        log_prior: of the beliefs before anything was measured.
    """
    rows = conditions.request_rows
    at, throughput_per_s = encoding.levels(serving, request_rows=rows)
    if not throughput_per_s.size:
        return None
    executed = encoding.executed(serving, request_rows=rows)
    beliefs = batcher.fit(at, throughput_per_s, executed, request_rows=rows)
    log_weight = _LEVELS_COUNT * beliefs.log_likelihood + log_prior
    log_odds = log_weight - log_weight.max()
    plausible = np.flatnonzero(log_odds > -_IMPLAUSIBLE)
    return Prediction(
        beliefs=beliefs.only(plausible),
        log_odds=log_odds[plausible],
        tail=encoding.tail(serving),
        conditions=conditions,
    )


def _quantile(values: Array, weights: Array, share: float) -> float:
    """The value that is not exceeded by so much of the weight."""
    ascending = np.argsort(values)
    below = np.searchsorted(np.cumsum(weights[ascending]), share * weights.sum())
    return float(values[ascending[min(int(below), values.size - 1)]])


def _loads(full: int, most: int) -> list[int]:
    """Loads to consider, ascending: half octaves, and those that just fill the instances."""
    octaves = {round(2 ** (half / 2)) for half in range(2 * most.bit_length() + 1)}
    return sorted(load for load in octaves | {full, most} if load <= most)
