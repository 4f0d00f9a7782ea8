"""What may change in a model's configuration, how far, and what proposes it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.request import Sampler
from tuner.search.model_guided import ModelGuided
from tuner.search.optuna_samplers import OptunaProposer
from tuner.server_choice import ServerKind
from tuner.space.triton import Bounds, search_space
from tuner.study.history import seen, tells
from tuner.telemetry.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.model.repository import ModelFolder
    from tuner.request import Request
    from tuner.search.port import Proposer, Seen
    from tuner.space.knobs import SearchSpace
    from tuner.study.spec import StudyRecord

_MOST_ON_A_GPU = 8
"""Instances per group to try on a GPU at most; memory sets the real bound."""

_BYTES_PER_MB = 1_000_000


def space_of(request: Request, model: ModelFolder) -> SearchSpace:
    """Every configuration that a study of the model may measure.

    Args:
        request: settled, so that its server is known.
        model: to be tuned.

    Raises:
        UsageError: tuner cannot tune such a model, or not with requests of that size.
    """
    config = model.config
    if config.decoupled:
        raise UsageError(f"{model.name} is decoupled; tuner measures one response per request.")
    if config.ensemble_models:
        parts = ", ".join(config.ensemble_models)
        raise UsageError(f"{model.name} is an ensemble; tune what it is made of: {parts}.")
    if config.sequence_batching:
        raise UsageError(f"{model.name} batches sequences; tuner knows independent requests.")
    if 0 < config.max_batch_size < request.request_batch:
        raise UsageError(
            f"--request-batch {request.request_batch} is more than the {config.max_batch_size} "
            f"rows that max_batch_size of {config.path} allows."
        )
    default = config.default_params()
    return search_space(default, bounds_of(request), request_batch=request.request_batch)


def bounds_of(request: Request) -> Bounds:
    """How far the knobs go; ``request`` is settled."""
    on_a_gpu = request.server.kind is ServerKind.SIM or instance_kind(request) != "KIND_CPU"
    return Bounds(
        max_batch_size=request.max_batch_size,
        max_queue_delay_microseconds=request.max_queue_delay_microseconds,
        max_instance_count=request.max_instances
        or (_MOST_ON_A_GPU if on_a_gpu else usable_cores()),
    )


def instance_kind(request: Request) -> str:
    """Where instances of a configuration that does not say so are to run."""
    match request.server.kind:
        case ServerKind.REMOTE:
            return "KIND_AUTO"  # its machine may be another one
        case ServerKind.DOCKER:
            has_gpus = request.server.container_gpus() != "none"
        case ServerKind.AUTO | ServerKind.LOCAL | ServerKind.SIM:
            has_gpus = bool(request.server.serving_gpus())
    return "KIND_GPU" if has_gpus else "KIND_CPU"


def learnt_from(
    request: Request, space: SearchSpace, studies: Sequence[StudyRecord]
) -> tuple[Seen, ...]:
    """What earlier studies saw, in terms of this space, judged by what is wanted now.

    Args:
        request: names the objective and the limits.
        space: of this study.
        studies: those that it is to start from.

    Raises:
        UsageError: one of them had other knobs, or what proposes cannot learn from others.
    """
    if studies and request.sampler is not Sampler.AUTO:
        raise UsageError(
            f"--from needs --sampler auto: {request.sampler.value} learns from its own trials "
            "only."
        )
    known: list[Seen] = []
    knobs = [knob.name for knob in space.knobs]
    for study in studies:
        told = [trial for trial in study.trials if tells(trial)]
        if missing := [name for name in knobs if any(name not in t.params for t in told)]:
            raise UsageError(
                f"study {study.header.spec.name} is of {study.header.spec.model}, where "
                f"{' and '.join(missing)} did not change, so it says nothing here; leave it out "
                "of --from."
            )
        known += [
            replace(
                seen(trial, request.objective, request.limits),
                params=space.canonical({name: trial.params[name] for name in knobs}),
            )
            for trial in told
        ]
    return tuple(known)


def proposer_of(request: Request, space: SearchSpace, earlier: Sequence[Seen] = ()) -> Proposer:
    """Make what proposes configurations of the space; ``earlier`` is from `learnt_from`."""
    memory_mb = _bound(request, "gpu_memory_peak_mb")
    match request.sampler:
        case Sampler.AUTO:
            return ModelGuided(
                space,
                seed=request.seed,
                max_concurrency=request.max_concurrency,
                request_batch=request.request_batch,
                p99_limit_ms=_bound(request, "latency_p99_ms"),
                gpu_memory_limit_bytes=None if memory_mb is None else memory_mb * _BYTES_PER_MB,
                earlier=earlier,
            )
        case Sampler.TPE:
            return OptunaProposer(space, sampler="tpe", seed=request.seed)
        case Sampler.GP:
            return OptunaProposer(space, sampler="gp", seed=request.seed)
        case Sampler.RANDOM:
            return OptunaProposer(space, sampler="random", seed=request.seed)


def _bound(request: Request, metric: str) -> float | None:
    """The limit on a metric where less is better, in its unit; None without one."""
    return min((li.bound for li in request.limits if li.metric == metric), default=None)
