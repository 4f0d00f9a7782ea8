"""Student's t distribution, for the intervals and the tests of this room."""

from __future__ import annotations

import math
from functools import lru_cache

CONFIDENCE = 0.95
"""Nominal coverage of every interval."""


def t_tail(t: float, degrees: int) -> float:
    """Two-sided tail: the chance that |T| exceeds ``t`` >= 0.

    Source: the finite series for whole degrees of freedom, Abramowitz and Stegun,
    26.7.3 (odd) and 26.7.4 (even).
    """
    angle = math.atan(t / math.sqrt(degrees))
    cos, sin = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    term = cos if odd else 1.0
    series = term if degrees > 1 else 0.0
    for step in range(2 + odd, degrees - 1, 2):
        term *= cos * cos * (step - 1) / step
        series += term
    inside = 2 / math.pi * (angle + sin * series) if odd else sin * series
    return max(0.0, 1.0 - inside)


@lru_cache(maxsize=512)
def t_quantile(degrees: int, tail: float = 1 - CONFIDENCE) -> float:
    """Return the t that |T| exceeds with the chance ``tail``.

    Args:
        degrees: degrees of freedom, at least 1.
        tail: two-sided, above 1e-12; 0.05 gives the factor of a 95 % interval.
    """
    low, high = 0.0, 1.0
    while t_tail(high, degrees) > tail:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if t_tail(middle, degrees) > tail:
            low = middle
        else:
            high = middle
    return high
