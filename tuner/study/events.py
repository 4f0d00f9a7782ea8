"""What a study says while it runs, to whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from tuner.judge.goal import Objective
    from tuner.judge.rank import Ranked
    from tuner.measure.measurement import Measurement, Workload
    from tuner.measure.record import Params, Role, TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOpened:
    """The study's record is open.

    Attributes:
        name: of the study.
        done: configurations that it holds.
        trials: how many it is to hold.
        proofs: at most so many measurements follow for the proof.
        proofs_if_plain: at most so many where the gain turns out to be plain.
        objective: what is to be improved.
        time_left_s: of a time limit; None where there is none.
    """

    name: str
    done: int
    trials: int
    proofs: int
    proofs_if_plain: int
    objective: Objective
    time_left_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofStarted:
    """What is measured again in turn is settled now.

    Attributes:
        trials: at most so many measurements it takes.
        trials_if_plain: so many where the gain turns out to be plain.
    """

    trials: int
    trials_if_plain: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """Processes that a killed run had left behind were ended."""

    processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStarted:
    """A trial begins. ``position`` counts from 1 and is not Optuna's number."""

    number: int
    position: int
    role: Role
    params: Params
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted:
    """The trial enters a phase."""

    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelStarted:
    """Load begins."""

    workload: Workload
    expected_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelMeasured:
    """A level's numbers are in."""

    measurement: Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded:
    """A trial is on disk; ``best`` and ``baseline`` are what is known by now.

    ``spoken`` is the level that speaks for it; None where none was measured.
    """

    record: TrialRecord
    spoken: Ranked | None
    best: Ranked | None
    baseline: Ranked | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEnded:
    """No more trials, and why, as a sentence."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofSure:
    """The proof ends early, as the gain is plain."""

    rounds: int
    of: int


Event: TypeAlias = (
    Cleaned
    | StudyOpened
    | TrialStarted
    | PhaseStarted
    | LevelStarted
    | LevelMeasured
    | TrialEnded
    | SearchEnded
    | ProofStarted
    | ProofSure
)


class Observer(Protocol):
    """Somebody who watches."""

    def on(self, event: Event) -> None:
        """Take note; must return at once and not raise."""
        ...
