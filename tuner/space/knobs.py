"""Knobs, the rules between them, and the finite set of configurations that they span."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tuner.measure.record import Params, Value

Rule: TypeAlias = Callable[[Params], Params]
"""Maps values to the canonical form of what they mean; configurations that mean the same
have the same canonical form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One thing that may change.

    Attributes:
        name: such as ``max_batch_size``; the unit is in the name.
        values: what it may be, distinct; integers ascending.
    """

    name: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) != len(self.values):
            raise ValueError(f"values of {self.name} must be distinct, but got {self.values}")
        if self.ordered and list(self.values) != sorted(self.values):
            raise ValueError(f"values of {self.name} must ascend, but got {self.values}")

    @property
    def ordered(self) -> bool:
        """Whether neighbours in ``values`` are alike: true for integers."""
        return all(isinstance(v, int) and not isinstance(v, bool) for v in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """The configurations that may be tried.

    Attributes:
        knobs: each changes one thing.
        rules: applied in order to reach the canonical form.
        default: the user's own configuration, in canonical form.
    """

    knobs: tuple[Knob, ...]
    rules: tuple[Rule, ...]
    default: Params

    def canonical(self, params: Params) -> Params:
        """The form that all configurations of the same meaning share."""
        for rule in self.rules:
            params = rule(params)
        return {knob.name: params[knob.name] for knob in self.knobs}

    def candidates(self) -> tuple[Params, ...]:
        """Every configuration, once, in canonical form; the first knob varies slowest."""
        names = [knob.name for knob in self.knobs]
        seen: dict[tuple[Value, ...], Params] = {}
        for values in itertools.product(*(knob.values for knob in self.knobs)):
            params = self.canonical(dict(zip(names, values, strict=True)))
            seen.setdefault(tuple(params.values()), params)
        return tuple(seen.values())
