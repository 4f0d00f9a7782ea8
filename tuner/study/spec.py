"""What was asked for, and on what it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tuner.judge.goal import Limit, Objective
from tuner.measure.measurement import OpenLoop
from tuner.measure.record import TrialRecord
from tuner.space.triton import Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySpec:
    """What a study is about; the same for all its trials.

    Attributes:
        name: of the study, and of its folders under studies/ and reports/.
        model: the model's name.
        config_pbtxt: the user's own configuration, as it was when the study began.
        objective: what to improve; it decides which configuration wins.
        limits: what to keep.
        bounds: how far the knobs may go.
        request_batch: rows in each request.
        max_concurrency: the highest load level.
        window_s: how long a level is measured.
        seed: of the search.
        sampler: which proposer searches.
        open_loop: the one load to measure; None climbs a ladder of closed loops.
        precision: half the interval that is asked for, as a share of the objective.
        weights: ``dummy`` or ``pretrained``; None for those that the configuration names.
        second: what to improve beside the objective; the search then looks along the front of
            both. None where there is one objective.
        started_from: names of earlier studies that the search learnt from.
    """

    name: str
    model: str
    config_pbtxt: str
    objective: Objective
    limits: tuple[Limit, ...]
    bounds: Bounds
    request_batch: int
    max_concurrency: int
    window_s: float
    seed: int
    sampler: str
    weights: str | None = None
    open_loop: OpenLoop | None = None
    precision: float = 0.05
    second: Objective | None = None
    started_from: tuple[str, ...] = ()

    @property
    def front_of(self) -> tuple[Objective, Objective] | None:
        """Both objectives; None where there is one."""
        return None if self.second is None else (self.objective, self.second)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyHeader:
    """The frame of a study. Records of different environments are never ranked together.

    Attributes:
        schema: see tuner.measure.record.SCHEMA.
        spec: what was asked for.
        environment: what numbers depend on (server, versions, processor, GPUs), name → text.
        created_at_utc: ISO 8601.
    """

    schema: int
    spec: StudySpec
    environment: Mapping[str, str]
    created_at_utc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """Everything that is known of a study; reports are made from this and nothing else.

    Attributes:
        header: its frame.
        trials: those that ended, by number.
        wall_clock_s: time that `tune` ran on it, over all its sessions.
        search_ended: why the search proposes nothing more, as a sentence; empty where it was cut
            short or has not ended.
    """

    header: StudyHeader
    trials: tuple[TrialRecord, ...]
    wall_clock_s: float
    search_ended: str = ""
