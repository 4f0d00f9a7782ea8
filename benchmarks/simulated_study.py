"""Whole studies of a simulated service, as `tune MODEL --server sim` runs them.

Everything is the product's own (proposer, ladder, lengths, proof, verdict) with the defaults
that its command line has; only the service is made up here.
"""

from __future__ import annotations

import inspect
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.commands.goals import PROOF_ROUNDS
from tuner.commands.run import run as command
from tuner.judge.goal import Objective
from tuner.judge.parse import parse_share
from tuner.judge.verdict import Answer, decide
from tuner.model.config import ModelConfig
from tuner.model.repository import ModelFolder, find_model
from tuner.search.model_guided import ModelGuided
from tuner.search.patience import PATIENCE
from tuner.simulator.adapters import Simulation, simulated
from tuner.simulator.batcher import SimConfig
from tuner.space.triton import Bounds, search_space
from tuner.study.bench import Bench
from tuner.study.run import StudyRun
from tuner.study.spec import StudySpec
from tuner.study.storage import StudyStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.measure.record import TrialRecord
    from tuner.simulator.cost import CostModel
    from tuner.study.events import Event

THROUGHPUT = Objective(metric="throughput_per_s")
NAME = "service"
CONFIG = """
name: "service"
backend: "python"
max_batch_size: 8
input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "text_output" data_type: TYPE_STRING dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_GPU } ]
dynamic_batching { }
"""
"""What the user wrote."""

INSTANCES = 8
"""So many are tried at most, as on a GPU."""


class Unwatched:
    """An observer that takes no note."""

    def on(self, event: Event) -> None:
        """See Observer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study that is over.

    Attributes:
        records: its trials.
        answer: what the product says.
    """

    records: tuple[TrialRecord, ...]
    answer: Answer


def default(option: str) -> Any:  # noqa: ANN401 - an option may be of any type
    """What an option of `tune MODEL` is where it is not typed."""
    return inspect.signature(command).parameters[option].default


def read_config(path: Path) -> SimConfig:
    """What the simulator needs of a config.pbtxt."""
    config = ModelConfig.read(path)
    return SimConfig(
        max_batch_size=config.max_batch_size,
        dynamic_batching=config.dynamic_batching,
        max_queue_delay_microseconds=config.max_queue_delay_microseconds,
        instances=config.instance_count,
    )


@contextmanager
def model_folder(text: str = CONFIG) -> Iterator[ModelFolder]:
    """A model folder that nothing but its configuration is in, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="tuner-benchmark-") as root:
        folder = Path(root) / NAME
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(text, "utf-8")
        yield find_model(str(folder), folder.parent)


def bench_of(model: ModelFolder, parts: Simulation, **changes: Any) -> Bench:  # noqa: ANN401
    """The bench of a simulated service, at the product's defaults but for ``changes``."""
    options = {
        "window_s": default("window"),
        "max_concurrency": default("max_concurrency"),
        "precision": parse_share(default("precision")),
        **changes,
    }
    return Bench(
        model=model,
        weights=None,
        server=parts.server,
        load=parts.load,
        telemetry=parts.telemetry,
        objective=THROUGHPUT,
        limits=(),
        request_batch=default("request_batch"),
        load_deadline_s=default("load_deadline"),
        **options,
    )


def run_study(cost: CostModel, *, seed: int, trials: int) -> Study:
    """Tune a service from scratch.

    Args:
        cost: of the service.
        seed: of its noise and of the search.
        trials: configurations in all.
    """
    with model_folder() as model:
        root = model.path.parent
        bench = bench_of(model, simulated(cost, seed, read_config=read_config))
        bounds = Bounds(
            max_batch_size=default("max_batch_size"),
            max_queue_delay_microseconds=default("max_queue_delay"),
            max_instance_count=INSTANCES,
        )
        spec = StudySpec(
            name=NAME,
            model=NAME,
            config_pbtxt=model.config.text,
            objective=THROUGHPUT,
            limits=(),
            bounds=bounds,
            request_batch=bench.request_batch,
            max_concurrency=bench.max_concurrency,
            window_s=bench.window_s,
            seed=seed,
            sampler="auto",
            precision=bench.precision,
        )
        space = search_space(
            model.config.default_params(), bounds, request_batch=bench.request_batch
        )
        store = StudyStore.create(f"sqlite:///{root / 'study.db'}", spec, {})
        run = StudyRun(
            store=store,
            folder=root / "trials",
            config=model.config,
            kind=None,
            space=space,
            proposer=ModelGuided(space, seed=seed, max_concurrency=bench.max_concurrency),
            bench=bench,
            observer=Unwatched(),
        )
        run.run(trials, proof_rounds=PROOF_ROUNDS, all_rounds=False, patience=PATIENCE)
        records = store.records()
    return Study(records=records, answer=decide(records, THROUGHPUT, ()))
