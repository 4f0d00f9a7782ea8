"""The models' serving code: batching, per-request parameters, bad requests, settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from serving_checks import CHECKS, EMBEDDING, GENERATION, ServingCode, arguments, loaded

from tuner.load.inputs import TEXTS
from tuner.model.serving.batching import Ask, answer, pad
from tuner.model.serving.loading import LoadFailed, load_engine
from tuner.model.serving.settings import BadConfig, read_settings
from tuner.model.serving.tokens import ByteTokenizer, WordTokenizer, stand_in
from tuner.model.serving_code import copy_serving_code, differing, version_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REPOSITORY = Path(__file__).parents[2] / "model_repository"
ARCHITECTURES = sorted(REPOSITORY.glob("*/1/architecture.json"))
SMALLER = {
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "initializer_range": 0.3,
    "init_std": 0.3,
}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingCode]:
    with loaded(REPOSITORY / "falcon_tiny" / "1", tmp_path_factory.mktemp("encoder")) as ours:
        yield ours


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_serving_code_is_right(
    code: ServingCode, check: Callable[[ServingCode], None]
) -> None:
    check(code)


@pytest.mark.parametrize("path", ARCHITECTURES, ids=lambda path: path.parts[-3])
def test_every_architecture_answers_a_prompt_as_if_it_were_alone(
    path: Path, tmp_path: Path
) -> None:
    numbers = json.loads(path.read_text(encoding="utf-8"))
    small = numbers | {key: value for key, value in SMALLER.items() if key in numbers}
    small["vocab_size"] = min(small["vocab_size"], 1500)
    (tmp_path / "architecture.json").write_text(json.dumps(small), encoding="utf-8")
    embeds = small["model_type"] == "bert"
    settings = read_settings(arguments(EMBEDDING if embeds else GENERATION))
    engine: Any = load_engine(settings, tmp_path)
    prompts = ("I am going", "a", "Where is the nearest")
    rows = [engine.prepare(text, {}, 0) for text in prompts]
    together = engine.run(rows)
    alone = [engine.run([row])[0] for row in rows]
    if embeds:
        for one, other in zip(together, alone, strict=True):
            assert one == pytest.approx(other, abs=1e-5)
    else:
        assert together == alone


def test_the_repository_has_the_six_models_and_no_copy_of_the_code_differs() -> None:
    """If this fails: python -m tuner.model.serving_code model_repository."""
    models = [folder.parent.name for folder in version_folders(REPOSITORY)]
    assert models == ["falcon7b", "falcon_tiny", "llama7b", "minilm", "opt125m", "persimmon8b"]
    assert differing(REPOSITORY) == []


def test_a_changed_a_missing_and_a_strange_file_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    shutil.copy(REPOSITORY / "falcon_tiny" / "config.pbtxt", tmp_path / "m")
    version = tmp_path / "m" / "1"
    copy_serving_code(version)
    assert differing(tmp_path) == []
    (version / "tokens.py").write_text("", encoding="utf-8")
    (version / "model.py").unlink()
    (version / "mine.py").touch()
    names = [path.name for path in differing(tmp_path)]
    assert names == ["mine.py", "model.py", "tokens.py"]


class Echo:
    """An engine that answers each text with itself, and loses as many rows as it is told."""

    def __init__(self, loses: int = 0) -> None:
        self.loses = loses
        self.batches: list[int] = []

    def prepare(self, text: str, parameters: Mapping[str, object], row: int) -> str:
        """Show all that was handed over."""
        return f"{row}:{text}:{sorted(parameters)}"

    def run(self, rows: Sequence[str]) -> Sequence[str]:
        """Note the size of the batch."""
        self.batches.append(len(rows))
        return rows[self.loses :]


def test_all_rows_of_all_requests_go_through_the_model_at_once() -> None:
    engine = Echo()
    answer([Ask(rows=(b"a", b"b"), parameters=""), Ask(rows=(b"c",), parameters="{}")], engine)
    assert engine.batches == [3]


def test_a_model_that_loses_a_row_is_an_error_and_no_answer_to_the_wrong_request() -> None:
    with pytest.raises(RuntimeError, match="2 rows went into the model, 1 came out"):
        answer([Ask(rows=(b"a",), parameters=""), Ask(rows=(b"b",), parameters="")], Echo(loses=1))


def test_padding_fills_the_left_for_generation_and_the_right_for_embedding() -> None:
    rows = [[5, 6, 7], [8]]
    assert pad(rows, pad_id=0, left=True) == ([[5, 6, 7], [0, 0, 8]], [[1, 1, 1], [0, 0, 1]])
    assert pad(rows, pad_id=0, left=False) == ([[5, 6, 7], [8, 0, 0]], [[1, 1, 1], [1, 0, 0]])


def test_bytes_are_tokens_and_no_text_is_empty() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.encode("") == [257]
    assert tokenizer.encode("é") == [257, 0xC3, 0xA9]
    assert tokenizer.continuation([257], [0x41, 0x0A, 257, 65000]) == "A<10><257><65000>"


GPT_2_TOKENS = {
    "The first rule of a good measurement is": 8,
    "Hello": 1,
    "In the middle of the night the lighthouse keeper heard a sound, and he knew what it was:": 20,
    "Seven times eight is": 4,
    "A recipe for bread needs flour, water, salt and": 11,
    "Once upon a time, in a small town between two rivers, there lived a clockmaker who": 19,
    "Why is the sky blue?": 6,
}
"""Counted with its published vocabulary."""


def test_random_weights_get_about_as_many_tokens_as_real_ones() -> None:
    assert set(GPT_2_TOKENS) < set(TEXTS)
    tokenizer = stand_in(65024)
    counts = {text: len(tokenizer.encode(text)) - 1 for text in GPT_2_TOKENS}
    for text, count in GPT_2_TOKENS.items():
        assert abs(counts[text] - count) <= 1, text
    assert sum(counts.values()) == pytest.approx(sum(GPT_2_TOKENS.values()), rel=0.05)


@pytest.mark.parametrize(
    "text", ["", "a", "__init__(self, x2)", "Grüße, 東京", "12\n\n \t3²", "é"]
)
def test_no_part_of_a_text_is_lost_on_the_way_to_its_tokens(text: str) -> None:
    tokenizer = WordTokenizer(1000)
    ids = tokenizer.encode(text)
    assert ids[0] == tokenizer.begin_id
    assert all(1 < one < 1000 for one in ids[1:])
    for place in range(len(text)):
        changed = text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :]
        assert tokenizer.encode(changed) != ids


def test_new_words_are_shown_by_their_numbers() -> None:
    assert WordTokenizer(1000).continuation([1, 2], [7, 65]) == "<7><65>"


def test_a_vocabulary_of_bytes_gets_bytes() -> None:
    assert isinstance(stand_in(258), ByteTokenizer)


@pytest.mark.parametrize(("kind", "device"), [("GPU", "cuda:1"), ("CPU", "cpu")])
def test_triton_decides_the_device(kind: str, device: str) -> None:
    assert read_settings(arguments(GENERATION, kind=kind)).device == device


def test_instances_on_the_cpu_share_its_cores() -> None:
    without = {name: value for name, value in GENERATION.items() if name != "threads"}
    assert read_settings(arguments(without, instances=1000)).threads == 1
    alone = read_settings(arguments(without)).threads
    assert read_settings(arguments(without, kind="GPU", instances=9)).threads == alone


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("weights", "random", "'weights' is 'random'; it can be pretrained, dummy"),
        ("task", "", "lacks the parameter 'task'"),
        ("torch_dtype", "int8", "it can be float32, float16, bfloat16"),
        ("max_output_length", "0", "a whole number of at least 1"),
        ("seed", "-1", "a whole number of at least 0"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_named(name: str, value: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        read_settings(arguments(GENERATION | {name: value}))


def test_a_device_that_the_model_would_have_to_choose_is_refused() -> None:
    with pytest.raises(BadConfig, match="KIND_MODEL leaves the device to the model"):
        read_settings(arguments(GENERATION, kind="MODEL"))


def test_missing_weights_name_the_way_to_do_without(tmp_path: Path) -> None:
    """A folder that is not there stands for a hub that has nothing: no network is asked."""
    asked = GENERATION | {"weights": "pretrained", "huggingface_model": str(tmp_path / "none")}
    with pytest.raises(LoadFailed, match="--weights dummy") as failed:
        load_engine(read_settings(arguments(asked)), tmp_path)
    assert "PRIVATE_REPO_TOKEN" in str(failed.value)
