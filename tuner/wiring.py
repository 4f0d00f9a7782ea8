"""From what was asked for to real parts; the only module that knows every adapter."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.load.answers import HttpAsker
from tuner.load.inputs import TEXTS, Input, check_input_data, write_input_data
from tuner.load.perf_analyzer import PerfAnalyzer
from tuner.load.rows import read_rows
from tuner.measure.answers import PARAMETER, parse_tolerance
from tuner.model.config import ModelConfig
from tuner.model.repository import ModelFolder, find_model
from tuner.model.weights import Weights, with_weights
from tuner.search.model_guided import ModelGuided
from tuner.search.optuna_samplers import OptunaProposer
from tuner.server_choice import (
    ServerKind,
    ServerOptions,
    docker_server,
    local_server,
    remote_server,
)
from tuner.simulator.adapters import simulated
from tuner.simulator.batcher import SimConfig
from tuner.simulator.cost import FILE_NAME, CostModel
from tuner.space.triton import Bounds, search_space
from tuner.study.bench import Bench
from tuner.study.events import StudyOpened
from tuner.study.folder import exclusive, require_writable, set_aside
from tuner.study.gate import Gate
from tuner.study.run import StudyRun
from tuner.study.spec import StudySpec
from tuner.study.storage import StudyStore
from tuner.telemetry.elsewhere import ElsewhereTelemetry
from tuner.telemetry.machine import MachineTelemetry, usable_cores
from tuner.telemetry.nvml import gpus as installed_gpus
from tuner.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tuner.judge.goal import Limit, Objective
    from tuner.load.port import LoadGenerator
    from tuner.measure.measurement import OpenLoop
    from tuner.model.parts import Tensor
    from tuner.search.port import Proposer
    from tuner.servers.port import ModelHost, Server
    from tuner.space.knobs import SearchSpace
    from tuner.study.events import Observer
    from tuner.study.spec import StudyRecord
    from tuner.telemetry.port import Telemetry


DATABASE = "study.db"
INPUTS = "inputs.json"

MOST_ON_A_GPU = 8
"""Instances per group to try on a GPU at most; memory sets the real bound."""


_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tuner"
"""For links to perf_analyzer's libraries."""


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
        objective: what to improve.
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
        weights: which ones to serve; None for those that the configuration names.
        server: what serves.
        input_data: requests of the user's own, in perf_analyzer's form; None makes some up.
        perf_analyzer: the program to use; None to look for one.
        triton_dir: folder of the server; None for the wheel's.
        server_python: interpreter of the models; None for this one.
        fresh: set an older study of the same name aside.
        image: of the container; None for ours.
        gpus: of the container, ``all``, ``none`` or ``0,1``; None for all that are here.
        build_args: ``NAME=VALUE`` for our image, where it is built.
        url: of a server that runs already; None for the usual one.
    """

    model: str
    study: str | None
    repository: Path
    studies: Path
    trials: int
    objective: Objective
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
    weights: Weights | None
    server: ServerKind
    input_data: Path | None
    perf_analyzer: Path | None
    triton_dir: Path | None
    server_python: Path | None
    fresh: bool
    image: str | None = None
    gpus: str | None = None
    build_args: tuple[str, ...] = ()
    url: str | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    server: Server
    load: LoadGenerator
    telemetry: Telemetry

    def describe(self) -> dict[str, str]:
        return {**self.server.describe(), **self.load.describe(), **self.telemetry.describe()}


def plan(request: Request) -> Plan:
    """Check everything as `session` does, and touch nothing.

    Raises:
        UsageError: what was asked for cannot be done.
        MachineError: a part is missing on this machine.
    """
    request = _settled(request)
    model = find_model(request.model, request.repository)
    name = request.study or model.name
    folder = request.studies.absolute() / name
    parts = _parts(request, model, folder, provides=False)
    return Plan(
        name=name, folder=folder, space=_space(request, model), environment=parts.describe()
    )


@contextmanager
def session(request: Request, observer: Observer) -> Iterator[Session]:
    """Check everything, open the study's record, and end what a killed run left behind.

    Raises:
        UsageError: what was asked for cannot be done, or the study is of another making.
        MachineError: a part is missing on this machine.
    """
    request = _settled(request)
    model = find_model(request.model, request.repository)
    _space(request, model)  # refuses what cannot be tuned
    with_weights(model, request.weights)  # refuses what cannot be had
    require_writable(request.studies, "--studies")
    name = request.study or model.name
    folder = request.studies.absolute() / name
    parts = _parts(request, model, folder)
    environment = parts.describe()
    with exclusive(folder):
        if request.fresh:
            set_aside(folder)
        store = _store(folder, _spec(request, name, model), environment)
        cleaned = parts.server.clean()
        run = _run(request, model, parts, store, folder, observer)
        observer.on(StudyOpened(name=name, done=run.done, trials=request.trials, cleaned=cleaned))
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
    request = _settled(request)
    name = request.study or request.model
    spec = stored(request.studies, name).header.spec
    model = find_model(request.model, request.repository)
    model = replace(model, config=ModelConfig.parse(spec.config_pbtxt, path=model.config.path))
    folder = request.studies.absolute() / name
    parts = _parts(request, model, folder)
    environment = parts.describe()
    with exclusive(folder):
        store = StudyStore.load(storage_url(folder), name)
        if store is None:
            raise UsageError(f"study {name} was removed; run: tune {request.model}")
        cleaned = parts.server.clean()
        run = _run(request, model, parts, store, folder, observer)
        observer.on(StudyOpened(name=name, done=run.done, trials=run.done, cleaned=cleaned))
        differences = store.differences(spec, environment)
        yield Session(store=store, run=run, differences=tuple(differences))


def asked_again(  # noqa: PLR0913 - what a study does not keep
    study: StudyRecord,
    *,
    repository: Path,
    studies: Path,
    load_deadline_s: float,
    server: ServerKind,
    input_data: Path | None,
    perf_analyzer: Path | None,
    triton_dir: Path | None,
    server_python: Path | None,
) -> Request:
    """What was asked for when a study began; what it does not keep is given anew.

    A study of the simulator is simulated again, with other noise.
    """
    spec = study.header.spec
    then = study.header.environment
    simulated_then = then.get("server", "").startswith("simulated")
    # Unless another kind of server is asked for, it is served as it was.
    as_then = then if server is ServerKind.AUTO else {}
    return Request(
        model=spec.model,
        study=spec.name,
        repository=repository,
        studies=studies,
        trials=len(study.trials),
        objective=spec.objective,
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
        weights=None if spec.weights is None else Weights(spec.weights),
        server=ServerKind.SIM if simulated_then else server,
        input_data=input_data,
        perf_analyzer=perf_analyzer,
        triton_dir=triton_dir,
        server_python=server_python,
        fresh=False,
        image=as_then.get("image"),
        gpus=as_then.get("container_gpus"),
        url=as_then.get("url"),
    )


def _run(
    request: Request,
    model: ModelFolder,
    parts: _Parts,
    store: StudyStore,
    folder: Path,
    observer: Observer,
) -> StudyRun:
    write_input_data(_inputs(model), folder / INPUTS)
    space = _space(request, model)
    return StudyRun(
        store=store,
        folder=folder / "trials",
        config=model.config,
        kind=_instance_kind(request),
        space=space,
        proposer=_proposer(request, space),
        bench=Bench(
            model=model,
            weights=request.weights,
            server=parts.server,
            load=parts.load,
            telemetry=parts.telemetry,
            objective=request.objective,
            limits=request.limits,
            request_batch=request.request_batch,
            max_concurrency=request.max_concurrency,
            window_s=request.window_s,
            load_deadline_s=request.load_deadline_s,
            open_loop=request.open_loop,
            precision=request.precision,
            gate=_gate(request, model, folder),
        ),
        observer=observer,
    )


def host(
    options: ServerOptions, *, owner: Path, choose_ports: Callable[[int], Sequence[int]]
) -> ModelHost:
    """Make what `tune serve` serves with.

    Args:
        options: what was typed about the server.
        owner: marks what it starts, as a study's folder does.
        choose_ports: returns so many free ports.

    Raises:
        UsageError: that kind of server answers no requests, or runs already.
    """
    match options.settled(note):
        case ServerKind.SIM:
            raise UsageError("--server sim answers no requests; leave it out to serve.")
        case ServerKind.REMOTE:
            raise UsageError("a remote server serves already; ask it with: tune query --url")
        case ServerKind.DOCKER:
            return docker_server(options, owner, note, choose_ports=choose_ports)
        case ServerKind.AUTO | ServerKind.LOCAL:
            return local_server(options, owner, choose_ports)


def storage_url(folder: Path) -> str:
    """Where Optuna keeps the study of a folder."""
    return f"sqlite:///{folder.absolute() / DATABASE}"


def stored(studies: Path, name: str) -> StudyRecord:
    """The record of a study.

    Raises:
        UsageError: there is none of that name.
    """
    found = stored_names(studies)
    if name not in found:
        known = ", ".join(found) or "none yet"
        raise UsageError(f"there is no study {name!r} in {studies}; studies there: {known}.")
    store = StudyStore.load(storage_url(studies / name), name)
    if store is None:
        raise UsageError(f"study {name!r} in {studies} has no trial yet; run: tune {name}")
    return store.record()


def stored_names(studies: Path) -> list[str]:
    """Names of the studies in a folder."""
    return sorted(path.parent.name for path in studies.glob(f"*/{DATABASE}"))


def _store(folder: Path, spec: StudySpec, environment: Mapping[str, str]) -> StudyStore:
    url = storage_url(folder)
    database = folder / DATABASE
    store = StudyStore.load(url, spec.name) if database.exists() else None
    if store is None or not store.records():
        database.unlink(missing_ok=True)  # nothing was measured yet
        return StudyStore.create(url, spec, environment)
    if differences := store.differences(spec, environment):
        raise UsageError(
            f"study {spec.name} was made under other terms, and numbers of different terms are "
            "not ranked together. Name a new one with --study, or start over with --fresh, which "
            "sets the old one aside. What differs:\n  " + "\n  ".join(differences)
        )
    return store


def _spec(request: Request, name: str, model: ModelFolder) -> StudySpec:
    return StudySpec(
        name=name,
        model=model.name,
        config_pbtxt=model.config.text,
        objective=request.objective,
        limits=request.limits,
        bounds=_bounds(request),
        request_batch=request.request_batch,
        max_concurrency=request.max_concurrency,
        window_s=request.window_s,
        seed=request.seed,
        sampler=request.sampler.value,
        weights=None if request.weights is None else request.weights.value,
        open_loop=request.open_loop,
        precision=request.precision,
    )


def _options(request: Request) -> ServerOptions:
    return ServerOptions(
        kind=request.server,
        image=request.image,
        gpus=request.gpus,
        build_args=request.build_args,
        url=request.url,
        triton_dir=request.triton_dir,
        server_python=request.server_python,
    )


def _settled(request: Request) -> Request:
    """Put the server that serves in place of ``auto``."""
    return replace(request, server=_options(request).settled(note))


def _parts(request: Request, model: ModelFolder, folder: Path, *, provides: bool = True) -> _Parts:
    options = _options(request)
    match request.server:
        case ServerKind.SIM:
            cost = CostModel.read(model.path / FILE_NAME)
            simulation = simulated(cost, request.seed, read_config=_simulated_config)
            return _Parts(
                server=simulation.server, load=simulation.load, telemetry=simulation.telemetry
            )
        case ServerKind.REMOTE:
            remote = remote_server(options, folder)
            here = MachineTelemetry() if remote.is_here else ElsewhereTelemetry()
            return _Parts(server=remote, load=_load(request, folder), telemetry=here)
        case ServerKind.DOCKER:
            container = docker_server(options, folder, note, provides=provides)
            return _real_parts(request, container, folder)
        case ServerKind.AUTO | ServerKind.LOCAL:
            return _real_parts(request, local_server(options, folder), folder)


def _real_parts(request: Request, server: Server, folder: Path) -> _Parts:
    return _Parts(server=server, load=_load(request, folder), telemetry=MachineTelemetry())


def _load(request: Request, folder: Path) -> PerfAnalyzer:
    if request.input_data is not None:
        check_input_data(request.input_data)
    return PerfAnalyzer(
        study=folder,
        cache=_CACHE,
        explicit=request.perf_analyzer,
        input_data=request.input_data or folder / INPUTS,
    )


def _gate(request: Request, model: ModelFolder, folder: Path) -> Gate | None:
    """What checks a model's answers; a simulated one has none, and its folder may decline."""
    tolerance = parse_tolerance(model.config.parameters.get(PARAMETER))
    if request.server is ServerKind.SIM or tolerance is None:
        return None
    tensors = [_input(tensor) for tensor in model.config.inputs]
    rows = read_rows(request.input_data or folder / INPUTS, tensors, most=len(TEXTS))
    batching = model.config.max_batch_size > 0
    return Gate(asker=HttpAsker(rows=rows, batching=batching), tolerance=tolerance)


