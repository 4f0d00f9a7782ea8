"""The models of model_repository/, each on a real server: many requests at once, real answers."""

from __future__ import annotations

import json
import shutil
import struct
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tuner.servers.local import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.servers.port import Endpoint

pytestmark = pytest.mark.server

REPOSITORY = Path(__file__).parents[2] / "model_repository"
PROMPTS = ("I am going", "Where is the nearest", "a", "", "Grüße, 東京", "How can you be sure")
# A batch starts when it is full, or after this long: requests sent together are run together.
TOGETHER = "\ndynamic_batching { max_queue_delay_microseconds: 300000 }\n"


@contextmanager
def serving(model: str, folder: Path) -> Iterator[Endpoint]:
    """Serve a copy of one model that collects requests into batches."""
    copy = folder / "repository" / model
    shutil.copytree(REPOSITORY / model, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "config.pbtxt").open("a", encoding="utf-8") as config:
        config.write(TOGETHER)
    study = folder / "study"
    study.mkdir()
    with LocalServer(study=study).serving(
        repository=copy.parent, model=model, log=folder / "server.log", deadline_s=120
    ) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def falcon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with serving("falcon_tiny", tmp_path_factory.mktemp("falcon")) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with serving("minilm", tmp_path_factory.mktemp("minilm")) as endpoint:
        yield endpoint


def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(url, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def infer(
    endpoint: Endpoint,
    texts: Sequence[str | bytes],
    *,
    model: str = "falcon_tiny",
    parameters: dict[str, object] | None = None,
) -> tuple[int, Any]:
    """Send one request; texts go as raw bytes, so that they need not be UTF-8."""
    raw = [text.encode() if isinstance(text, str) else text for text in texts]
    data = b"".join(struct.pack("<I", len(text)) + text for text in raw)
    tensor = {
        "name": "text_input",
        "datatype": "BYTES",
        "shape": [len(raw), 1],
        "parameters": {"binary_data_size": len(data)},
    }
    header = json.dumps({"inputs": [tensor], "parameters": parameters or {}}).encode()
    status, answer = post(
        f"http://{endpoint.http}/v2/models/{model}/infer",
        header + data,
        {"Inference-Header-Content-Length": str(len(header))},
    )
    return status, answer["outputs"][0]["data"] if status == 200 else answer["error"]


def generate(endpoint: Endpoint, **fields: object) -> tuple[int, Any]:
    status, answer = post(
        f"http://{endpoint.http}/v2/models/falcon_tiny/generate", json.dumps(fields).encode()
    )
    return status, answer["text_output"] if status == 200 else answer["error"]


def at_once(
    endpoint: Endpoint, requests: Sequence[Sequence[str | bytes]], *, model: str = "falcon_tiny"
) -> list[tuple[int, Any]]:
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda texts: infer(endpoint, texts, model=model), requests))


def largest_batch(endpoint: Endpoint, model: str = "falcon_tiny") -> int:
    url = f"http://{endpoint.http}/v2/models/{model}/stats"
    with urllib.request.urlopen(url, timeout=10) as response:
        stats = json.load(response)["model_stats"][0]
    return max(int(batch["batch_size"]) for batch in stats["batch_stats"])


def test_prompts_sent_together_are_answered_as_one_by_one(falcon: Endpoint) -> None:
    alone = [infer(falcon, [prompt]) for prompt in PROMPTS]
    assert all(status == 200 for status, _ in alone)
    assert all(
        texts[0].startswith(prompt) for (_, texts), prompt in zip(alone, PROMPTS, strict=True)
    )
    assert at_once(falcon, [[prompt] for prompt in PROMPTS]) == alone
    assert largest_batch(falcon) > 1


def test_requests_of_several_rows_get_their_own_texts_back(falcon: Endpoint) -> None:
    single = {prompt: infer(falcon, [prompt])[1][0] for prompt in PROMPTS}
    requests = [PROMPTS[:3], PROMPTS[3:4], PROMPTS[4:], PROMPTS[1::-1]]
    answers = at_once(falcon, requests)
    assert answers == [(200, [single[prompt] for prompt in request]) for request in requests]


def test_a_bad_request_fails_alone_with_its_reason(falcon: Endpoint) -> None:
    good = infer(falcon, ["good"])
    first, (status, error), last = at_once(falcon, [["good"], [b"\xff"], ["good"]])
    assert [first, last] == [good, good]
    assert (status, "not UTF-8" in error) == (400, True)


def test_both_endpoints_take_parameters_of_one_request(falcon: Endpoint) -> None:
    whole = generate(falcon, text_input="I am going")
    assert whole == (200, infer(falcon, ["I am going"])[1][0])
    status, short = generate(falcon, text_input="I am going", max_tokens=2)
    assert (status, whole[1].startswith(short), short != whole[1]) == (200, True, True)
    assert infer(falcon, ["I am going"], parameters={"max_tokens": 2}) == (200, [short])
    assert generate(falcon, text_input="I am going", parameters={"max_tokens": 2}) == (200, short)
    sampled = generate(falcon, text_input="I am going", temperature=3.5, seed=1)
    assert sampled == generate(falcon, text_input="I am going", temperature=3.5, seed=1)
    assert sampled != whole
    status, error = generate(falcon, text_input="I am going", top_p=0.5)
    assert (status, "unknown request parameter 'top_p'" in error) == (400, True)


def test_the_embedding_model_knows_what_sentences_mean(minilm: Endpoint) -> None:
    """With the real weights, out of their package: near for one meaning, far for two."""
    sentences = ("A man is eating food.", "Someone has a meal.", "The stock market fell today.")
    status, flat = infer(minilm, sentences, model="minilm")
    assert status == 200
    vectors = np.array(flat).reshape(3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.5
    assert vectors[0] @ vectors[2] < 0.2
    for (code, one), vector in zip(
        at_once(minilm, [[sentence] for sentence in sentences], model="minilm"),
        vectors,
        strict=True,
    ):
        assert code == 200
        np.testing.assert_allclose(one, vector, atol=1e-5)
    assert largest_batch(minilm, "minilm") > 1
