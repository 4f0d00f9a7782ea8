from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from tuner.errors import ConfigSyntaxError, UsageError
from tuner.model.config import ModelConfig
from tuner.model.parts import InstanceGroup, Tensor
from tuner.model.pbtxt import Document

if TYPE_CHECKING:
    from tuner.measure.record import Params, Value

PATH = Path("m/config.pbtxt")

FULL = """\
# The baseline of the team.
name: "falcon"   # as the folder
backend: "python"
max_batch_size: 8 ; # rows

input [ { name: "text" data_type: TYPE_STRING dims: [ -1 ] optional: true } ]
output { name: "answer" data_type: 11 dims: 1 dims: [ 4, 2 ] }
dynamic_batching {
  preferred_batch_size: [ 4, 8 ] # two
  max_queue_delay_microseconds: 0x64
  preserve_ordering: true
}
instance_group [
  { # the fast one
    kind: KIND_GPU
    gpus: [ 0, 1 ] },
  < count: 2, kind: KIND_CPU, host_policy: "numa" >
]
parameters { key: "dtype" value: { string_value: "float" "16" } }
parameters: { key: "weights" value { string_value: 'dummy' } }
model_transaction_policy { decoupled: True }
"""


def _config(text: str) -> ModelConfig:
    return ModelConfig.parse(text, path=PATH)


def _edit(text: str, params: Params, kind: str | None = None) -> str:
    return _config(text).with_params(params, kind=kind).text


# --- reading ---------------------------------------------------------------------------------


def test_a_configuration_is_read_as_it_is_written() -> None:
    config = _config(FULL)
    assert (config.name, config.backend, config.max_batch_size) == ("falcon", "python", 8)
    assert config.dynamic_batching
    assert config.max_queue_delay_microseconds == 100
    assert config.instance_groups == (
        InstanceGroup(count=1, default_count=1, kind="KIND_GPU", gpus=(0, 1)),
        InstanceGroup(count=2, default_count=1, kind="KIND_CPU", gpus=()),
    )
    assert config.instance_count == 4
    assert config.inputs == (
        Tensor(name="text", data_type="TYPE_STRING", dims=(-1,), optional=True),
    )
    assert config.outputs == (
        Tensor(name="answer", data_type="TYPE_FP32", dims=(1, 4, 2), optional=False),
    )
    assert config.decoupled
    assert not config.sequence_batching
    assert config.parameters == {"dtype": "float16", "weights": "dummy"}
    assert config.text == FULL


def test_an_empty_configuration_has_tritons_defaults() -> None:
    config = _config("")
    assert (config.name, config.backend, config.max_batch_size) == (None, None, 0)
    assert (config.dynamic_batching, config.max_queue_delay_microseconds) == (False, 0)
    assert (config.instance_groups, config.instance_count) == ((), 1)
    assert (config.decoupled, config.sequence_batching) == (False, False)
    assert (config.ensemble_models, dict(config.parameters)) == ((), {})


def test_onnx_runtime_runs_two_instances_on_a_cpu_where_no_count_is_given() -> None:
    group = "instance_group { kind: KIND_CPU }"
    for engine in ('backend: "onnxruntime"', 'platform: "onnxruntime_onnx"'):
        assert _config(f"{engine} {group}").instance_count == 2
    assert _config(f'backend: "python" {group}').instance_count == 1


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("max_batch_size: 4 max_batch_size: 4", "1:19: `max_batch_size` is there a second time"),
        ("max_batch_size: 4.0", "1:17: `max_batch_size` takes an integer"),
        ("max_batch_size: -1", "1:17: `max_batch_size` takes an integer from 0"),
        ("max_batch_size: 4294967296", "1:17: `max_batch_size` takes an integer"),
        ("name: 4", "1:7: `name` takes a string"),
        ("dynamic_batching: 1", "1:19: `dynamic_batching` takes a message"),
        ("dynamic_batching: [ {} ]", "1:19: `dynamic_batching` takes one value, not a list"),
        ("instance_group { kind: KIND_TPU }", "1:24: `kind` takes one of KIND_AUTO"),
        ("model_transaction_policy { decoupled: 2 }", "1:39: `decoupled` takes true or false"),
    ],
)
def test_a_field_of_the_wrong_type_is_an_error_at_its_place(text: str, part: str) -> None:
    with pytest.raises(ConfigSyntaxError, match=re.escape(f"config.pbtxt:{part}")):
        _config(text)


