"""The simulator behind the three ports: server, load generator, telemetry.

The three share one world, in which a server is found by its address; nothing listens there.
Time is virtual: it passes only while load runs, as fast as it can be computed.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tuner.errors import ConfigurationRejected, TrialAborted
from tuner.measure.measurement import ClosedLoop, OpenLoop
from tuner.simulator.loop import simulate
from tuner.simulator.telemetry import SimulatedTelemetry
from tuner.simulator.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tuner.load.port import LoadGenerator
    from tuner.measure.measurement import Workload
    from tuner.measure.trace import Trace
    from tuner.servers.port import Endpoint, Server
    from tuner.simulator.batcher import SimConfig
    from tuner.simulator.cost import CostModel
    from tuner.telemetry.port import Telemetry

VERSION = "2"
"""Numbers of different versions are not comparable. Raise it with every change that moves them."""

BETWEEN_RUNS_MS = 500.0
"""Virtual time between two runs of load: a load generator takes so long to start."""

LONGER = 4.0
"""By so much a run of an open loop is longer than the one before it, in which nothing was
answered."""

ROUNDS = 5
"""So often each client is answered in the run after one in which nothing was answered."""

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """The three parts of one simulated world."""

    server: Server
    load: LoadGenerator
    telemetry: Telemetry


def simulated(
    cost: CostModel, seed: int, *, read_config: Callable[[Path], SimConfig]
) -> Simulation:
    """Create a world in which one model can be served.

    The same calls in the same order give the same numbers. Starting a configuration again
    gives other ones, as differently as ``cost`` says.

    Args:
        cost: of the model.
        seed: of all its noise.
        read_config: reads a config.pbtxt.
    """
    world = World(cost, seed)
    return Simulation(
        server=SimulatedServer(world, read_config),
        load=SimulatedLoad(world),
        telemetry=SimulatedTelemetry(world),
    )


class SimulatedServer:
    """A Triton that loads any model whose cost is known."""

    def __init__(self, world: World, read_config: Callable[[Path], SimConfig]) -> None:
        self._world = world
        self._read_config = read_config

    @contextmanager
    def serving(
        self, *, repository: Path, model: str, log: Path, deadline_s: float
    ) -> Iterator[Endpoint]:
        """Serve one model of a repository, from entry to exit.

        Raises:
            ConfigurationRejected: it does not fit into the device's memory, would not be
                ready in time, or asks for what Triton refuses.
        """
        config = self._read_config(repository / model / "config.pbtxt")
        cost = self._world.cost
        lines = [f"simulated Triton, version {VERSION}", f"loading {model}: {config}"]
        refusal = _refusal(config, cost, deadline_s)
        if refusal is not None:
            reason, evidence = refusal
            lines += [f"E failed to load '{model}' version 1: {evidence}", reason]
            log.write_text("\n".join(lines) + "\n", "utf-8")
            raise ConfigurationRejected(
                f"{model} did not load: {reason}.", evidence="\n".join(lines)
            )
        lines.append(f"{model} is READY after {cost.load_time_s:g} s of virtual time")
        log.write_text("\n".join(lines) + "\n", "utf-8")
        endpoint = self._world.add(config)
        try:
            yield endpoint
        finally:
            self._world.remove(endpoint)

    def describe(self) -> Mapping[str, str]:
        """The simulator's version, and a digest of the cost model."""
        content = json.dumps(asdict(self._world.cost), sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        return {"server": f"simulated, version {VERSION}", "cost_model": digest}

    def clean(self) -> int:
        """Nothing outlives its process."""
        return 0


class SimulatedLoad:
    """A load generator for the servers of the same world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(
        self,
        *,
        grpc: str,
        model: str,
        workload: Workload,
        duration_s: float,
        folder: Path,  # noqa: ARG002 - the port's; there is no file to keep
        requests: int | None = None,
        deadline_s: float = 3600.0,  # noqa: ARG002 - the port's; virtual time does not run out
    ) -> Trace:
        """Send traffic for a while and tell what was answered in it.

        Where nothing was, the run is repeated: until each client was answered a few times, or
        for longer where requests come by the clock.

        Raises:
            TrialAborted: no server is up at that address, or a request has more rows than
                ``max_batch_size``.
        """
        started = self._world.find(grpc)
        if started is None:
            raise TrialAborted(
                f"No simulated server is up at {grpc}. It ended, or belongs to another "
                "simulation: run the load while it serves."
            )
        most = max(1, started.config.max_batch_size)
        if workload.request_batch > most:
            raise TrialAborted(
                f"{model} takes at most {most} rows in a request, but each has "
                f"{workload.request_batch}. Send smaller requests or raise max_batch_size."
            )
        while True:
            started.device.rest(BETWEEN_RUNS_MS)
            trace = simulate(
                started.config,
                self._world.cost,
                started.device,
                workload,
                duration_s=duration_s,
                requests=requests,
                random=started.random(),
            )
            if len(trace.sent_ns):
                return trace
            duration_s *= LONGER
            match workload.load:
                case ClosedLoop(concurrency=concurrency):
                    requests = ROUNDS * concurrency
                case OpenLoop():
                    pass

    def describe(self) -> Mapping[str, str]:
        """The simulator's version."""
        return {"load_generator": f"simulated, version {VERSION}"}


def _refusal(config: SimConfig, cost: CostModel, deadline_s: float) -> tuple[str, str] | None:
    """Why a server would not come up, in one phrase, and its last words; None if it would."""
    too_large = [size for size in config.preferred_batch_sizes if size > config.max_batch_size]
    if too_large:
        reason = "a preferred batch size is larger than max_batch_size"
        return reason, f"dynamic batching preferred size {too_large[0]} is too large"
    need = cost.memory_bytes(instances=config.instances, rows=max(1, config.max_batch_size))
    total = cost.memory_total_bytes
    if total is not None and need > total:
        each = need // config.instances
        free = total - (total // each) * each
        reason = "torch.OutOfMemoryError: CUDA out of memory"
        return reason, (
            f"{reason}. Tried to allocate {each / GIB:.2f} GiB. GPU 0 has a total capacity of "
            f"{total / GIB:.2f} GiB of which {free / GIB:.2f} GiB is free."
        )
    if cost.load_time_s > deadline_s:
        reason = f"it was not ready within {deadline_s:g} s"
        return reason, f"still loading; it takes {cost.load_time_s:g} s"
    return None
