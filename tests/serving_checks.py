"""What the models' serving code has to do, as checks that run on any copy of it.

A copy with a mistake planted in it must fail one of them: see unit/test_planted_mistakes.py.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

PROMPTS = (
    "I am going",
    "Where is the nearest",
    "a",
    "",
    "Grüße aus Köln, 東京",
    "How can you be sure of the best deal on your car",
)
GENERATION = {
    "task": "text-generation",
    "huggingface_model": "none",
    "weights": "dummy",
    "torch_dtype": "float32",
    "attn_implementation": "sdpa",
    "max_output_length": "8",
    "threads": "1",
}
EMBEDDING = GENERATION | {"task": "embedding", "max_input_length": "24"}
ENCODER = {
    "model_type": "bert",
    "vocab_size": 258,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
# Positions that are learned show a shift which rotary ones, being relative, do not.
LEARNED_POSITIONS = {
    "model_type": "opt",
    "vocab_size": 258,
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "init_std": 0.3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: its texts, one per row, and its parameters."""

    rows: tuple[str | bytes, ...]
    parameters: dict[str, object] | None = None


def one(text: str | bytes, **parameters: object) -> Request:
    """Make a request of one row."""
    return Request(rows=(text,), parameters=parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCode:
    """One loaded copy of the serving code, with an engine of each task.

    Attributes:
        batching: its module of that name.
        generator: of falcon_tiny, in float32 on the CPU, like the others.
        positioned: of a small network with learned positions.
        embedder: of a small encoder with random weights.
    """

    batching: Any
    generator: Any
    positioned: Any
    embedder: Any

    def texts(self, *requests: Request) -> list[Any]:
        """Run requests as one batch; of each the tuple of its answers, or its error."""
        return self.run(requests, self.generator)

    def vectors(self, *requests: Request) -> list[Any]:
        """Embed requests as one batch; of each the tuple of its vectors, or its error."""
        return self.run(requests, self.embedder)

    def run(self, requests: Sequence[Request], engine: object) -> list[Any]:
        """Run requests as one batch of an engine."""
        asks = [
            self.batching.Ask(
                rows=tuple(row.encode() if isinstance(row, str) else row for row in request.rows),
                parameters=json.dumps(request.parameters) if request.parameters else "",
            )
            for request in requests
        ]
        results = self.batching.answer(asks, engine)
        return [getattr(result, "answers", result) for result in results]


@contextmanager
def loaded(version_folder: Path, scratch: Path) -> Iterator[ServingCode]:
    """Import a version folder's code, as the package it is to Triton, and load both engines.

    Args:
        version_folder: a model's ``1/``, with an ``architecture.json`` of a text generator.
        scratch: an empty folder.
    """
    name = f"version_folder_{uuid4().hex}"
    package = ModuleType(name)
    package.__path__ = [str(version_folder)]
    sys.modules[name] = package
    try:
        settings, loading, batching = (
            import_module(f"{name}.{module}") for module in ("settings", "loading", "batching")
        )

        def engine(parameters: Mapping[str, str], folder: Path) -> Any:  # noqa: ANN401 - loaded by path
            return loading.load_engine(settings.read_settings(arguments(parameters)), folder)

        yield ServingCode(
            batching=batching,
            generator=engine(GENERATION, version_folder),
            positioned=engine(GENERATION, _folder(scratch / "opt", LEARNED_POSITIONS)),
            embedder=engine(EMBEDDING, _folder(scratch / "bert", ENCODER)),
        )
    finally:
        for module in [key for key in sys.modules if key.split(".")[0] == name]:
            del sys.modules[module]


def _folder(folder: Path, architecture: Mapping[str, object]) -> Path:
    folder.mkdir()
    (folder / "architecture.json").write_text(json.dumps(architecture), encoding="utf-8")
    return folder


def arguments(
    parameters: Mapping[str, str], *, kind: str = "CPU", instances: int = 1
) -> dict[str, str]:
    """Make what Triton passes to ``initialize``."""
    config = {
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
        "instance_group": [{"kind": f"KIND_{kind}", "count": instances}],
    }
    return {
        "model_config": json.dumps(config),
        "model_instance_kind": kind,
        "model_instance_device_id": "1",
    }


def a_prompt_is_answered_as_transformers_alone_would(code: ServingCode) -> None:
    network = code.generator._network  # noqa: SLF001 - the reference needs the same weights
    for prompt in PROMPTS:
        ids = torch.tensor([[257, *prompt.encode()]])
        for _ in range(8):
            logits = network(input_ids=ids, use_cache=False).logits
            ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        new = ids[0, -8:].tolist()
        shown = "".join(chr(token) if 0x20 <= token < 0x7F else f"<{token}>" for token in new)
        assert code.texts(one(prompt)) == [(prompt + shown,)]


def a_prompts_answer_does_not_depend_on_its_batch_mates(code: ServingCode) -> None:
    alone = [code.texts(one(prompt))[0] for prompt in PROMPTS]
    assert code.texts(*(one(prompt) for prompt in PROMPTS)) == alone
    assert len({answer[len(text) :] for (answer,), text in zip(alone, PROMPTS, strict=True)}) == 6


def learned_positions_do_not_count_padding(code: ServingCode) -> None:
    requests = [one(prompt) for prompt in PROMPTS]
    alone = [code.run([request], code.positioned)[0] for request in requests]
    assert code.run(requests, code.positioned) == alone


def every_request_gets_its_own_rows_in_order(code: ServingCode) -> None:
    single = [code.texts(one(prompt))[0][0] for prompt in PROMPTS]
    together = code.texts(
        Request(rows=PROMPTS[:2]), Request(rows=PROMPTS[2:3]), Request(rows=PROMPTS[3:])
    )
    assert together == [tuple(single[:2]), tuple(single[2:3]), tuple(single[3:])]


def asking_again_gives_the_same_answers(code: ServingCode) -> None:
    batch = [one(prompt) for prompt in PROMPTS]
    first = code.texts(*batch)
    code.texts(one("something else", max_tokens=3))
    assert code.texts(*batch) == first


def parameters_hold_for_their_own_request_only(code: ServingCode) -> None:
    usual, short, long = (
        code.generator.prepare("x", parameters, 0)
        for parameters in ({}, {"max_tokens": 2}, {"max_tokens": "11"})
    )
    assert (usual.max_tokens, short.max_tokens, long.max_tokens) == (8, 2, 11)
    alone = [
        code.texts(one("same", max_tokens=2))[0],
        code.texts(one("same"))[0],
        code.texts(one("same", max_tokens=11))[0],
    ]
    assert len({len(answer) for (answer,) in alone}) == 3
    mixed = code.texts(one("same", max_tokens=2), one("same"), one("same", max_tokens=11))
    assert mixed == alone


def a_seeded_sample_is_the_same_whatever_is_beside_it(code: ServingCode) -> None:
    asked = Request(rows=("dice", "dice"), parameters={"temperature": 2.0, "seed": 5})
    alone = code.texts(asked)[0]
    beside = code.texts(one("a longer text, also by chance", temperature=1.5, seed=9), asked)[1]
    assert beside == alone
    assert alone[0] != alone[1]
    assert code.texts(one("dice", temperature=2.0, seed=6)) != [alone[:1]]
    assert code.texts(one("dice", temperature=0, seed=6)) == code.texts(one("dice"))


def a_bad_request_fails_alone_and_says_why(code: ServingCode) -> None:
    good = code.texts(one("good"), one("fine"))
    bad = {
        "not UTF-8": one(b"\xff\xfe"),
        "unknown request parameter 'top_p'": one("x", top_p=0.5),
        "'max_tokens' is 0": one("x", max_tokens=0),
        "'max_tokens' is True": one("x", max_tokens=True),
        "'temperature' is 'hot'": one("x", temperature="hot"),
        "'seed' is -1": one("x", seed=-1),
        "more than the model's 2048": one("x", max_tokens=2047),
        "row 1, is not UTF-8": Request(rows=("fine", b"\x80")),
    }
    for words, request in bad.items():
        before, error, after = code.texts(one("good"), request, one("fine"))
        assert [before, after] == good
        assert isinstance(error, code.batching.BadRequest)
        assert words in str(error)
    assert all(isinstance(each, code.batching.BadRequest) for each in code.texts(*bad.values()))


def triton_own_parameters_are_no_mistake_of_the_request(code: ServingCode) -> None:
    sent = one("good", triton_enable_empty_final_response=True)
    assert code.texts(sent) == code.texts(one("good"))


def a_stop_token_ends_its_own_row_only(code: ServingCode) -> None:
    usual = [code.generator.prepare(prompt, {}, 0) for prompt in PROMPTS[:2]]
    tokenizer = Stopping(code.generator._tokenizer)  # noqa: SLF001 - as above
    free = Recorder(code, tokenizer).new_tokens(usual)
    stop = next(token for token in free[0] if token not in free[1])
    tokenizer.stop_ids = frozenset({stop})
    expected = [row[: row.index(stop)] if stop in row else row for row in free]
    assert Recorder(code, tokenizer).new_tokens(usual) == expected
    assert len(expected[0]) < 8


def an_embedding_is_the_mean_over_tokens_of_length_one(code: ServingCode) -> None:
    for prompt in PROMPTS:
        ids = [257, *prompt.encode()][:24]
        hidden = code.embedder._network(input_ids=torch.tensor([ids])).last_hidden_state  # noqa: SLF001 - as above
        mean = hidden[0].mean(0).detach().numpy()
        expected = mean / np.linalg.norm(mean)
        np.testing.assert_allclose(code.vectors(one(prompt))[0][0], expected, atol=1e-5)


def an_embedding_does_not_depend_on_its_batch_mates(code: ServingCode) -> None:
    alone = np.array([code.vectors(one(prompt))[0][0] for prompt in PROMPTS])
    together = code.vectors(
        Request(rows=PROMPTS[:4]), one("x", top_p=1), Request(rows=PROMPTS[4:])
    )
    np.testing.assert_allclose([*together[0], *together[2]], alone, atol=1e-5)
    assert isinstance(together[1], code.batching.BadRequest)
    gaps = np.linalg.norm(alone[:, None] - alone[None], axis=-1)
    assert gaps[~np.eye(len(PROMPTS), dtype=bool)].min() > 1e-3


class Stopping:
    """A tokenizer that can be given stop tokens."""

    stop_ids: frozenset[int] = frozenset()

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - loaded by path
        self.pad_id: int = inner.pad_id
        self.continued: list[list[int]] = []

    def continuation(self, _prompt: Sequence[int], new: Sequence[int]) -> str:
        """Keep the new tokens, which the text alone would not tell from one another."""
        self.continued.append(list(new))
        return ""


class Recorder:
    """falcon_tiny's network under another tokenizer."""

    def __init__(self, code: ServingCode, tokenizer: Stopping) -> None:
        self._tokenizer = tokenizer
        self._generator = type(code.generator)(
            network=code.generator._network,  # noqa: SLF001 - the same weights
            tokenizer=tokenizer,
            context=None,
            max_output_length=8,
            device="cpu",
        )

    def new_tokens(self, prompts: Sequence[object]) -> list[list[int]]:
        """Return each prompt's new tokens."""
        self._tokenizer.continued.clear()
        self._generator.run(prompts)
        return [*self._tokenizer.continued]


CHECKS: tuple[Callable[[ServingCode], None], ...] = (
    a_prompt_is_answered_as_transformers_alone_would,
    a_prompts_answer_does_not_depend_on_its_batch_mates,
    learned_positions_do_not_count_padding,
    every_request_gets_its_own_rows_in_order,
    asking_again_gives_the_same_answers,
    parameters_hold_for_their_own_request_only,
    a_seeded_sample_is_the_same_whatever_is_beside_it,
    a_bad_request_fails_alone_and_says_why,
    triton_own_parameters_are_no_mistake_of_the_request,
    a_stop_token_ends_its_own_row_only,
    an_embedding_is_the_mean_over_tokens_of_length_one,
    an_embedding_does_not_depend_on_its_batch_mates,
)
