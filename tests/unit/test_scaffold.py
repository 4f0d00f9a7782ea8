"""`tune new`: a folder from the templates, for models on the hub and in folders."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from serving_checks import arguments

from tuner.errors import MachineError, UsageError
from tuner.model.architecture import Architecture, read_architecture
from tuner.model.repository import find_model
from tuner.model.scaffold import Task, create_model
from tuner.model.serving.loading import load_engine
from tuner.model.serving.settings import read_settings
from tuner.model.serving_code import FILES, differing

if TYPE_CHECKING:
    from collections.abc import Mapping


transformers: Any = import_module("transformers")  # half of it is typed, which is worse than none

REPOSITORY = Path(__file__).parents[2] / "model_repository"


def no_hub(source: str) -> Architecture:
    """Answer as where no hub can be reached."""
    raise MachineError(f"the configuration of {source} cannot be read: no network")


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    transformers.LlamaConfig(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        rope_theta=500_000.0,
        dtype="bfloat16",
    ).save_pretrained(folder)
    return folder


def engine(path: Path, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - one of two engines
    return load_engine(read_settings(arguments(dict(parameters))), path / "1")


def test_a_new_folder_differs_from_those_that_are_here_in_its_title_only(tmp_path: Path) -> None:
    create_model(
        "falcon7b",
        hub_id="tiiuae/falcon-7b",
        task=Task.TEXT_GENERATION,
        repository=tmp_path / "repository",
        shapes_of=no_hub,
    )
    ours = (REPOSITORY / "falcon7b" / "config.pbtxt").read_text(encoding="utf-8")
    new = (tmp_path / "repository" / "falcon7b" / "config.pbtxt").read_text(encoding="utf-8")
    assert new.splitlines()[1:] == ours.splitlines()[1:]
    assert differing(tmp_path / "repository") == []


def test_a_model_whose_shapes_are_known_runs_with_dummy_weights(
    tmp_path: Path, hub_folder: Path
) -> None:
    made = create_model(
        "mine", hub_id=str(hub_folder), task=Task.TEXT_GENERATION, repository=tmp_path
    )
    assert made.no_architecture is None
    model = find_model("mine", tmp_path)
    assert model.config.parameters["huggingface_model"] == str(hub_folder)
    assert model.config.parameters["torch_dtype"] == "bfloat16"
    served = engine(made.path, {**model.config.parameters, "weights": "dummy"})
    (answer,) = served.run([served.prepare("I am", {"max_tokens": 2}, 0)])
    assert answer.startswith("I am")
    described = json.loads((made.path / "1" / "architecture.json").read_text(encoding="utf-8"))
    again = transformers.AutoConfig.for_model(**described)
    assert again.rope_parameters["rope_theta"] == 500_000.0


def test_an_embedding_model_is_as_wide_as_its_network(tmp_path: Path, hub_folder: Path) -> None:
    known = create_model("known", hub_id=str(hub_folder), task=Task.EMBEDDING, repository=tmp_path)
    (tensor,) = find_model("known", tmp_path).config.outputs
    assert (tensor.name, tensor.dims) == ("embedding", (32,))
    parameters = find_model("known", tmp_path).config.parameters
    served = engine(known.path, {**parameters, "weights": "dummy"})
    (vector,) = served.run([served.prepare("I am", {}, 0)])
    assert len(vector) == 32
    create_model(
        "unknown", hub_id="a/b", task=Task.EMBEDDING, repository=tmp_path, shapes_of=no_hub
    )
    assert find_model("unknown", tmp_path).config.outputs[0].dims == (-1,)


def test_without_the_hub_the_folder_is_made_and_says_what_it_lacks(tmp_path: Path) -> None:
    made = create_model(
        "opt350m",
        hub_id="facebook/opt-350m",
        task=Task.TEXT_GENERATION,
        repository=tmp_path,
        shapes_of=no_hub,
    )
    assert made.no_architecture is not None
    assert "facebook/opt-350m cannot be read" in made.no_architecture
    assert sorted(path.name for path in (made.path / "1").iterdir()) == sorted(
        source.name for source in FILES
    )


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "/tmp/x"])  # noqa: S108 - no file
def test_a_name_that_is_no_folders_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a model's name"):
        create_model(name, hub_id="a/b", task=Task.TEXT_GENERATION, repository=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "dangling"):
        with pytest.raises(UsageError, match="is there already"):
            create_model(name, hub_id="a/b", task=Task.TEXT_GENERATION, repository=tmp_path)
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_and_left_clean(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--model-repository"):
        create_model(
            "m",
            hub_id="a/b",
            task=Task.TEXT_GENERATION,
            repository=tmp_path / "file",
            shapes_of=no_hub,
        )


def test_a_folder_without_a_configuration_has_no_shapes(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be read"):
        read_architecture(str(tmp_path))
