"""What may change in a model's configuration, how far, and what proposes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.request import Sampler
from tuner.search.model_guided import ModelGuided
from tuner.search.optuna_samplers import OptunaProposer
from tuner.server_choice import ServerKind
from tuner.space.triton import Bounds, search_space
from tuner.telemetry.machine import usable_cores
from tuner.telemetry.nvml import gpus as installed_gpus

if TYPE_CHECKING:
    from tuner.model.repository import ModelFolder
    from tuner.request import Request
    from tuner.search.port import Proposer
    from tuner.space.knobs import SearchSpace

_MOST_ON_A_GPU = 8
"""Instances per group to try on a GPU at most; memory sets the real bound."""


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
            has_gpus = bool(installed_gpus())
    return "KIND_GPU" if has_gpus else "KIND_CPU"


def proposer_of(request: Request, space: SearchSpace) -> Proposer:
    """Make what proposes configurations of the space."""
    match request.sampler:
        case Sampler.AUTO:
            return ModelGuided(
                space,
                seed=request.seed,
                max_concurrency=request.max_concurrency,
                request_batch=request.request_batch,
            )
        case Sampler.TPE:
            return OptunaProposer(space, sampler="tpe", seed=request.seed)
        case Sampler.GP:
            return OptunaProposer(space, sampler="gp", seed=request.seed)
        case Sampler.RANDOM:
            return OptunaProposer(space, sampler="random", seed=request.seed)
