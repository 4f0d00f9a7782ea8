"""Is each planted fault named by its right name, and is nothing named where there is no fault?

    python benchmarks/faults.py [--clean 100] [--server] [--workers 2] [--json FILE]

Each fault is planted in the simulated service, and a configuration is measured as a trial does
it, ladder and all. It is seen if the caveat that is meant for it stands beside a number. With
``--server`` three more are planted in the light test model on a real Triton, where they cost the
configuration its place: requests that fail under load, and answers that carry another user's
text or are another user's.

Clean levels are measured beside them, of services of many kinds. A caveat beside one of those is
a false alarm. ``few_samples`` is none: it tells which percentile a run is too short for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from result_file import Target, add_option, finish, give_way
from simulated_study import Unwatched, bench_of, default, model_folder, read_config

from tuner.errors import ConfigurationRejected
from tuner.load.answers import HttpAsker
from tuner.load.inputs import TEXTS, Input, write_input_data
from tuner.load.perf_analyzer import PerfAnalyzer
from tuner.load.rows import read_rows
from tuner.measure.answers import Tolerance
from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload
from tuner.measure.record import Measured
from tuner.model.repository import find_model, stage
from tuner.servers.local import LocalServer
from tuner.simulator.adapters import simulated
from tuner.simulator.cost import CostModel, Faults
from tuner.study.gate import Gate
from tuner.study.trial import try_configuration

if TYPE_CHECKING:
    from tuner.measure.measurement import Measurement

LIGHT = Path(__file__).parents[1] / "tests" / "models" / "light"
NOT_AN_ALARM = "few_samples"
SERVICE = CostModel(base_ms=10.0, per_row_ms=1.0, contention=0.3, cv=0.05, cv_start=0.01)
TIMES = 20
"""Each fault is planted so often, with other noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A fault and what is to be said of it.

    Attributes:
        name: of the fault.
        cost: of the service that has it.
        caveat: its code.
        open_loop: the load, where it is not a ladder.
    """

    name: str
    cost: CostModel
    caveat: str
    open_loop: OpenLoop | None = None


FAULTS = (
    Planted(
        name="a stall of 3 s at the start of a run",
        cost=replace(SERVICE, faults=Faults(client_stall_s=3.0)),
        caveat="littles_law",
    ),
    Planted(
        name="a client that is too slow",
        cost=replace(SERVICE, client_ms=4.0),
        caveat="client_saturated",
    ),
    Planted(
        name="a client that is too slow for its rate",
        cost=replace(SERVICE, client_ms=4.0),
        caveat="client_saturated",
        open_loop=OpenLoop(rate_per_s=300.0),
    ),
    Planted(
        name="a server that warms up for 20 s",
        cost=replace(SERVICE, faults=Faults(warmup_s=20.0)),
        caveat="warming",
    ),
    Planted(
        name="a pause of 0.3 s each second",
        cost=replace(SERVICE, faults=Faults(pause_every_s=1.0, pause_ms=300.0)),
        caveat="pauses",
    ),
    Planted(
        name="1 % of the requests fail",
        cost=replace(SERVICE, faults=Faults(failing_share=0.01)),
        caveat="errors",
    ),
)


def trial(
    cost: CostModel, params: dict[str, bool | int], seed: int, open_loop: OpenLoop | None = None
) -> tuple[Measurement, ...]:
    """Try one configuration of a simulated service; its levels."""
    with model_folder() as model:
        parts = simulated(cost, seed, read_config=read_config)
        attempt = try_configuration(
            bench_of(model, parts, open_loop=open_loop),
            config=model.config.with_params(params, kind=None),
            folder=model.path.parent / "trial",
            observer=Unwatched(),
            best=None,
            again=None,
        )
    assert isinstance(attempt.outcome, Measured), attempt.outcome
    return attempt.outcome.levels


def codes(levels: tuple[Measurement, ...]) -> list[str]:
    """The caveats of a trial, level by level."""
    found = [caveat.code for level in levels for caveat in level.caveats]
    return [code for code in found if code != NOT_AN_ALARM]


def planted(fault: Planted) -> tuple[int, Counter[str]]:
    """How often a fault was seen, and in how many trials each caveat was given."""
    params = {
        "dynamic_batching": True,
        "max_batch_size": 8,
        "max_queue_delay_microseconds": 0,
        "instance_count": 1,
    }
    found = [codes(trial(fault.cost, params, seed, fault.open_loop)) for seed in range(TIMES)]
    counted = Counter(code for one in found for code in set(one))
    return counted[fault.caveat], counted


def clean(seed: int) -> list[tuple[str, list[str]]]:
    """Measure one service without a fault; each of its levels and the caveats there."""
    random = np.random.default_rng([seed, 4])
    cost = CostModel(
        base_ms=float(random.choice([1.0, 5.0, 20.0, 100.0])),
        per_row_ms=float(random.choice([0.1, 0.5, 2.0])),
        contention=float(random.choice([0.0, 0.3, 1.0])),
        cv=float(random.choice([0.01, 0.05, 0.1])),
        autocorrelation=float(random.choice([0.0, 0.5])),
        cv_start=0.02,
    )
    params: dict[str, bool | int] = {
        "dynamic_batching": bool(random.random() < 0.7),
        "max_batch_size": int(random.choice([4, 8, 16, 32])),
        "max_queue_delay_microseconds": int(random.choice([0, 0, 1000, 10_000])),
        "instance_count": int(random.integers(1, 4)),
    }
    shown = f"{cost.base_ms:g} + {cost.per_row_ms:g} ms/row {params}"
    return [
        (f"{shown} {level.workload.load}", codes((level,))) for level in trial(cost, params, seed)
    ]


def on_a_server() -> tuple[dict[str, str], dict[str, str]]:
    """Plant what costs a configuration its place; what was said of it, and the versions."""
    said: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="tuner-benchmark-") as name:
        root = Path(name)
        load = PerfAnalyzer(study=root, cache=root / "cache")
        versions = {**LocalServer(study=root).describe(), **load.describe()}
    for fault, value in (("fail_every", "100"), ("leak", "true"), ("swap", "true")):
        with tempfile.TemporaryDirectory(prefix="tuner-benchmark-") as name:
            said[fault] = _rejected(Path(name), fault, value)
    return said, versions


def _rejected(root: Path, fault: str, value: str) -> str:
    """The reason for which the light model with a fault is rejected; empty if it is not."""
    model = find_model(str(LIGHT), LIGHT.parent)
    batching = {
        "max_batch_size": 8,
        "dynamic_batching": True,
        "max_queue_delay_microseconds": 100_000,
    }
    config = model.config.with_params(batching, kind=None).with_parameter(fault, value)
    repository = stage(model, config, root / "repository")
    inputs = [Input(name=t.name, data_type=t.data_type, dims=t.dims) for t in config.inputs]
    write_input_data(inputs, root / "inputs.json")
    rows = read_rows(root / "inputs.json", inputs, most=len(TEXTS))
    gate = Gate(asker=HttpAsker(rows=rows, batching=True), tolerance=Tolerance())
    load = PerfAnalyzer(study=root, cache=root / "cache", input_data=root / "inputs.json")
    with LocalServer(study=root).serving(
        repository=repository, model=model.name, log=root / "log", deadline_s=60.0
    ) as endpoint:
        try:
            gate.check(endpoint, model.name)
            load.run(
                grpc=endpoint.grpc,
                model=model.name,
                workload=Workload(load=ClosedLoop(concurrency=8)),
                duration_s=2.0,
                folder=root,
            )
        except ConfigurationRejected as error:
            return error.reason
    return ""


def main() -> int:
    """Print what was said of each fault, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clean", type=int, default=100, help="services without a fault")
    parser.add_argument("--server", action="store_true", help="also plant on a real Triton")
    parser.add_argument("--workers", type=int, default=2)
    add_option(parser)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.workers, initializer=give_way) as pool:
        seen = list(pool.map(planted, FAULTS))
        levels = [one for found in pool.map(clean, range(arguments.clean)) for one in found]
    targets = []
    for fault, (times, counted) in zip(FAULTS, seen, strict=True):
        others = ", ".join(f"{code} {count}" for code, count in counted.most_common())
        print(f"{fault.name:42} {fault.caveat} in {times} of {TIMES}; said in all: {others}")
        targets.append(Target(what=f"{fault.name}, seen of {TIMES}", value=times, low=TIMES))
    alarms = [(level, found) for level, found in levels if found]
    for level, found in alarms:
        print(f"false alarm: {', '.join(found)} at {level}")
    targets.append(Target(what=f"alarms at {len(levels)} clean levels", value=len(alarms), high=0))
    said, versions = on_a_server() if arguments.server else ({}, {})
    for mistake, reason in said.items():
        print(f"light model, {mistake:12} {reason or 'nothing was said'}")
        targets.append(Target(what=f"{mistake} rejected", value=float(bool(reason)), low=1))
    return finish(
        arguments.json,
        targets,
        settings={
            "times": TIMES,
            "clean": arguments.clean,
            "window": default("window"),
            "service": asdict(SERVICE),
        },
        details={
            "planted": {
                fault.name: {"meant": fault.caveat, "said_in_trials": dict(counted)}
                for fault, (_, counted) in zip(FAULTS, seen, strict=True)
            },
            "clean_levels": len(levels),
            "alarms": [{"level": level, "said": found} for level, found in alarms],
            "rejections": said,
        },
        versions=versions,
    )


if __name__ == "__main__":
    sys.exit(main())
