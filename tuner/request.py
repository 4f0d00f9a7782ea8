"""What was asked for: one `tune MODEL` as it was typed, or the one that began a study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.model.weights import Weights
from tuner.server_choice import ServerKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner.judge.goal import Limit, Objective
    from tuner.measure.measurement import OpenLoop
    from tuner.server_choice import ServerOptions
    from tuner.study.spec import StudyRecord


class Sampler(str, Enum):
    """What proposes configurations."""

    AUTO = "auto"
    TPE = "tpe"
    GP = "gp"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One `tune MODEL` as it was typed, with the defaults filled in.

    Attributes:
        model: name in the repository, or a model's folder.
        study: its name; None for the model's.
        repository: where models are looked for.
        studies: where studies are kept.
        trials: configurations to measure in all.
        proof_rounds: how often the best and the user's own are measured again in turn.
        all_rounds: even where the gain is plain after fewer.
        time_limit_s: for all of it, over all sessions; None for none.
        patience: so many proposals in a row that promise nothing end the search; 0 for never.
        objective: what to improve.
        second: what to improve beside it; None where there is one objective.
        limits: what to keep.
        max_batch_size: upper bound of the knob, in rows.
        max_queue_delay_microseconds: upper bound of the knob.
        max_instances: upper bound of the knob, per group; None for what the machine bears.
        max_concurrency: highest load level.
        request_batch: rows in each request.
        open_loop: the one load to measure; None climbs a ladder of concurrencies.
        precision: half the interval that is asked for, as a share of the objective.
        window_s: how long a level is measured.
        load_deadline_s: how long the model may take to load.
        seed: of the search.
        sampler: what proposes.
        started_from: names of earlier studies to learn from.
        weights: which ones to serve; None for those that the configuration names.
        server: what serves, and what was typed about it.
        input_data: requests of the user's own, in perf_analyzer's form; None makes some up.
        perf_analyzer: the program to use; None to look for one.
        sdk_image: image to run it in where none runs here; None for NVIDIA's.
        fresh: set an older study of the same name aside.
    """

    model: str
    study: str | None
    repository: Path
    studies: Path
    trials: int
    proof_rounds: int
    all_rounds: bool
    time_limit_s: float | None
    patience: int
    objective: Objective
    second: Objective | None
    limits: tuple[Limit, ...]
    max_batch_size: int
    max_queue_delay_microseconds: int
    max_instances: int | None
    max_concurrency: int
    request_batch: int
    open_loop: OpenLoop | None
    precision: float
    window_s: float
    load_deadline_s: float
    seed: int
    sampler: Sampler
    started_from: tuple[str, ...]
    weights: Weights | None
    server: ServerOptions
    input_data: Path | None
    perf_analyzer: Path | None
    sdk_image: str | None
    fresh: bool

    def settled(self, say: Callable[[str], None]) -> Request:
        """Put the server that serves in place of ``auto``; says which and why where it was.

        Raises:
            UsageError: an option belongs to another kind of server.
        """
        return replace(self, server=replace(self.server, kind=self.server.settled(say)))


def asked_again(
    study: StudyRecord,
    *,
    repository: Path,
    studies: Path,
    load_deadline_s: float,
    server: ServerOptions,
    input_data: Path | None,
    perf_analyzer: Path | None,
    sdk_image: str | None,
) -> Request:
    """What was asked for when a study began; what it does not keep is given anew.

    A study of the simulator is simulated again, with other noise.

    Raises:
        UsageError: a study of a real server is to be verified by a simulated one.
    """
    spec = study.header.spec
    return Request(
        model=spec.model,
        study=spec.name,
        repository=repository,
        studies=studies,
        trials=len(study.trials),
        proof_rounds=0,
        all_rounds=True,
        time_limit_s=None,
        patience=0,
        objective=spec.objective,
        second=spec.second,
        limits=spec.limits,
        max_batch_size=spec.bounds.max_batch_size,
        max_queue_delay_microseconds=spec.bounds.max_queue_delay_microseconds,
        max_instances=spec.bounds.max_instance_count,
        max_concurrency=spec.max_concurrency,
        request_batch=spec.request_batch,
        open_loop=spec.open_loop,
        precision=spec.precision,
        window_s=spec.window_s,
        load_deadline_s=load_deadline_s,
        seed=spec.seed + len(study.trials),
        sampler=Sampler(spec.sampler),
        started_from=(),
        weights=None if spec.weights is None else Weights(spec.weights),
        server=_served_again(study, server),
        input_data=input_data,
        perf_analyzer=perf_analyzer,
        sdk_image=sdk_image,
        fresh=False,
    )


def _served_again(study: StudyRecord, server: ServerOptions) -> ServerOptions:
    then = study.header.environment
    simulated_then = then.get("server", "").startswith("simulated")
    if simulated_then:
        return replace(server, kind=ServerKind.SIM)
    if server.kind is ServerKind.SIM:
        raise UsageError(
            f"study {study.header.spec.name} was measured on a real server; --server sim would "
            "prove nothing about it. Leave it out."
        )
    kind = ServerKind(then.get("server", server.kind))
    if server.kind not in {ServerKind.AUTO, kind}:
        return server
    # By the same kind of server it is served as it was, but for what was typed.
    return replace(
        server,
        kind=kind,
        image=then.get("image"),
        gpus=server.gpus or then.get("gpus"),
        url=then.get("url"),
    )
