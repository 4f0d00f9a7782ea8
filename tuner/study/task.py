"""What a study runs next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.measure.record import Params, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to run next, as Optuna keeps it between the proposal and the trial.

    Attributes:
        role: why it is run.
        params: in canonical form.
        why: one phrase.
        replicate_of: for a proof, the trial that is measured again.
        proof_round: for a proof, its round; None for one that only looks for drift.
        verification: for a proof, number of the `tune verify` that it is part of.
    """

    role: Role
    params: Params
    why: str
    replicate_of: int | None = None
    proof_round: int | None = None
    verification: int | None = None