# --- editing ---------------------------------------------------------------------------------


def test_every_byte_that_an_edit_does_not_touch_stays() -> None:
    edited = _edit(
        FULL,
        {"max_batch_size": 4, "max_queue_delay_microseconds": 500, "instance_count": 3},
    )
    assert edited == (
        FULL.replace("max_batch_size: 8 ;", "max_batch_size: 4 ;")
        .replace("[ 4, 8 ]", "[ 4 ]")
        .replace("0x64", "500")
        .replace("gpus: [ 0, 1 ] }", "gpus: [ 0, 1 ] count: 3 }")
        .replace("count: 2", "count: 3")
    )


def test_dynamic_batching_that_is_turned_off_takes_its_lines_with_it() -> None:
    block = FULL[FULL.index("dynamic_batching") : FULL.index("instance_group")]
    assert _edit(FULL, {"dynamic_batching": False}) == FULL.replace(block, "")


def test_dynamic_batching_that_is_already_on_keeps_its_block() -> None:
    assert _edit(FULL, {"dynamic_batching": True}) == FULL


def test_fields_that_are_missing_are_added_after_the_last_line_and_its_comment() -> None:
    params: Params = {
        "max_batch_size": 4,
        "dynamic_batching": True,
        "max_queue_delay_microseconds": 100,
        "instance_count": 2,
    }
    assert _edit('name: "m" # mine', params, "KIND_CPU") == (
        'name: "m" # mine\n'
        "dynamic_batching { max_queue_delay_microseconds: 100 }\n"
        "max_batch_size: 4\n"
        "instance_group [ { count: 2 kind: KIND_CPU } ]"
    )
    assert _edit("", {"max_batch_size": 4}) == "max_batch_size: 4\n"
    assert _edit("# a\r\nname: 'm'\r\n", {"max_batch_size": 4}) == (
        "# a\r\nname: 'm'\r\nmax_batch_size: 4\r\n"
    )


def test_a_field_that_is_added_to_a_block_is_indented_as_its_neighbours() -> None:
    text = "dynamic_batching {\n    preserve_ordering: true  # needed\n}\n"
    assert _edit(text, {"max_queue_delay_microseconds": 7}) == text.replace(
        "# needed\n", "# needed\n    max_queue_delay_microseconds: 7\n"
    )


def test_a_group_that_is_added_without_a_kind_leaves_the_kind_to_triton() -> None:
    assert _edit("", {"instance_count": 2}) == "instance_group [ { count: 2 } ]\n"
    assert _edit("", {"instance_count": 1}, "KIND_CPU") == ""


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ("preferred_batch_size: [ 2, 4, 8 ]", "preferred_batch_size: [ 2, 4 ]"),
        ("preferred_batch_size: [8,4,16,2,32]", "preferred_batch_size: [4,2]"),
        ("preferred_batch_size: [ 16, 8, 4 ]", "preferred_batch_size: [ 4 ]"),
        ("preferred_batch_size: 4 preferred_batch_size: 8", "preferred_batch_size: 4  "),
        ("preferred_batch_size: [ 8, 16 ]", " "),
        ("preferred_batch_size: []", "preferred_batch_size: []"),
    ],
)
def test_preferred_sizes_that_no_longer_fit_are_dropped(sizes: str, left: str) -> None:
    text = f"max_batch_size: 32 dynamic_batching {{ {sizes} }}"
    assert _edit(text, {"max_batch_size": 4}) == (
        f"max_batch_size: 4 dynamic_batching {{ {left} }}"
    )


def test_a_warm_up_that_is_larger_than_a_batch_is_lowered_to_it() -> None:
    text = "max_batch_size: 8 model_warmup [ { batch_size: 8 }, { batch_size: 2 }, { } ]"
    assert _edit(text, {"max_batch_size": 4}) == (
        "max_batch_size: 4 model_warmup [ { batch_size: 4 }, { batch_size: 2 }, { } ]"
    )


def test_a_delay_without_dynamic_batching_changes_nothing() -> None:
    assert _edit("max_batch_size: 4\n", {"max_queue_delay_microseconds": 100}) == (
        "max_batch_size: 4\n"
    )


@pytest.mark.parametrize("other", ["sequence_batching", "ensemble_scheduling"])
def test_dynamic_batching_is_not_added_beside_a_scheduler_that_excludes_it(other: str) -> None:
    with pytest.raises(UsageError, match=f"has `{other}`"):
        _edit(f"{other} {{ }}", {"dynamic_batching": True})
    assert _edit(f"{other} {{ }}", {"dynamic_batching": False}) == f"{other} {{ }}"


