"""How much better one configuration is than another, with an interval.

A gain is relative: 0.38 means 38 % more. Ratios are compared on the log scale, on which «twice»
and «half» are as far from «the same».
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tuner.measure.estimate import Estimate
from tuner.measure.student import CONFIDENCE, t_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEWEST_PAIRS = 2


def paired_gain(
    candidate: Sequence[float], baseline: Sequence[float], *, tail: float = 1 - CONFIDENCE
) -> Estimate:
    """Gain of the candidate from values measured side by side.

    What both of a pair share, such as a clock that throttles, cancels. The interval is Student's
    t on the logarithms of the pairs' ratios, so it also holds the spread between fresh servers.

    Args:
        candidate: one value a pair, above 0.
        baseline: the value measured next to it, above 0.
        tail: chance that the interval misses the true gain, to both sides together.

    Returns:
        The gain of the geometric mean; ``n_effective`` counts pairs.

    Raises:
        ValueError: fewer than two pairs, sides of different length, or a value of 0 or less.
    """
    if len(candidate) != len(baseline) or len(candidate) < _FEWEST_PAIRS:
        raise ValueError(
            f"a paired gain needs as many candidates as baselines, and two at least;"
            f" got {len(candidate)} and {len(baseline)}"
        )
    if min(*candidate, *baseline) <= 0:
        raise ValueError(f"a ratio needs values above 0; got {candidate} and {baseline}")
    ratios = np.log(np.asarray(candidate) / np.asarray(baseline))
    pairs = len(ratios)
    mean = float(ratios.mean())
    half = t_quantile(pairs - 1, tail) * float(ratios.std(ddof=1)) / math.sqrt(pairs)
    return Estimate(
        value=math.expm1(mean),
        low=math.expm1(mean - half),
        high=math.expm1(mean + half),
        n_effective=float(pairs),
    )


def ratio_gain(candidate: Estimate, baseline: Estimate) -> Estimate:
    """Gain of the candidate from two numbers that were measured apart.

    The two intervals are joined without their degrees of freedom: on the log scale each bound
    lies off by the root of the squared distances of the two bounds it comes from (MOVER; Zou and
    Donner, «Construction of confidence limits about effect measures», 2008).

    Returns:
        The gain. Its lower end is -1 where the candidate's interval reaches 0, its upper end
        infinite where the baseline's does.

    Raises:
        ValueError: a value of 0 or less.
    """
    if min(candidate.value, baseline.value) <= 0:
        raise ValueError(
            f"a ratio needs values above 0; got {candidate.value} and {baseline.value}"
        )
    mean = math.log(candidate.value / baseline.value)
    down = math.hypot(_below(candidate), _above(baseline))
    up = math.hypot(_above(candidate), _below(baseline))
    return Estimate(
        value=math.expm1(mean),
        low=math.expm1(mean - down),
        high=math.expm1(mean + up),
        n_effective=min(candidate.n_effective, baseline.n_effective),
    )


def _below(estimate: Estimate) -> float:
    return math.log(estimate.value / estimate.low) if estimate.low > 0 else math.inf


def _above(estimate: Estimate) -> float:
    return math.log(estimate.high / estimate.value)
