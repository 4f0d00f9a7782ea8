"""The only place where numbers are rounded for the eye.

A number with an interval shows as many digits as the interval bears: two significant digits of
its half-width. One without shows four significant digits. What was not measured is a dash.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tuner.measure.estimate import Estimate

if TYPE_CHECKING:
    from tuner.measure.record import Value

MISSING = "\N{EN DASH}"
"""How an absent number looks."""

_TWICE = 1.995
"""From here on a gain reads better as a factor than in per cent."""

_THOUSANDTH = 1e-3
_TEN_FOLD = 9.995

_SLACK = 1e-6  # 3 % is 3 %, whatever the last bit says
_MOST_DECIMALS = 6
_SIGNIFICANT = 4

Number: TypeAlias = Estimate | float | None
"""What a metric may come to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One value of a table, rounded for reading and whole for computing.

    Attributes:
        text: rounded; a dash where there is nothing.
        value: unrounded, in the column's unit; None where there is nothing.
        interval: the 95 % interval, rounded like the text; empty where there is none.
        low: its lower end, unrounded.
        high: its upper end, unrounded.
        note: why the value is what it is, such as why a percentile was refused.
    """

    text: str
    value: Value | float | None = None
    interval: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""


EMPTY = Cell(text=MISSING)
"""Nothing was measured."""


def cell(number: Number, *, decimals: int | None = None, note: str = "") -> Cell:
    """A number for a table, with its interval where it has one.

    Args:
        number: in the column's unit.
        decimals: for numbers without an interval, where four digits are not what is wanted.
        note: why it is what it is.
    """
    if number is None:
        return Cell(text=MISSING, note=note)
    if isinstance(number, Estimate):
        return Cell(
            text=point(number),
            value=number.value,
            interval=span(number),
            low=number.low,
            high=number.high,
            note=note,
        )
    text = plain(number) if decimals is None else f"{number:.{decimals}f}"
    return Cell(text=text, value=number, note=note)


def words(text: str, value: Value | None = None) -> Cell:
    """A word for a table; ``value`` where a program wants another one."""
    return Cell(text=text, value=text if value is None else value)


def plain(value: float) -> str:
    """A number that has no interval: four significant digits, no exponent.

    From a thousandth up three decimals are enough: a microsecond, where it is milliseconds.
    """
    if not math.isfinite(value) or value == math.trunc(value):
        return _fixed(value, 0)
    decimals = _SIGNIFICANT - 1 - math.floor(math.log10(abs(value)))
    return _fixed(value, decimals if abs(value) < _THOUSANDTH else min(decimals, 3))


def point(estimate: Estimate) -> str:
    """The value alone, to the digits that its interval bears."""
    return _fixed(estimate.value, _decimals(estimate))


def span(estimate: Estimate) -> str:
    """The interval, such as ``790 to 834``."""
    decimals = _decimals(estimate)
    return f"{_fixed(estimate.low, decimals)} to {_fixed(estimate.high, decimals)}"


def number(value: Number, unit: str) -> str:
    """The value with its unit and interval, such as ``812 infer/s (790 to 834)``."""
    if isinstance(value, Estimate):
        return f"{point(value)} {unit}".strip() + f" ({span(value)})"
    return MISSING if value is None else f"{plain(value)} {unit}".strip()


def gain(relative: Estimate) -> Cell:
    """A gain over the default, 0 being no difference: ``3.1x`` or ``+38 %``."""
    value, low, high = relative.value, relative.low, relative.high
    decimals = _decimals(relative)
    if value + 1 >= _TWICE:
        decimals = min(max(1, decimals), 1 if value + 1 >= _TEN_FOLD else 2)
        text = f"{_fixed(value + 1, decimals)}x"
        interval = f"{_fixed(low + 1, decimals)} to {_fixed(high + 1, decimals)}x"
    else:
        decimals = min(1, max(0, decimals - 3))
        text = f"{value * 100:+.{decimals}f} %"
        interval = f"{low * 100:+.{decimals}f} to {high * 100:+.{decimals}f} %"
    return Cell(text=text, value=value, interval=interval, low=low, high=high)


def both(shown: Cell) -> str:
    """A cell's text followed by its interval in brackets."""
    return f"{shown.text} ({shown.interval})" if shown.interval else shown.text


def brief(shown: Cell) -> str:
    """A cell's text with its interval's larger side, such as ``812 ±3%``, for narrow places."""
    if shown.low is None or shown.high is None or isinstance(shown.value, str | None):
        return shown.text
    side = max(shown.high - shown.value, shown.value - shown.low)
    if shown.text.endswith(" %"):
        return f"{shown.text.removesuffix(' %')} ±{round(side * 100, 1):g} %"
    whole = shown.value + 1 if shown.text.endswith("x") else shown.value
    return f"{shown.text} ±{max(1, math.ceil(100 * side / whole - _SLACK))}%"


def briefest(shown: Cell) -> str:
    """As `brief`, without what stands in brackets for a number that there is not."""
    return MISSING if shown.text.startswith(f"{MISSING} (") else brief(shown)


def share(fraction: float) -> str:
    """A share of a whole, such as ``12 %`` or ``0.4 %``."""
    pct = fraction * 100
    return f"{pct:.0f} %" if pct >= 1 or pct == 0 else f"{pct:.1f} %"


def _decimals(estimate: Estimate) -> int:
    """Decimals that show two significant digits of the interval's half-width.

    Negative ones round to tens, hundreds and so on.
    """
    half_width = (estimate.high - estimate.low) / 2
    if half_width > 0 and math.isfinite(half_width):
        return 1 - math.floor(math.log10(half_width))
    if estimate.value == 0 or not math.isfinite(estimate.value):
        return 0
    return _SIGNIFICANT - 1 - math.floor(math.log10(abs(estimate.value)))


def _fixed(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞"
    rounded = round(value, min(decimals, _MOST_DECIMALS))
    return f"{rounded:.{min(max(decimals, 0), _MOST_DECIMALS)}f}"