@pytest.mark.parametrize(
    "params",
    [
        {"max_batch": 4},
        {"max_batch_size": True},
        {"max_batch_size": -1},
        {"max_batch_size": "4"},
        {"dynamic_batching": 1},
        {"max_queue_delay_microseconds": -1},
        {"instance_count": 0},
    ],
)
def test_a_knob_or_value_that_does_not_exist_is_a_programming_error(
    params: dict[str, Value],
) -> None:
    with pytest.raises(ValueError, match=r"unknown knobs|takes"):
        _edit(FULL, params)


def test_the_count_is_no_default_where_the_groups_differ() -> None:
    assert "instance_count" not in _config(FULL).default_params()
    assert _config("instance_group [ {}, { count: 1 } ]").default_params() == {
        "max_batch_size": 0,
        "dynamic_batching": False,
        "max_queue_delay_microseconds": 0,
        "instance_count": 1,
    }


# --- against protobuf itself -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """One configuration in two layouts, with comments in both."""

    text: str
    again: str


def _number(value: int) -> st.SearchStrategy[str]:
    return st.sampled_from([str(value), hex(value), f"0{value:o}"])


def _message(*fields: str) -> st.SearchStrategy[str]:
    """A message that has any of these fields; tokens stand apart."""
    some = st.lists(st.sampled_from(fields), unique_by=lambda field: field.partition(" ")[0])
    return some.map(lambda chosen: " ".join(["{", *chosen, "}"]))


_BATCHER = _message(
    "preferred_batch_size : 4 preferred_batch_size : [ 64 , 8 ]",
    "preferred_batch_size : [ 2 , 4 , 8 ]",
    "preferred_batch_size : [ 48 ]",
    "max_queue_delay_microseconds : 0",
    "max_queue_delay_microseconds : 100",
    "preserve_ordering : true",
    "default_queue_policy { timeout_action : DELAY max_queue_size : 8 }",
    "priority_levels : 2 default_priority_level : 1",
)
_GROUP = _message(
    "count : 1",
    "count : 2",
    "kind : KIND_CPU",
    "kind : KIND_GPU gpus : [ 0 , 1 ]",
    "profile : 'p'",
    "rate_limiter { resources [ { name : 'r' count : 4 } ] priority : 2 }",
    "host_policy : 'h'",
)
_OTHERS = (
    "version_policy { latest { num_versions : 2 } }",
    "optimization { cuda { graphs : true } priority : PRIORITY_MAX }",
    "model_warmup [ { name : 'w' batch_size : 16 } , { name : 'v' } ]",
    'parameters { key : "a" "#b" value { string_value : "\\x41{" } }',
    "input [ { name : 'x' data_type : TYPE_FP32 dims : [ -1 , 3 ] } ]",
)


@st.composite
def _fields(draw: st.DrawFn) -> list[str]:
    """Fields of a ModelConfig that Triton knows, tokens apart."""
    fields = draw(st.lists(st.sampled_from(_OTHERS), unique=True))
    if draw(st.booleans()):
        fields.append(f"max_batch_size : {draw(_number(draw(st.integers(0, 32))))}")
    if draw(st.booleans()):
        fields.append(f"dynamic_batching {draw(_BATCHER)}")
    groups = draw(st.lists(_GROUP, max_size=3))
    if draw(st.booleans()):
        return fields + [f"instance_group {group}" for group in groups]
    return [*fields, f"instance_group [ {' , '.join(groups)} ]"]


_BLANKS = st.sampled_from([" ", "\n", "\t", "  ", "\r\n", "\n\n    ", " # it's a {[<\n", "#\n"])
_BRACES: tuple[dict[str, str], ...] = ({}, {"{": "<", "}": ">"})


@st.composite
def _layout(draw: st.DrawFn, fields: list[str]) -> str:
    """The fields in any order, with any blank between the tokens."""
    blanks = cycle(draw(st.lists(_BLANKS, min_size=1, max_size=9)))
    groups = [field for field in fields if field.startswith("instance_group")]
    parts: list[str] = []
    for shuffled in draw(st.permutations(fields)):
        # Groups keep their order among themselves: they are one repeated field.
        field = groups.pop(0) if shuffled in groups else shuffled
        braces = draw(st.sampled_from(_BRACES))
        for token in field.split():
            parts += [braces.get(token, token), next(blanks)]
        parts.append(draw(st.sampled_from(["", ",", ";\n"])))
    text = "".join(parts)
    return text.rstrip() if draw(st.booleans()) else text