def _simulated_config(path: Path) -> SimConfig:
    config = ModelConfig.read(path)
    return SimConfig(
        max_batch_size=config.max_batch_size,
        dynamic_batching=config.dynamic_batching,
        max_queue_delay_microseconds=config.max_queue_delay_microseconds,
        instances=config.instance_count,
    )


def _inputs(model: ModelFolder) -> list[Input]:
    """What every request has to carry."""
    return [_input(tensor) for tensor in model.config.inputs if not tensor.optional]


def _input(tensor: Tensor) -> Input:
    return Input(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)


def _space(request: Request, model: ModelFolder) -> SearchSpace:
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
    return search_space(default, _bounds(request), request_batch=request.request_batch)


def _proposer(request: Request, space: SearchSpace) -> Proposer:
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


def _bounds(request: Request) -> Bounds:
    on_a_gpu = request.server is ServerKind.SIM or _instance_kind(request) != "KIND_CPU"
    return Bounds(
        max_batch_size=request.max_batch_size,
        max_queue_delay_microseconds=request.max_queue_delay_microseconds,
        max_instance_count=request.max_instances
        or (MOST_ON_A_GPU if on_a_gpu else usable_cores()),
    )


def _instance_kind(request: Request) -> str:
    """Where instances of a configuration that does not say so are to run."""
    match request.server:
        case ServerKind.REMOTE:
            return "KIND_AUTO"  # its machine may be another one
        case ServerKind.DOCKER:
            has_gpus = _options(request).container_gpus() != "none"
        case ServerKind.AUTO | ServerKind.LOCAL | ServerKind.SIM:
            has_gpus = bool(installed_gpus())
    return "KIND_GPU" if has_gpus else "KIND_CPU"
