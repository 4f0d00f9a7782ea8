"""Where the time of a study went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.study.spec import StudyRecord

LOADING = frozenset({"load the model"})
"""Phases in which the server starts and loads the model."""

MEASURING = frozenset({"warm up", "measure"})
"""Phases in which load runs whose numbers are used or which makes them usable."""

BETWEEN = "between trials"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One kind of work, over all trials.

    Attributes:
        name: of the phase.
        seconds: in it, summed.
        share: of the whole, 0 to 1.
        kind: ``loading``, ``measuring`` or ``other``.
    """

    name: str
    seconds: float
    share: float
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The whole of it.

    Attributes:
        total_s: wall clock.
        phases: in order of their first start, then what lies between trials.
        other_share: share that is neither loading the model nor measuring, 0 to 1.
    """

    total_s: float
    phases: tuple[Phase, ...]
    other_share: float


def spent(study: StudyRecord) -> Spent:
    """Sum the phases of all trials; what the wall clock holds beyond them is between trials."""
    seconds: dict[str, float] = {}
    for trial in study.trials:
        for name, took_s in trial.phases_s.items():
            seconds[name] = seconds.get(name, 0.0) + took_s
    inside_s = sum(seconds.values())
    total_s = max(study.wall_clock_s, inside_s)
    seconds[BETWEEN] = total_s - inside_s
    phases = tuple(
        Phase(name=name, seconds=s, share=s / total_s if total_s else 0.0, kind=_kind(name))
        for name, s in seconds.items()
    )
    other_share = sum(phase.share for phase in phases if phase.kind == "other")
    return Spent(total_s=total_s, phases=phases, other_share=other_share)


def _kind(name: str) -> str:
    if name in LOADING:
        return "loading"
    return "measuring" if name in MEASURING else "other"
