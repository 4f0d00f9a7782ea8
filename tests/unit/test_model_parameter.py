from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from tuner.errors import UsageError
from tuner.model.config import ModelConfig
from tuner.model.repository import find_model
from tuner.model.weights import Weights, with_weights

REPOSITORY = Path(__file__).parents[2] / "model_repository"
TEXT = """\
name: "m"  # as the folder
parameters { key: "dtype" value: { string_value: "float" "16" } }  # half
parameters [
  {
    # random, or the hub's
    key: "weights"
    value: { string_value: 'pretrained' }
  },
  { key: "bare" },
  { key: "empty" value { } }
]
"""
LAYOUTS = ("", "name: 'm'", TEXT, "parameters { key: 'a' } parameters < key: 'a' value: {} >")


def _config(text: str) -> ModelConfig:
    return ModelConfig.parse(text, path=Path("m/config.pbtxt"))


def _set(text: str, name: str, value: str) -> str:
    return _config(text).with_parameter(name, value).text


@pytest.mark.parametrize(
    ("name", "value", "old", "new"),
    [
        ("weights", "dummy", "'pretrained'", '"dummy"'),
        ("weights", "pretrained", "", ""),
        ("dtype", "float32", '"float" "16"', '"float32"'),
        ("bare", "x", 'key: "bare" }', 'key: "bare" value: { string_value: "x" } }'),
        ("empty", "x", "value { }", 'value { string_value: "x" }'),
    ],
)
def test_setting_a_parameter_touches_its_value_alone(
    name: str, value: str, old: str, new: str
) -> None:
    assert _set(TEXT, name, value) == TEXT.replace(old, new, 1)


def test_a_parameter_that_is_not_there_is_added_at_the_end() -> None:
    assert _set(TEXT, "new", "x") == (
        TEXT + 'parameters { key: "new" value: { string_value: "x" } }\n'
    )


@settings(deadline=None)
@given(
    text=st.sampled_from(LAYOUTS),
    name=st.sampled_from(["weights", "dtype", "a", 'q"uote', "neu ü"]),
    value=st.text(st.characters(codec="utf-8"), min_size=1),
)
def test_protobuf_reads_the_parameter_that_was_set_and_all_others_as_before(
    text: str, name: str, value: str
) -> None:
    def read(source: str) -> dict[str, str]:
        proto = text_format.Parse(source, model_config_pb2.ModelConfig())
        return {key: entry.string_value for key, entry in proto.parameters.items()}

    edited = _set(text, name, value)
    assert read(edited) == read(text) | {name: value}
    assert _config(edited).parameters == read(edited)


def test_the_last_of_two_equal_keys_is_set_because_it_is_the_one_that_counts() -> None:
    one = 'parameters { key: "a" value { string_value: "1" } }\n'
    assert _set(one + one, "a", "2") == one + one.replace('"1"', '"2"')


def test_every_model_can_be_served_with_dummy_weights() -> None:
    for path in sorted(REPOSITORY.glob("*/config.pbtxt")):
        model = find_model(path.parent.name, REPOSITORY)
        assert with_weights(model, Weights.DUMMY).parameters["weights"] == "dummy"
        assert with_weights(model, None) is model.config


def test_weights_of_code_that_has_no_choice_are_refused(light_model: Path) -> None:
    model = find_model(str(light_model), light_model.parent)
    with pytest.raises(UsageError, match="has no parameter `weights`"):
        with_weights(model, Weights.DUMMY)


def test_dummy_weights_of_unknown_shapes_are_refused(tmp_path: Path) -> None:
    copy = tmp_path / "minilm"
    shutil.copytree(REPOSITORY / "minilm", copy)
    (copy / "1" / "architecture.json").unlink()
    model = find_model(str(copy), tmp_path)
    with pytest.raises(UsageError, match=r"architecture\.json is not there"):
        with_weights(model, Weights.DUMMY)
    assert with_weights(model, Weights.PRETRAINED) is model.config
