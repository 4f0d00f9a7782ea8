"""A measured number and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % confidence interval; the unit is in the name of what holds it.

    Attributes:
        value: the point estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        n_effective: how many independent observations it rests on. Requests that were
            executed in one batch finish together and count once.
    """

    value: float
    low: float
    high: float
    n_effective: float

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"`low <= value <= high` must hold, but got {self.low}, {self.value}, {self.high}"
            )

    @property
    def half_width_relative(self) -> float:
        """Half of the interval's width over the value; infinite for a value of 0."""
        return (self.high - self.low) / 2 / abs(self.value) if self.value else float("inf")
