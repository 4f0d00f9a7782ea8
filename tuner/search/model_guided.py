"""The default search: a model of Triton's batcher, corrected by a Gaussian process.

After every trial each belief about the model's compute time (see ``batcher``) is weighed by how
well it explains what was measured. It predicts every configuration that is left; a Gaussian
process learns how it errs; what is proposed next has the highest expected improvement among the
configurations that are likely to load and to keep the limits. A prior mean that knows nothing of
batching stands beside the beliefs and takes over where the evidence is against all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tuner.search import batcher, encoding, gaussian, memory
from tuner.search.port import Proposal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.record import Params, Value
    from tuner.search.gaussian import Mixture
    from tuner.search.port import Proposer, Seen
    from tuner.space.knobs import SearchSpace

Array: TypeAlias = NDArray[np.float64]

_UNINFORMED_LOG_WEIGHT = -4.0
"""Of the prior mean that knows nothing, against each single belief."""

_LEVELS_COUNT = 0.5
"""Levels of one trial err together, so each counts for less than an independent one."""

_LIKELY_FEASIBLE = 0.9
"""Chance of serving within the limits where nothing near was tried."""

_CAUTION = 2
"""Power of the chance to fit, one more with each rejection: a launch that fails costs a whole
load and finds nothing, and a smaller step up would have told as much."""

_LAST_CHANCE = 0.01
"""Of fitting, for what is tried when nothing likelier is left."""


class ModelGuided:
    """Proposes what a model of the batcher and a Gaussian process expect most of.

    Args:
        space: what may change; knobs that this module does not know are left to the Gaussian
            process.
        seed: settles what is as good as equal.
        max_concurrency: the heaviest load that is driven, in requests.
        request_batch: rows in each request.
        p99_limit_ms: a limit on p99 latency, where there is one.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        max_concurrency: int = 1024,
        request_batch: int = 1,
        p99_limit_ms: float | None = None,
    ) -> None:
        self._space = space
        self._seed = seed
        self._max_rows = max_concurrency * request_batch
        self._request_batch = request_batch
        self._p99_limit_ms = p99_limit_ms
        self._candidates = space.candidates()

    def propose(self, history: Sequence[Seen]) -> Proposal | None:
        """Propose what promises most; None when nothing is left that could serve."""
        taken = {_key(self._space.canonical(seen.params)) for seen in history}
        if not taken:
            return Proposal(params=self._space.default, why="the configuration as it stands")
        unseen = [params for params in self._candidates if _key(params) not in taken]
        chance = self._chance_to_fit(unseen, history)
        allowed = np.flatnonzero(chance > 0)
        if not allowed.size:
            return None
        return self._most_promising([unseen[i] for i in allowed], chance[allowed], history)

    def _chance_to_fit(self, unseen: Sequence[Params], history: Sequence[Seen]) -> Array:
        """Probability that each loads; 0 where that is too little for a launch."""
        at = encoding.setting(unseen, [1.0] * len(unseen), request_rows=self._request_batch)
        loaded = encoding.loaded(history, request_rows=self._request_batch)
        hopeless = memory.hopeless(at.batch, at.instances, loaded)
        chance = memory.chance_to_fit(at.batch, at.instances, loaded)
        chance[hopeless] = 0.0
        least = memory.least_chance(sum(seen.rejected for seen in history))
        if (chance >= least).any():
            chance[chance < least] = 0.0
            return chance
        # What is left may fit after all: rejections can have other causes than memory.
        chance[~hopeless] = np.maximum(chance[~hopeless], _LAST_CHANCE)
        return chance

    def _most_promising(
        self, unseen: Sequence[Params], chance: Array, history: Sequence[Seen]
    ) -> Proposal:
        serving = [seen for seen in history if seen.value is not None and not seen.rejected]
        keeping = [seen for seen in serving if seen.violation <= 0]
        if not serving:
            return self._simplest(unseen, chance)
        if keeping:
            mixture = self._expect_value(unseen, keeping, serving)
        else:
            mixture = self._expect_violation(unseen, serving)
        caution = _CAUTION + sum(seen.rejected for seen in history)
        gain = mixture.expected_improvement() * chance**caution
        gain *= self._chance_to_keep(unseen, history)
        # What is as good as equal: the cheaper one, then by lot.
        coordinates = self._features(unseen)
        lot = np.random.default_rng([self._seed, len(history)]).random(len(unseen))
        best = int(np.argmax(gain * (1 + 0.005 * lot) / (1 + 0.02 * coordinates.sum(axis=1))))
        return Proposal(
            params=unseen[best],
            why=self._why(mixture, best) if keeping else "most likely to keep the limits",
            expected_gain=float(np.expm1(gain.max())) if keeping else None,
        )

    def _simplest(self, unseen: Sequence[Params], chance: Array) -> Proposal:
        """Nothing has served yet: what is most likely to load, and smallest."""
        cost = self._features(unseen).sum(axis=1)
        best = int(np.lexsort((cost, -chance))[0])
        return Proposal(params=unseen[best], why="nothing has served yet; most likely to load")

    def _expect_value(
        self, unseen: Sequence[Params], keeping: Sequence[Seen], serving: Sequence[Seen]
    ) -> Mixture:
        values = np.array([seen.value for seen in keeping], dtype=np.float64)
        log_values = _logarithm(values)
        where = [*(seen.params for seen in keeping), *unseen]
        flat = np.full((1, len(where)), log_values.mean())
        log_weights = np.array([_UNINFORMED_LOG_WEIGHT])
        predicted = self._predict(where, serving) if (values > 0).all() else None
        if predicted is not None:
            log_predicted, log_likelihood = predicted
            # Their absolute height is the objective's affair; the shape is what they know.
            height = (log_values - log_predicted[:, : len(keeping)]).mean(axis=1, keepdims=True)
            flat = np.vstack([flat, log_predicted + height])
            log_weights = np.concatenate([log_weights, log_likelihood - log_likelihood.max()])
        return self._infer(unseen, keeping, log_values, flat, log_weights)

    def _expect_violation(self, unseen: Sequence[Params], serving: Sequence[Seen]) -> Mixture:
        """Nothing keeps the limits yet: get nearer to them."""
        nearness = -np.log1p([seen.violation for seen in serving])
        flat = np.full((1, len(serving) + len(unseen)), nearness.mean())
        return self._infer(unseen, serving, nearness, flat, np.zeros(1))

    def _infer(
        self,
        unseen: Sequence[Params],
        seen: Sequence[Seen],
        observed: Array,
        prior: Array,
        log_weights: Array,
    ) -> Mixture:
        return gaussian.infer(
            observed_at=self._features([one.params for one in seen]),
            observed=observed,
            prior_at_observed=prior[:, : len(seen)],
            candidates=self._features(unseen),
            prior_at_candidates=prior[:, len(seen) :],
            prior_log_weights=log_weights,
        )

    def _predict(
        self, where: Sequence[Params], serving: Sequence[Seen]
    ) -> tuple[Array, Array] | None:
        """Log throughput under each belief, and each belief's log likelihood."""
        at, throughput_per_s = encoding.levels(serving, request_rows=self._request_batch)
        if not throughput_per_s.size:
            return None
        beliefs = batcher.fit(
            at,
            throughput_per_s,
            encoding.executed(serving, request_rows=self._request_batch),
            request_rows=self._request_batch,
        )
        value = beliefs.value(
            encoding.setting(where, [1.0] * len(where), request_rows=self._request_batch),
            max_rows=self._max_rows,
            latency_limit_ms=self._p99_limit_ms,
            tail=encoding.tail(serving),
        )
        return np.log(np.maximum(value, 1e-6)), _LEVELS_COUNT * beliefs.log_likelihood

    def _chance_to_keep(self, unseen: Sequence[Params], history: Sequence[Seen]) -> Array:
        """Probability of serving within the limits: the share of those near that did.

        A rejection that size explains is left to ``_chance_to_fit``.
        """
        ended = [seen for seen in history if seen.rejected or seen.value is not None]
        explained = memory.explained(encoding.loaded(ended, request_rows=self._request_batch))
        ended = [seen for seen, out in zip(ended, explained, strict=True) if not out]
        kept = np.array([float(seen.violation <= 0 and not seen.rejected) for seen in ended])
        gap = self._features(unseen)[:, None, :] - self._features([s.params for s in ended])
        near = np.exp(-2 * (gap**2).sum(axis=2))
        return np.asarray((near @ kept + _LIKELY_FEASIBLE) / (near.sum(axis=1) + 1))

    def _features(self, where: Sequence[Params]) -> Array:
        return encoding.features(where, self._space.knobs, request_rows=self._request_batch)

    def _why(self, mixture: Mixture, best: int) -> str:
        mean, deviation = mixture.mean()[best], mixture.deviation()[best]
        bar = float(mixture.weights @ mixture.bests)
        what = f"predicts {np.expm1(mean - bar):+.0%} against the best so far"
        if mean > bar:
            return f"{what}; most likely improvement"
        return f"{what}, give or take {np.expm1(deviation):.0%}; least known region"


def _key(params: Params) -> tuple[Value, ...]:
    return tuple(params.values())


def _logarithm(values: Array) -> Array:
    """On a scale where equal steps are equal shares; values of one sign, larger is better."""
    if (values > 0).all():
        return np.log(values)
    if (values < 0).all():
        return -np.log(-values)
    return np.asarray(values / np.abs(values).max(initial=1e-9))


if TYPE_CHECKING:

    def _is_a_proposer(proposer: ModelGuided) -> Proposer:
        return proposer
