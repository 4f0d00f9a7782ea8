"""The answer gate on real servers: planted mistakes are found, and our own models pass."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tuner.errors import ConfigurationRejected, TrialAborted
from tuner.load.answers import HttpAsker
from tuner.load.inputs import TEXTS, Input, write_input_data
from tuner.load.rows import read_rows
from tuner.measure.answers import PARAMETER, parse_tolerance
from tuner.model.config import ModelConfig
from tuner.servers.local import LocalServer, free_ports
from tuner.servers.port import Endpoint
from tuner.study.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.server

MODELS = Path(__file__).parents[2] / "model_repository"
BATCHING = {
    "max_batch_size": 8,
    "dynamic_batching": True,
    "max_queue_delay_microseconds": 100_000,
}


def gate(config: ModelConfig, folder: Path) -> Gate:
    inputs = [Input(name=t.name, data_type=t.data_type, dims=t.dims) for t in config.inputs]
    write_input_data(inputs, folder / "inputs.json")
    rows = read_rows(folder / "inputs.json", inputs, most=len(TEXTS))
    tolerance = parse_tolerance(config.parameters.get(PARAMETER))
    assert tolerance is not None
    return Gate(asker=HttpAsker(rows=rows, batching=True), tolerance=tolerance)


@contextmanager
def batching(folder: Path, tmp_path: Path, **planted: str) -> Iterator[tuple[Endpoint, Gate]]:
    """A server with a copy of a model that waits for batch-mates."""
    copy = tmp_path / "batching" / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
    config = ModelConfig.read(copy / "config.pbtxt").with_params(BATCHING, kind=None)
    for name, value in planted.items():
        config = config.with_parameter(name, value)
    (copy / "config.pbtxt").write_text(config.text, encoding="utf-8")
    study = tmp_path / "study"
    study.mkdir()
    with LocalServer(study=study).serving(
        repository=copy.parent, model=folder.name, log=tmp_path / "server.log", deadline_s=120
    ) as endpoint:
        yield endpoint, gate(config, tmp_path)


def test_a_model_that_answers_each_its_own_passes(light_model: Path, tmp_path: Path) -> None:
    with batching(light_model, tmp_path) as (endpoint, answers):
        answers.check(endpoint, "light")


@pytest.mark.parametrize(
    ("fault", "value", "said"),
    [
        ("swap", "true", "the answer to another one"),
        ("leak", "true", "the text of another one|the answer to another one"),
        ("fail_every", "7", "planted: request 7 fails"),
    ],
)
def test_a_planted_mistake_is_rejected_with_what_shows_it(
    light_model: Path, tmp_path: Path, fault: str, value: str, said: str
) -> None:
    with batching(light_model, tmp_path, **{fault: value}) as (endpoint, answers):
        with pytest.raises(ConfigurationRejected, match=said) as rejected:
            answers.check(endpoint, "light")
        shown = rejected.value.evidence
        assert fault == "fail_every" or sum(text in shown for text in TEXTS) >= 2


@pytest.mark.parametrize("fault", ["swap", "leak"])
def test_a_planted_mistake_is_found_by_answers_from_another_server(
    light_model: Path, tmp_path: Path, fault: str
) -> None:
    for name in ("right", "wrong"):
        (tmp_path / name).mkdir()
    with batching(light_model, tmp_path / "right") as (endpoint, answers):
        known = answers.check(endpoint, "light")
    with (
        batching(light_model, tmp_path / "wrong", **{fault: "true"}) as (endpoint, answers),
        pytest.raises(ConfigurationRejected, match="another one"),
    ):
        answers.check(endpoint, "light", known)


@pytest.mark.parametrize("model", ["falcon_tiny", "minilm"])
def test_the_answers_of_our_models_do_not_depend_on_batch_mates(
    model: str, tmp_path: Path
) -> None:
    with batching(MODELS / model, tmp_path) as (endpoint, answers):
        answers.check(endpoint, model)


def test_a_server_that_is_gone_is_no_fault_of_the_configuration(
    light_model: Path, tmp_path: Path
) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    endpoint = Endpoint(http=nobody, grpc=nobody, metrics=None, pid=None)
    answers = gate(ModelConfig.read(light_model / "config.pbtxt"), tmp_path)
    with pytest.raises(TrialAborted, match="No answer came"):
        answers.check(endpoint, "light")
