"""Why a configuration is proposed, in words."""

from __future__ import annotations

import math

from tuner.search.patience import NEGLIGIBLE_GAIN

_MULTIPLE = 2.0
"""From here on people think in multiples."""


def reason(ahead: float, deviation: float, gain: float) -> str:
    """Such as ``predicts +12% against the best so far; most likely improvement``.

    Args:
        ahead: log of the predicted value over that of the best so far.
        deviation: of that prediction, as a standard deviation of the log.
        gain: the improvement that is expected, of the log.
    """
    what = f"predicts {_against_the_best(ahead)}"
    if ahead > 0:
        return f"{what}; most likely improvement"
    what = f"{what}, give or take {math.expm1(deviation):.0%}"
    if gain >= NEGLIGIBLE_GAIN:
        return f"{what}; may still win"
    return f"{what}; likeliest to win of what is left"


def _against_the_best(ahead: float) -> str:
    ratio = math.exp(ahead)
    if ratio >= _MULTIPLE:
        return f"{ratio:.3g}x the best so far"
    share = f"{ratio - 1:+.0%}"
    if share in {"+0%", "-0%"}:
        return "as much as the best so far"
    return f"{share} against the best so far"
