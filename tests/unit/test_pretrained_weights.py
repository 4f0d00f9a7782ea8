"""Weights and a tokenizer from files, as the hub holds them: made here, small."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import torch
from serving_checks import GENERATION, arguments
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tuner.model.serving.loading import load_engine
from tuner.model.serving.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path

transformers: Any = import_module("transformers")  # half of it is typed, which is worse than none

PROMPTS = ("to be or", "not", "a b c d e f", "")
MARKS = {"bos_token": "<s>", "eos_token": "</s>"}
LETTERS = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as from_pretrained reads it: letters are tokens, 26 begins and 27 ends a text."""
    folder = tmp_path_factory.mktemp("hub") / "model"
    vocabulary = LETTERS | {"Ġ": 28, "<s>": 26, "</s>": 27}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **MARKS).save_pretrained(
        folder
    )
    config = transformers.LlamaConfig(
        vocab_size=29,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.5,
        bos_token_id=26,
        eos_token_id=27,
        max_position_embeddings=64,
    )
    torch.manual_seed(3)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def engine_of(folder: Path, **parameters: str) -> Any:  # noqa: ANN401 - one of two engines
    asked = GENERATION | {"weights": "pretrained", "max_output_length": "24"} | parameters
    return load_engine(read_settings(arguments(asked)), folder)


def test_a_pretrained_model_answers_as_transformers_does_up_to_its_stop_token(
    hub_folder: Path,
) -> None:
    engine = engine_of(hub_folder, huggingface_model=str(hub_folder))
    network = transformers.LlamaForCausalLM.from_pretrained(hub_folder)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(hub_folder)
    expected, stopped = [], 0
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt)["input_ids"] or [26]])
        whole = network.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            pad_token_id=27,
        )[0]
        stopped += int(27 in whole)
        expected.append(prompt + tokenizer.decode(whole[len(ids[0]) :], skip_special_tokens=True))
    assert engine.run([engine.prepare(prompt, {}, 0) for prompt in PROMPTS]) == expected
    assert 0 < stopped < len(PROMPTS)


def test_weights_are_read_out_of_a_package_where_it_is_installed(
    hub_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_weights_for_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model").symlink_to(hub_folder)
    monkeypatch.syspath_prepend(tmp_path)
    packaged = engine_of(hub_folder, weights_package=package.name)
    direct = engine_of(
        hub_folder, weights_package="not_installed_anywhere", huggingface_model=str(hub_folder)
    )
    answers = [each.run([each.prepare("to be", {}, 0)]) for each in (packaged, direct)]
    assert answers[0] == answers[1]
