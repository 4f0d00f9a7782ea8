"""How far a sum over neighbouring slices of a run may be off.

Slices that still resemble their neighbours tell less than as many independent ones: the variance
grows by the factor ``(1 + r) / (1 - r)`` of an autoregressive process with the lag-1 correlation
r, as in Steiger et al., «ASAP3: a batch means procedure for steady-state simulation analysis»,
2005.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LARGEST_CORRELATION = 0.8
_SMALLEST_CORRELATION = -0.5


def total_variance(residuals: NDArray[np.float64], *, negative: bool) -> tuple[float, int]:
    """Return the variance of the residuals' sum, and its degrees of freedom.

    Args:
        residuals: one a slice, summing to 0.
        negative: let a negative correlation, which the cutting of epochs makes, count too.
    """
    count = len(residuals)
    squares = float(residuals @ residuals)
    if squares == 0:
        return 0.0, count - 1
    # The lag-1 estimate is too low by about 1 / count; half of a chance correlation is ignored.
    correlation = float(residuals[1:] @ residuals[:-1]) / squares + 1 / count
    lowest = _SMALLEST_CORRELATION if negative else 0.0
    correlation = min(max(correlation, lowest), _LARGEST_CORRELATION)
    if abs(correlation) < 1 / math.sqrt(count):
        correlation = 0.0
    factor = (1 + correlation) / (1 - correlation)
    # The squares are correlated by the square of the correlation.
    degrees = max(1, round((count - 1) * (1 - correlation**2) / (1 + correlation**2)))
    return factor * squares * count / (count - 1), degrees