@st.composite
def _layouts(draw: st.DrawFn) -> _Sample:
    fields = draw(_fields())
    return _Sample(text=draw(_layout(fields)), again=draw(_layout(fields)))


_PARAMS: st.SearchStrategy[Params] = st.fixed_dictionaries(
    {},
    optional={
        "max_batch_size": st.integers(0, 64),
        "dynamic_batching": st.booleans(),
        "max_queue_delay_microseconds": st.sampled_from([0, 100, 5000, 2**64 - 1]),
        "instance_count": st.integers(1, 6),
    },
)


def _proto(text: str) -> Any:  # noqa: ANN401 - tritonclient ships no types
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def _apply(proto: Any, params: Params, kind: str) -> None:  # noqa: ANN401 - as above
    """What `with_params` promises, said in protobuf's own terms."""
    batching = params.get("dynamic_batching", proto.HasField("dynamic_batching"))
    if not batching:
        proto.ClearField("dynamic_batching")
    elif not proto.HasField("dynamic_batching"):
        proto.dynamic_batching.SetInParent()
    size = params.get("max_batch_size", proto.max_batch_size)
    if size != proto.max_batch_size:
        proto.max_batch_size = size
        if batching:
            fits = [s for s in proto.dynamic_batching.preferred_batch_size if s <= int(size)]
            proto.dynamic_batching.preferred_batch_size[:] = fits
        for sample in proto.model_warmup:
            sample.batch_size = min(sample.batch_size, int(size))
    if batching and "max_queue_delay_microseconds" in params:
        delay = params["max_queue_delay_microseconds"]
        proto.dynamic_batching.max_queue_delay_microseconds = delay
    count = params.get("instance_count", 1)
    if count != 1 and not proto.instance_group:
        proto.instance_group.add(count=count, kind=kind)
    elif "instance_count" in params:
        for group in proto.instance_group:
            group.count = count if (group.count or 1) != count else group.count


def _plain(proto: Any) -> bytes:  # noqa: ANN401 - as above
    """The message with the defaults of the knobs taken out."""
    for group in proto.instance_group:
        group.count = 0 if group.count == 1 else group.count
    if len(proto.instance_group) == 1 and not proto.instance_group[0].ByteSize():
        proto.ClearField("instance_group")
    serialized: bytes = proto.SerializeToString(deterministic=True)
    return serialized


@settings(deadline=None)
@given(_layouts(), _PARAMS)
def test_an_edited_text_means_the_original_with_these_fields_set(
    sample: _Sample, params: Params
) -> None:
    expected = _proto(sample.text)
    _apply(expected, params, "KIND_CPU")
    edited = _edit(sample.text, params, "KIND_CPU")
    assert _proto(edited) == expected
    assert _edit(edited, params, "KIND_CPU") == edited


@settings(deadline=None)
@given(_layouts(), _PARAMS)
def test_what_is_read_is_what_protobuf_reads(sample: _Sample, params: Params) -> None:
    text = _edit(sample.text, params, "KIND_CPU")
    config, proto = _config(text), _proto(text)
    batcher = proto.dynamic_batching
    assert config.max_batch_size == proto.max_batch_size
    assert config.dynamic_batching == proto.HasField("dynamic_batching")
    assert config.max_queue_delay_microseconds == batcher.max_queue_delay_microseconds
    assert [(g.count, g.gpus) for g in config.instance_groups] == [
        (g.count or 1, tuple(g.gpus)) for g in proto.instance_group
    ]
    assert config.parameters == {k: v.string_value for k, v in proto.parameters.items()}
    assert [t.dims for t in config.inputs] == [tuple(t.dims) for t in proto.input]


@settings(deadline=None)
@given(_layouts())
def test_the_default_knobs_give_the_same_text_byte_for_byte(sample: _Sample) -> None:
    config = _config(sample.text)
    assert config.with_params(config.default_params(), kind="KIND_CPU").text == sample.text


