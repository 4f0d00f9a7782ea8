"""What configurations are tried on: the parts and how long to measure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner.study.experience import Experience

if TYPE_CHECKING:
    from tuner.judge.goal import Limit, Objective
    from tuner.load.port import LoadGenerator
    from tuner.measure.measurement import OpenLoop
    from tuner.model.repository import ModelFolder
    from tuner.model.weights import Weights
    from tuner.servers.port import Server
    from tuner.study.gate import Gate
    from tuner.telemetry.port import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The parts of a trial, the same for all trials of a study.

    Attributes:
        model: the user's model folder; trials run on staged copies of it.
        weights: which ones to serve it with; None for those that its configuration names.
        server: brings Triton up.
        load: sends the traffic.
        telemetry: watches.
        objective: what to improve; levels that may be the best are measured for longer.
        limits: what a level has to keep for the ladder to climb on.
        request_batch: rows in each request.
        max_concurrency: the highest load level.
        window_s: how long a level is measured at the least.
        load_deadline_s: how long the model may take to load.
        open_loop: the one load to measure, instead of a ladder of closed loops.
        precision: half the interval of the objective that a level which may be the answer is to
            have at the most, as a share of the value; a cap on its length comes first.
        second: what else to improve; None where there is one objective.
        gate: checks the answers before load; None where there are none or nothing is promised.
        experience: what was seen so far of how long the model takes.
    """

    model: ModelFolder
    weights: Weights | None
    server: Server
    load: LoadGenerator
    telemetry: Telemetry
    objective: Objective
    limits: tuple[Limit, ...]
    request_batch: int
    max_concurrency: int
    window_s: float
    load_deadline_s: float
    open_loop: OpenLoop | None = None
    precision: float = 0.05
    second: Objective | None = None
    gate: Gate | None = None
    experience: Experience = field(default_factory=Experience)
