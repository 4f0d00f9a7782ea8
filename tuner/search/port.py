"""The port: propose what to measure next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.measurement import Measurement
    from tuner.measure.record import Params
    from tuner.measure.saturation import Saturation


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One configuration that a proposer may learn from.

    Attributes:
        params: in canonical form.
        value: what the objective came to at the best feasible level, larger is better; where no
            level is feasible, at the level that came nearest. None where nothing is known yet
            (running) or there is nothing to know (rejected).
        violation: by how much the limits were missed at the level that came nearest, as a
            fraction of the limit; 0 where they hold.
        rejected: the configuration cannot serve.
        levels: what was measured, level by level; empty where the numbers were not kept.
    """

    params: Params
    value: float | None
    violation: float = 0.0
    rejected: bool = False
    levels: tuple[Measurement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What to measure next.

    Attributes:
        params: in canonical form.
        why: one phrase.
        expected_gain: by how much the best value so far should rise, as a fraction of it; None
            where the strategy does not say (see ``patience``).
        saturation: the load at which the configuration should come close to its best within the
            limits: where to begin measuring. None where nothing is known yet.
    """

    params: Params
    why: str
    expected_gain: float | None = None
    saturation: Saturation | None = None


class Proposer(Protocol):
    """A search strategy. It holds no state: the same history gives the same proposal."""

    def propose(self, history: Sequence[Seen]) -> Proposal | None:
        """Propose a configuration that is not in ``history``; None when none is left."""
        ...
