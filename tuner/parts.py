"""What a study measures with: a server, what loads it, what watches both, what checks answers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.load.answers import HttpAsker
from tuner.load.inputs import TEXTS, Input, check_input_data, write_input_data
from tuner.load.perf_analyzer import PerfAnalyzer
from tuner.load.rows import read_rows
from tuner.measure.answers import PARAMETER, parse_tolerance
from tuner.model.config import ModelConfig
from tuner.server_choice import (
    ServerKind,
    docker_server,
    local_server,
    remote_server,
    sdk_container,
)
from tuner.simulator.adapters import simulated
from tuner.simulator.batcher import SimConfig
from tuner.simulator.cost import FILE_NAME, CostModel
from tuner.study.gate import Gate
from tuner.telemetry.elsewhere import ElsewhereTelemetry
from tuner.telemetry.machine import MachineTelemetry
from tuner.terminal import note

if TYPE_CHECKING:
    from tuner.load.port import LoadGenerator
    from tuner.model.parts import Tensor
    from tuner.model.repository import ModelFolder
    from tuner.request import Request
    from tuner.server_choice import ServerOptions
    from tuner.servers.port import Server
    from tuner.servers.sdk_container import SdkContainer
    from tuner.telemetry.port import Telemetry

_INPUTS = "inputs.json"

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tuner"
"""For links to perf_analyzer's libraries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What one study measures with; nothing of it is started yet.

    Attributes:
        server: serves the model.
        load: sends requests to it.
        telemetry: watches the machine that serves.
        sdk: runs what sends where this machine cannot; None where nothing is sent.
    """

    server: Server
    load: LoadGenerator
    telemetry: Telemetry
    sdk: SdkContainer | None = None

    def clean(self) -> int:
        """End what a killed run of the study left behind; return how many things that were.

        Raises:
            TrialAborted: one of them does not end.
        """
        beside = 0 if self.sdk is None else self.sdk.clean()
        return beside + self.server.clean()

    def describe(self) -> dict[str, str]:
        """What the numbers depend on."""
        return {**self.server.describe(), **self.load.describe(), **self.telemetry.describe()}


def parts_for(
    request: Request, model: ModelFolder, folder: Path, *, provides: bool = True
) -> Parts:
    """Choose and make the parts.

    Args:
        request: settled, so that its server is known.
        model: to be served.
        folder: of the study.
        provides: lets a part build or pull what it lacks to describe itself.

    Raises:
        UsageError: an option is not of its form.
        MachineError: a part is missing on this machine.
    """
    options = request.server
    match options.kind:
        case ServerKind.SIM:
            cost = CostModel.read(model.path / FILE_NAME)
            simulation = simulated(cost, request.seed, read_config=_simulated_config)
            return Parts(
                server=simulation.server, load=simulation.load, telemetry=simulation.telemetry
            )
        case ServerKind.REMOTE:
            remote = remote_server(options, folder)
            here = MachineTelemetry() if remote.is_here else ElsewhereTelemetry()
            return _loaded(request, remote, here, folder, provides=provides)
        case ServerKind.DOCKER:
            container = docker_server(options, folder, note, provides=provides)
            return _loaded(request, container, _here(options), folder, provides=provides)
        case ServerKind.AUTO | ServerKind.LOCAL:
            local = local_server(options, folder)
            return _loaded(request, local, _here(options), folder, provides=provides)


def gate_for(request: Request, model: ModelFolder, folder: Path) -> Gate | None:
    """Make what checks answers; a simulated model gives none, and a model's folder may decline."""
    tolerance = parse_tolerance(model.config.parameters.get(PARAMETER))
    if request.server.kind is ServerKind.SIM or tolerance is None:
        return None
    tensors = [_input(tensor) for tensor in model.config.inputs]
    rows = read_rows(_input_data(request, folder), tensors, most=len(TEXTS))
    batching = model.config.max_batch_size > 0
    return Gate(asker=HttpAsker(rows=rows, batching=batching), tolerance=tolerance)


def write_inputs(model: ModelFolder, folder: Path) -> None:
    """Make up requests with what every one has to carry, for a user who brings none."""
    needed = [_input(tensor) for tensor in model.config.inputs if not tensor.optional]
    write_input_data(needed, folder / _INPUTS)


def _here(options: ServerOptions) -> MachineTelemetry:
    """Watches this machine, and of its GPUs those that serve."""
    chosen = options.chosen_gpus()
    return MachineTelemetry(None if chosen is None else chosen.uuids)


def _loaded(
    request: Request, server: Server, telemetry: Telemetry, folder: Path, *, provides: bool
) -> Parts:
    """Put perf_analyzer before a server."""
    if request.input_data is not None:
        check_input_data(request.input_data)
    inputs = _input_data(request, folder)
    sdk = sdk_container(request.sdk_image, folder, note, reads=(inputs,), provides=provides)
    load = PerfAnalyzer(
        study=folder,
        cache=_CACHE,
        explicit=request.perf_analyzer,
        input_data=inputs,
        elsewhere=sdk,
    )
    return Parts(server=server, load=load, telemetry=telemetry, sdk=sdk)


def _input_data(request: Request, folder: Path) -> Path:
    return request.input_data or folder / _INPUTS


def _input(tensor: Tensor) -> Input:
    return Input(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)


def _simulated_config(path: Path) -> SimConfig:
    config = ModelConfig.read(path)
    return SimConfig(
        max_batch_size=config.max_batch_size,
        dynamic_batching=config.dynamic_batching,
        max_queue_delay_microseconds=config.max_queue_delay_microseconds,
        instances=config.instance_count,
    )
