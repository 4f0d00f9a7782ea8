"""The default search: a model of Triton's batcher, corrected by a Gaussian process.

After every trial each belief about the model's compute time (see ``batcher``) is weighed by how
well it explains what was measured. It predicts every configuration that is left; a Gaussian
process learns how it errs; what is proposed next has the highest expected improvement among the
configurations that are likely to load and to keep the limits. A prior mean that knows nothing of
batching stands beside the beliefs and takes over where the evidence is against all of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tuner.search import earlier as earlier_studies
from tuner.search import encoding, gaussian, memory
from tuner.search.port import Proposal
from tuner.search.prediction import Conditions, predict
from tuner.search.reason import reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.record import Params, Value
    from tuner.search.gaussian import Mixture
    from tuner.search.port import Proposer, Seen
    from tuner.search.prediction import Prediction
    from tuner.space.knobs import SearchSpace

Array: TypeAlias = NDArray[np.float64]

_UNINFORMED_LOG_WEIGHT = -4.0
"""Of the prior mean that knows nothing, against each single belief."""

_HEIGHTS_DIFFER = 1.0
"""Log of the factor by which one belief may be higher or lower than the others."""

_HOPELESS = 1.0
"""Log of the factor below the best from which on all is alike."""

_LIKELY_FEASIBLE = 0.9
"""Chance of serving within the limits where nothing near was tried."""

_CAUTION = 2
"""Power of the chance to fit, one more with each rejection: a launch that fails costs a whole
load and finds nothing, and a smaller step up would have told as much."""

_LONG_SHOT = 1e-4
"""Expected gain of what could reach the best with some luck; counts where nothing else does."""

_EARLY = 3
"""While fewer trials are known, the best of an earlier study comes next."""

_LITTLE, _WEIGHED, _NEAR_ENOUGH = 0.3, 32, 0.5
"""Where less than this share is to be gained, so many of the best are weighed against their time,
but only those that promise this share of the best."""

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
        gpu_memory_limit_bytes: a limit on the GPU's peak memory, where there is one.
        earlier: what studies of the same model or architecture saw, judged by this
            study's objective and limits; the configurations may lie outside the space.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        max_concurrency: int = 1024,
        request_batch: int = 1,
        p99_limit_ms: float | None = None,
        gpu_memory_limit_bytes: float | None = None,
        earlier: Sequence[Seen] = (),
    ) -> None:
        self._space = space
        self._seed = seed
        self._request_batch = request_batch
        self._gpu_limit_bytes = gpu_memory_limit_bytes
        self._conditions = Conditions(
            max_concurrency=max_concurrency,
            request_rows=request_batch,
            p99_limit_ms=p99_limit_ms,
        )
        self._candidates = space.candidates()
        coordinates = encoding.features(self._candidates, space.knobs, request_rows=request_batch)
        self._coordinates = {
            _key(params): row for params, row in zip(self._candidates, coordinates, strict=True)
        }
        self._earlier = tuple(earlier)
        self._log_prior = earlier_studies.log_prior(self._earlier, request_rows=request_batch)
        self._earlier_best = earlier_studies.best(self._earlier, space)

    def propose(self, history: Sequence[Seen]) -> Proposal | None:
        """Propose what promises most; None when nothing is left that could serve."""
        taken = {_key(self._space.canonical(seen.params)) for seen in history}
        if not taken:
            return Proposal(params=self._space.default, why="the configuration as it stands")
        unseen = [params for params in self._candidates if _key(params) not in taken]
        chance = self._chance_to_fit(unseen, history)
        worth_it = self._worth_a_launch(chance, history)
        if not worth_it.any():
            return None
        prediction = predict(_serving(history), self._conditions, log_prior=self._log_prior)
        proposal = self._best_of_earlier(unseen, chance, history) or self._choose(
            [unseen[i] for i in np.flatnonzero(worth_it)], chance[worth_it], history, prediction
        )
        if prediction is None:
            return proposal
        return replace(proposal, saturation=prediction.saturation(proposal.params))

    def _chance_to_fit(self, unseen: Sequence[Params], history: Sequence[Seen]) -> Array:
        """Probability that each loads; 0 only where it surely does not, or takes too much."""
        at = encoding.setting(unseen, [1.0] * len(unseen), request_rows=self._request_batch)
        loaded = encoding.loaded(
            history, request_rows=self._request_batch, gpu_limit_bytes=self._gpu_limit_bytes
        )
        # Where memory does not explain a rejection, what is left may fit after all.
        chance = memory.chance_to_fit(at.batch, at.instances, loaded)
        out = memory.hopeless(at.batch, at.instances, loaded)
        out |= memory.beyond_limit(at.batch, at.instances, loaded)
        return np.where(out, 0.0, np.maximum(chance, _LAST_CHANCE))

    def _worth_a_launch(self, chance: Array, history: Sequence[Seen]) -> NDArray[np.bool_]:
        """Which are likely enough to load; where none is, what may load."""
        least = memory.least_chance(sum(seen.rejected for seen in history))
        likely = chance >= least
        return likely if likely.any() else chance > 0

    def _best_of_earlier(
        self, unseen: Sequence[Params], chance: Array, history: Sequence[Seen]
    ) -> Proposal | None:
        """What was best in an earlier study, as long as little is known of this one."""
        known = self._earlier_best
        if known is None or known not in unseen or len(history) >= _EARLY:
            return None
        if chance[unseen.index(known)] <= _LAST_CHANCE:
            return None
        return Proposal(params=known, why="the best of an earlier study")

    def _choose(
        self,
        unseen: Sequence[Params],
        chance: Array,
        history: Sequence[Seen],
        prediction: Prediction | None,
    ) -> Proposal:
        serving = _serving(history)
        if not serving:
            return self._simplest(unseen, chance)
        keeping = [seen for seen in serving if seen.violation <= 0]
        welcome = chance ** (_CAUTION + sum(seen.rejected for seen in history))
        welcome *= self._chance_to_keep(unseen, history)
        welcome *= earlier_studies.caution(unseen, self._earlier, history)
        if not keeping:
            hope = self._hope_to_keep(unseen, serving, prediction)
            best = self._best(unseen, hope * welcome, len(history))
            return Proposal(params=unseen[best], why="most likely to keep the limits")
        mixture = self._expect_value(unseen, keeping, prediction)
        gain = mixture.expected_improvement() * welcome
        # Where nothing is left to gain, what could still win rather than the first in the list.
        could = np.exp(np.minimum(mixture.mean() + 2 * mixture.deviation() - mixture.bar(), 0.0))
        merit = gain + _LONG_SHOT * could * welcome
        best = self._best(unseen, merit, len(history), prediction)
        return Proposal(
            params=unseen[best],
            why=reason(
                ahead=float(mixture.mean()[best] - mixture.bar()),
                deviation=float(mixture.deviation()[best]),
                gain=float(gain[best]),
            ),
            expected_gain=float(np.expm1(max(gain[best], 0.0))),
        )

    def _best(
        self,
        unseen: Sequence[Params],
        merit: Array,
        tried: int,
        prediction: Prediction | None = None,
    ) -> int:
        """The place of the highest merit; of what is as good as equal the cheaper, then by lot.

        Where little is left to gain, and it is predicted how long trials take, the most merit for
        its time (Snoek, Larochelle and Adams, «Practical Bayesian optimization», 2012), of what
        comes near the highest.
        """
        cost = self._features(unseen).sum(axis=1)
        lot = np.random.default_rng([self._seed, tried]).random(len(unseen))
        merit = merit * (1 + 0.005 * lot) / (1 + 0.02 * cost)
        best = np.argsort(merit)[::-1][:_WEIGHED]
        best = best[merit[best] >= _NEAR_ENOUGH * merit[best[0]]]
        if prediction is None or merit[best[0]] > _LITTLE:
            return int(best[0])
        per_s = [merit[place] / prediction.trial_s(unseen[place]) for place in best]
        return int(best[int(np.argmax(per_s))])

    def _simplest(self, unseen: Sequence[Params], chance: Array) -> Proposal:
        """Nothing has served yet: what is most likely to load, and smallest."""
        cost = self._features(unseen).sum(axis=1)
        best = int(np.lexsort((cost, -chance))[0])
        return Proposal(params=unseen[best], why="nothing has served yet; most likely to load")

    def _expect_value(
        self,
        unseen: Sequence[Params],
        keeping: Sequence[Seen],
        prediction: Prediction | None,
    ) -> Mixture:
        values = np.array([seen.value for seen in keeping], dtype=np.float64)
        log_values = encoding.logarithm(values)
        where = [*(seen.params for seen in keeping), *unseen]
        prior = np.full((1, len(where)), log_values.mean())
        log_weights = np.array([_UNINFORMED_LOG_WEIGHT])
        if prediction is not None and (values > 0).all():
            log_predicted = prediction.log_value(where)
            # Their absolute height is the objective's affair; the shape is what they know.
            height = (log_values - log_predicted[:, : len(keeping)]).mean(axis=1, keepdims=True)
            # A belief that sees a limit missed where it was kept is wrong, and not just low.
            usual = np.median(height)
            height = np.clip(height, usual - _HEIGHTS_DIFFER, usual + _HEIGHTS_DIFFER)
            prior = np.vstack([prior, log_predicted + height])
            log_weights = np.concatenate([log_weights, prediction.log_odds])
        # By how much something is hopeless does not matter, and would only upset the correction.
        hopeless, known = log_values.max() - _HOPELESS, slice(len(keeping))
        log_values = np.maximum(log_values, hopeless)
        prior[:, known] = np.maximum(prior[:, known], hopeless)
        return self._infer(unseen, keeping, log_values, prior, log_weights)

    def _hope_to_keep(
        self, unseen: Sequence[Params], serving: Sequence[Seen], prediction: Prediction | None
    ) -> Array:
        """Nothing keeps the limits yet: what does most likely, and with most throughput."""
        nearness = -np.log1p([seen.violation for seen in serving])
        where = [*(seen.params for seen in serving), *unseen]
        prior = np.full((1, len(where)), nearness.mean())
        log_weights = np.zeros(1)
        limit_ms = self._conditions.p99_limit_ms
        if prediction is None or limit_ms is None:
            mixture = self._infer(unseen, serving, nearness, prior, log_weights)
            return mixture.expected_improvement()
        prior = np.vstack([prior, np.log(limit_ms) - prediction.log_lowest_p99_ms(where)])
        log_weights = np.concatenate([[_UNINFORMED_LOG_WEIGHT], prediction.log_odds])
        mixture = self._infer(unseen, serving, nearness, prior, log_weights)
        return np.asarray(mixture.chance_above(0.0) * prediction.expected_value(unseen))

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
        """As ``encoding.features``, which takes longer."""
        return np.array([self._row(params) for params in where])

    def _row(self, params: Params) -> Array:
        known = self._coordinates.get(_key(params))
        if known is None:
            knobs = self._space.knobs
            known = encoding.features([params], knobs, request_rows=self._request_batch)[0]
        return np.asarray(known)


def _serving(history: Sequence[Seen]) -> list[Seen]:
    """What was measured and can serve."""
    return [seen for seen in history if seen.value is not None and not seen.rejected]


def _key(params: Params) -> tuple[Value, ...]:
    return tuple(params.values())


if TYPE_CHECKING:

    def _is_a_proposer(proposer: ModelGuided) -> Proposer:
        return proposer
