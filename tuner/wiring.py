"""From what was asked for to a study that is ready to run."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.model.config import ModelConfig
from tuner.model.repository import ModelFolder, find_model
from tuner.model.weights import with_weights
from tuner.parts import gate_for, parts_for, write_inputs
from tuner.search_choice import bounds_of, instance_kind, learnt_from, proposer_of, space_of
from tuner.server_choice import ServerKind
from tuner.simulator.cost import FILE_NAME, CostModel
from tuner.stored import comparable_store, load_store, open_store, stored
from tuner.study.bench import Bench
from tuner.study.events import Cleaned
from tuner.study.folder import (
    exclusive,
    require_makeable,
    require_name,
    require_writable,
    set_aside,
)
from tuner.study.run import StudyRun
from tuner.study.spec import StudySpec
from tuner.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tuner.parts import Parts
    from tuner.request import Request
    from tuner.search.port import Proposer, Seen
    from tuner.space.knobs import SearchSpace
    from tuner.study.events import Observer
    from tuner.study.storage import StudyStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A study that is ready to run: all that it needs was found, nothing was started yet.

    Attributes:
        store: its record.
        run: does the work.
        differences: what numbers depend on that is not as it was when the study began.
    """

    store: StudyStore
    run: StudyRun
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a session would do.

    Attributes:
        name: of the study.
        folder: where its record and evidence go.
        space: what may change.
        environment: what its numbers depend on.
    """

    name: str
    folder: Path
    space: SearchSpace
    environment: Mapping[str, str]


def study_name(study: str | None, model: ModelFolder) -> str:
    """Name of a study: the one that was typed, or else the model's.

    Raises:
        UsageError: it cannot be one.
    """
    name = model.name if study is None else study
    require_name(name)
    return name


def plan(request: Request) -> Plan:
    """Check everything as `session` does, and touch nothing.

    Raises:
        UsageError: what was asked for cannot be done, or the study is of another making.
        MachineError: a part is missing on this machine.
    """
    request = request.settled(note)
    model = find_model(request.model, request.repository)
    space = space_of(request, model)
    with_weights(model, request.weights)  # refuses what cannot be had
    _require_readings(request, model)
    require_makeable(request.studies, "--studies")
    name = study_name(request.study, model)
    folder = request.studies.absolute() / name
    _earlier(request, name, space)  # refuses what cannot be learnt from
    environment = parts_for(request, model, folder, provides=False).describe()
    if not request.fresh:
        comparable_store(folder, _spec(request, name, model), environment)
    return Plan(name=name, folder=folder, space=space, environment=environment)


@contextmanager
def session(request: Request, observer: Observer) -> Iterator[Session]:
    """Check everything, open the study's record, and end what a killed run left behind.

    Raises:
        UsageError: what was asked for cannot be done, or the study is of another making.
        MachineError: a part is missing on this machine.
    """
    request = request.settled(note)
    model = find_model(request.model, request.repository)
    space = space_of(request, model)  # refuses what cannot be tuned
    with_weights(model, request.weights)  # refuses what cannot be had
    _require_readings(request, model)
    name = study_name(request.study, model)
    require_writable(request.studies, "--studies")
    earlier = _earlier(request, name, space)
    folder = request.studies.absolute() / name
    parts = parts_for(request, model, folder)
    environment = parts.describe()
    with exclusive(folder):
        if request.fresh:
            set_aside(folder)
        store = open_store(folder, _spec(request, name, model), environment)
        _clean(parts, observer)
        proposer = proposer_of(request, space, earlier)
        run = _run(request, model, parts, store, proposer, observer)
        yield Session(store=store, run=run)


@contextmanager
def verification(request: Request, observer: Observer) -> Iterator[Session]:
    """Open a study whose winner is to be measured again beside the user's own configuration.

    That is the one with which the study began: the winner may lie in the model's folder by now.
    What numbers depend on may have changed since; both are measured anew.

    Args:
        request: from `asked_again`.
        observer: is told what happens.

    Raises:
        UsageError: there is no such study.
        MachineError: a part is missing on this machine.
    """
    request = request.settled(note)
    name = request.study or request.model
    spec = stored(request.studies, name).header.spec
    model = find_model(request.model, request.repository)
    model = replace(model, config=ModelConfig.parse(spec.config_pbtxt, path=model.config.path))
    folder = request.studies.absolute() / name
    parts = parts_for(request, model, folder)
    environment = parts.describe()
    with exclusive(folder):
        store = load_store(folder, name)
        if store is None:
            raise UsageError(f"study {name} was removed; run: tune {request.model}")
        _clean(parts, observer)
        proposer = proposer_of(request, space_of(request, model))
        run = _run(request, model, parts, store, proposer, observer)
        differences = store.differences(spec, environment)
        yield Session(store=store, run=run, differences=tuple(differences))


def _spec(request: Request, name: str, model: ModelFolder) -> StudySpec:
    return StudySpec(
        name=name,
        model=model.name,
        config_pbtxt=model.config.text,
        objective=request.objective,
        limits=request.limits,
        bounds=bounds_of(request),
        request_batch=request.request_batch,
        max_concurrency=request.max_concurrency,
        window_s=request.window_s,
        seed=request.seed,
        sampler=request.sampler.value,
        weights=None if request.weights is None else request.weights.value,
        open_loop=request.open_loop,
        precision=request.precision,
        second=request.second,
        started_from=request.started_from,
    )


def _earlier(request: Request, name: str, space: SearchSpace) -> tuple[Seen, ...]:
    """What the studies saw that this one starts from.

    Raises:
        UsageError: there is no such study, or nothing can be learnt from it.
    """
    if name in request.started_from:
        raise UsageError(
            f"study {name} cannot start from itself; give this one another name with --study."
        )
    studies = [stored(request.studies, other) for other in request.started_from]
    return learnt_from(request, space, studies)


def _require_readings(request: Request, model: ModelFolder) -> None:
    """Refuse what is known beforehand to be unmeasurable; the first trial shows the rest.

    Raises:
        UsageError: an objective or a limit is on a GPU, and there is none.
    """
    match request.server.kind:
        case ServerKind.SIM:
            has_gpu = CostModel.read(model.path / FILE_NAME).memory_total_bytes is not None
        case ServerKind.REMOTE:
            return
        case ServerKind.AUTO | ServerKind.LOCAL | ServerKind.DOCKER:
            has_gpu = bool(request.server.serving_gpus())
    limited = [(limit.metric, f"the limit {limit.describe()}") for limit in request.limits]
    wanted = [one for one in (request.objective, request.second) if one is not None]
    for key, what in [
        *limited,
        *((one.metric, f"the objective {one.row.header}") for one in wanted),
    ]:
        if key.startswith("gpu_") and not has_gpu:
            simulated = request.server.kind is ServerKind.SIM
            where = f"in {FILE_NAME} of {model.name}" if simulated else "here"
            raise UsageError(
                f"nothing can measure {what}: there is no GPU {where}. Leave it out, or tune "
                "where there is one."
            )


def _clean(parts: Parts, observer: Observer) -> None:
    """End what a killed run of the study left behind."""
    if processes := parts.clean():
        observer.on(Cleaned(processes=processes))


def _run(
    request: Request,
    model: ModelFolder,
    parts: Parts,
    store: StudyStore,
    proposer: Proposer,
    observer: Observer,
) -> StudyRun:
    folder = request.studies.absolute() / store.header.spec.name
    write_inputs(model, folder)
    return StudyRun(
        store=store,
        folder=folder / "trials",
        config=model.config,
        kind=instance_kind(request),
        space=space_of(request, model),
        proposer=proposer,
        bench=Bench(
            model=model,
            weights=request.weights,
            server=parts.server,
            load=parts.load,
            telemetry=parts.telemetry,
            objective=request.objective,
            second=request.second,
            limits=request.limits,
            request_batch=request.request_batch,
            max_concurrency=request.max_concurrency,
            window_s=request.window_s,
            load_deadline_s=request.load_deadline_s,
            open_loop=request.open_loop,
            precision=request.precision,
            gate=gate_for(request, model, folder),
        ),
        observer=observer,
    )
