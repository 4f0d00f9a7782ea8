"""What is known of a configuration after its trial, and what is kept of the trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tuner.measure.measurement import Measurement

SCHEMA = 1
"""Version of the stored form of TrialRecord and StudyHeader. 1: the first (0.1.0)."""

Value: TypeAlias = bool | int | str
Params: TypeAlias = Mapping[str, Value]
"""Knob name → value, such as ``{"max_batch_size": 8, "dynamic_batching": True, …}``."""

Role: TypeAlias = Literal["baseline", "search", "proof"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The configuration served. Levels are in the order in which they were measured."""

    levels: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The configuration is at fault: it did not load, ran out of memory or answered wrongly.

    Attributes:
        reason: one sentence.
        evidence: what shows it, such as the end of the server's log.
        levels: what had been measured by then; kept, never ranked.
    """

    reason: str
    evidence: str
    levels: tuple[Measurement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Aborted:
    """We or the machine failed: the configuration is tried again.

    Attributes:
        cause: one sentence.
        levels: what had been measured by then; kept, never ranked.
    """

    cause: str
    levels: tuple[Measurement, ...] = ()


Outcome: TypeAlias = Measured | Rejected | Aborted


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One trial, whole. Everything that is shown later is made from this.

    Attributes:
        schema: see SCHEMA.
        number: Optuna's trial number; 0 is the user's own configuration.
        role: why it was run.
        params: the knobs' values, in canonical form.
        fingerprint: hash of what the configuration means; equal ones are measured once.
        config_pbtxt: the configuration as the server got it.
        proposal: why it was proposed, one phrase.
        outcome: what came of it.
        phases_s: seconds by phase, in order of their start (stage, start, warm up, measure…).
        started_at_utc: ISO 8601 with seconds and offset.
        replicate_of: number of the trial whose configuration a proof measures again.
        proof_round: rounds count from 0; what was measured in one round was measured in turn.
            None for a proof that only looks whether the machine drifts.
        verification: number of the `tune verify`, from 1, that measured it; None for the
            study's own proof.
        expected_gain: by how much the proposer thought that it would raise the best value, as a
            fraction of it; None where nobody said.
    """

    schema: int
    number: int
    role: Role
    params: Params
    fingerprint: str
    config_pbtxt: str
    proposal: str
    outcome: Outcome
    phases_s: Mapping[str, float]
    started_at_utc: str
    replicate_of: int | None = None
    proof_round: int | None = None
    verification: int | None = None
    expected_gain: float | None = None
