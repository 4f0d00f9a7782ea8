"""A small exact Gaussian process with several prior means at once.

The kernel's hyperparameters come from a grid, weighed by their marginal likelihood; so are the
prior means. Prediction is the mixture. Meant for up to a few hundred observations. Formulas:
Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5;
expected improvement: Jones, Schonlau and Welch (1998).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

_HYPERS = tuple(
    itertools.product(
        (0.6, 1.5, 4.0),  # length, in units of the features
        (0.05, 0.15, 0.4, 1.2),  # amplitude, in units of what is observed
        (0.01, 0.03, 0.08),  # noise, the same
    )
)
_OFFSET_VARIANCE = 0.3
"""Of a constant added to each prior mean: its level is not known, only its shape."""

_NEGLIGIBLE = 1e-3
"""Parts of the mixture that weigh less than this against the heaviest are left out."""

_MOST_PARTS = 60


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """What is believed of the candidates: a weighted mixture of normal distributions.

    Attributes:
        weights: shape (parts,), summing to 1.
        means: shape (parts, candidates).
        deviations: shape (parts, candidates).
        bests: shape (parts,); the highest mean at a place that was observed.
        prior: shape (parts,); which prior mean each part has.
    """

    weights: Array
    means: Array
    deviations: Array
    bests: Array
    prior: NDArray[np.int64]

    def mean(self) -> Array:
        """Mean of the mixture, shape (candidates,)."""
        return np.asarray(self.weights @ self.means)

    def bar(self) -> float:
        """Mean over the parts of the best that each was shown."""
        return float(self.weights @ self.bests)

    def deviation(self) -> Array:
        """Standard deviation of the mixture, shape (candidates,)."""
        spread = self.weights @ (self.deviations**2 + self.means**2) - self.mean() ** 2
        return np.asarray(np.sqrt(np.maximum(spread, 0.0)))

    def expected_improvement(self) -> Array:
        """Over each part's own best, so that a lucky observation is no bar; (candidates,)."""
        gap = self.means - self.bests[:, None]
        z = gap / self.deviations
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        improvement = gap * normal_cdf(z) + self.deviations * density
        return np.asarray(self.weights @ improvement)

    def chance_above(self, bar: float) -> Array:
        """Probability that each candidate lies above ``bar``, shape (candidates,)."""
        return np.asarray(self.weights @ normal_cdf((self.means - bar) / self.deviations))


def infer(
    *,
    observed_at: Array,
    observed: Array,
    prior_at_observed: Array,
    candidates: Array,
    prior_at_candidates: Array,
    prior_log_weights: Array,
) -> Mixture:
    """Learn from the observations how each prior mean errs, and which to trust.

    Args:
        observed_at: shape (n, features), n >= 1.
        observed: shape (n,).
        prior_at_observed: shape (priors, n).
        candidates: shape (m, features).
        prior_at_candidates: shape (priors, m).
        prior_log_weights: shape (priors,).
    """
    residual = (observed - prior_at_observed).T
    near = _distances(observed_at, observed_at)
    far = _distances(candidates, observed_at)
    fits = [_fit(near, residual, *hyper) for hyper in _HYPERS]
    evidence = np.stack([fit.evidence for fit in fits]) + prior_log_weights
    which, prior = _heaviest(evidence)
    weights = np.exp(evidence[which, prior] - evidence.max())
    corrections = {row: _predict(fits[row], near, far) for row in np.unique(which)}
    means, deviations, bests = [], [], []
    for row, mean in zip(which, prior, strict=True):
        ahead, seen, deviation = corrections[row]
        means.append(prior_at_candidates[mean] + ahead[:, mean])
        deviations.append(deviation)
        bests.append((prior_at_observed[mean] + seen[:, mean]).max())
    return Mixture(
        weights=weights / weights.sum(),
        means=np.array(means),
        deviations=np.array(deviations),
        bests=np.array(bests),
        prior=prior,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Fit:
    """One choice of hyperparameters, given the observations.

    Attributes:
        length: of the kernel, in units of the features.
        amplitude: of the kernel, in units of what is observed.
        factor: Cholesky factor of the covariance, shape (n, n).
        whitened: ``factor^-1 · residual``, shape (n, priors).
        evidence: log marginal likelihood up to a constant, shape (priors,).
    """

    length: float
    amplitude: float
    factor: Array
    whitened: Array
    evidence: Array


def _fit(near: Array, residual: Array, length: float, amplitude: float, noise: float) -> _Fit:
    covariance = _matern(near / length, amplitude) + noise**2 * np.eye(len(near))
    factor = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(factor, residual)
    evidence = -0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(factor)).sum()
    return _Fit(
        length=length, amplitude=amplitude, factor=factor, whitened=whitened, evidence=evidence
    )


def _predict(fit: _Fit, near: Array, far: Array) -> tuple[Array, Array, Array]:
    """Correction of each prior mean at the candidates and where observed; deviation ahead."""
    across = np.linalg.solve(fit.factor, _matern(far / fit.length, fit.amplitude).T)
    within = np.linalg.solve(fit.factor, _matern(near / fit.length, fit.amplitude))
    left = fit.amplitude**2 + _OFFSET_VARIANCE - (across**2).sum(axis=0)
    deviation = np.sqrt(np.maximum(left, 1e-8))
    return across.T @ fit.whitened, within.T @ fit.whitened, deviation


def _heaviest(evidence: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (hyperparameters) and columns (prior means) that are worth keeping."""
    kept = np.argsort(evidence, axis=None)[::-1][:_MOST_PARTS]
    kept = kept[evidence.ravel()[kept] > evidence.max() + math.log(_NEGLIGIBLE)]
    return kept // evidence.shape[1], kept % evidence.shape[1]


def normal_cdf(z: Array) -> Array:
    """Standard normal distribution function, to 7.5e-8 (Abramowitz and Stegun 26.2.17)."""
    t = 1 / (1 + 0.2316419 * np.abs(z))
    series = t * (
        0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    )
    upper = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) * series
    return np.where(z >= 0, 1 - upper, upper)


def _distances(one: Array, other: Array) -> Array:
    return np.asarray(np.sqrt(((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)))


def _matern(scaled: Array, amplitude: float) -> Array:
    """Matérn 5/2 plus the variance of the unknown offset."""
    root = math.sqrt(5) * scaled
    smooth = (1 + root + root**2 / 3) * np.exp(-root)
    return np.asarray(amplitude**2 * smooth + _OFFSET_VARIANCE)