@settings(deadline=None)
@given(_layouts(), _PARAMS)
def test_every_comment_outlives_an_edit_that_removes_nothing(
    sample: _Sample, params: Params
) -> None:
    large = {**params, "max_batch_size": 64, "dynamic_batching": True}
    comments = re.compile(r"#(?: it's a \{\[<|(?=\s|\Z))")
    assert comments.findall(_edit(sample.text, large)) == comments.findall(sample.text)


@settings(deadline=None)
@given(_layouts(), _PARAMS, _PARAMS)
def test_fingerprints_are_equal_exactly_where_the_meanings_are(
    sample: _Sample, one: Params, two: Params
) -> None:
    first, second = _edit(sample.text, one), _edit(sample.again, two)
    same_meaning = _plain(_proto(first)) == _plain(_proto(second))
    assert (_config(first).fingerprint() == _config(second).fingerprint()) == same_meaning


@settings(deadline=None)
@given(_layouts(), st.data())
def test_what_protobuf_parses_parses_here(sample: _Sample, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(sample.text)))
    cut = data.draw(st.integers(0, 4))
    put = data.draw(st.sampled_from(["", " ", "\n", "#", ",", "}", "{", "]", ">", "'", "1", "-"]))
    broken = sample.text[:at] + put + sample.text[at + cut :]
    try:
        _proto(broken)
    except (text_format.ParseError, DeprecationWarning):
        # The warning is Python's, of an escape that does not exist; Triton's parser refuses it.
        return
    Document.parse(broken, path=PATH)


# --- meaning and export ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("max_batch_size: 0", ""),
        ("max_batch_size: 16", "max_batch_size: 0x10 # sixteen"),
        ("dynamic_batching { max_queue_delay_microseconds: 0 }", "dynamic_batching: { }"),
        ("dynamic_batching { preferred_batch_size: [] }", "dynamic_batching <>"),
        ("instance_group [ { count: 1 kind: KIND_AUTO } ]", ""),
        ("instance_group { count: 0 kind: 2 }", "instance_group [ < kind: KIND_CPU > ]"),
        ("instance_group [ {}, {} ]", "instance_group { count: 1 } instance_group { kind: 0 }"),
        ("name: 'a' backend: 'b'", 'backend: "b"; name: "\\141"'),
        (
            "parameters { key: 'a' } parameters { key: 'b' }",
            "parameters [ { key: 'b' }, { key: 'a' } ]",
        ),
        (
            "parameters { value { } key: 'a' } parameters { key: 'b' value { } }",
            "parameters { value { } key: 'b' } parameters { key: 'a' value { } }",
        ),
    ],
)
def test_texts_that_mean_the_same_have_one_fingerprint(one: str, two: str) -> None:
    assert _config(one).fingerprint() == _config(two).fingerprint()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("dynamic_batching { }", ""),
        ("instance_group [ {}, {} ]", "instance_group [ {} ]"),
        ("instance_group [ {}, {} ]", "instance_group [ { count: 2 } ]"),
        (
            "backend: 'onnxruntime' instance_group { kind: KIND_CPU count: 1 }",
            "backend: 'onnxruntime' instance_group { kind: KIND_CPU }",
        ),
        ("a: 'true'", "a: true"),
        ("a: '1'", "a: 1"),
        ("a: [ 1, 2 ]", "a: [ 2, 1 ]"),
        ("a { b: 1 }", "a { c: 1 }"),
        ("optimization { }", ""),
    ],
)
def test_texts_that_mean_different_things_have_different_fingerprints(one: str, two: str) -> None:
    assert _config(one).fingerprint() != _config(two).fingerprint()


def test_a_fingerprint_is_short_and_the_same_in_every_version() -> None:
    """Records of earlier versions are looked up by it."""
    assert _config(FULL).fingerprint() == "a738259f21408639"


def test_provenance_is_a_block_of_comments_on_top() -> None:
    text = _config("max_batch_size: 4\n").with_provenance(["by tune", "", "two\nlines"])
    assert text == "# by tune\n#\n# two\n# lines\nmax_batch_size: 4\n"
    assert _config(text).fingerprint() == _config("max_batch_size: 4").fingerprint()


def test_a_diff_shows_what_changed() -> None:
    config = _config("# a\nmax_batch_size: 4")
    assert config.diff(config) == ""
    assert config.diff(config.with_params({"max_batch_size": 8}, kind=None)) == (
        "--- m/config.pbtxt\n+++ m/config.pbtxt\n@@ -1,2 +1,2 @@\n # a\n"
        "-max_batch_size: 4\n+max_batch_size: 8\n"
    )
