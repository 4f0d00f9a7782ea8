"""What a study runs next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.measure.record import Params, Role
    from tuner.measure.saturation import Saturation


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
        expected_gain: by how much the proposer thinks that it raises the best value, as a
            fraction of it; None where it does not say.
        saturation: the load level at which it is likely to be at its best; None where nobody
            knows.
    """

    role: Role
    params: Params
    why: str
    replicate_of: int | None = None
    proof_round: int | None = None
    verification: int | None = None
    expected_gain: float | None = None
    saturation: Saturation | None = None
