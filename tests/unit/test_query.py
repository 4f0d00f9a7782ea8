"""`tune query` against servers that answer as Triton does, or not at all."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tuner.errors import MachineError, TunerError, UsageError
from tuner.query import Client, ModelInfo, TensorInfo, as_text, text_input

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = TensorInfo(name="text_input", datatype="BYTES", shape=(-1, 1))
ANSWER = TensorInfo(name="text_output", datatype="BYTES", shape=(-1, 1))
INFO = ModelInfo(inputs=(TEXT,), outputs=(ANSWER,))


@contextmanager
def answering(answers: dict[str, tuple[int, bytes]]) -> Iterator[tuple[Client, list[bytes]]]:
    """A server that has these answers by path, a client of it, and what it was sent."""
    sent: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            sent.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Client(f"127.0.0.1:{server.server_address[1]}"), sent
        finally:
            server.shutdown()
            thread.join()


def test_a_model_is_asked_for_its_tensors_when_it_is_ready() -> None:
    metadata = {
        "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [{"name": "text_output", "datatype": "BYTES", "shape": [-1, 1]}],
    }
    answers = {
        "/v2/models/m/ready": (200, b""),
        "/v2/models/m": (200, json.dumps(metadata).encode()),
    }
    with answering(answers) as (client, _):
        assert client.model("m") == INFO


def test_one_row_goes_to_infer_and_every_output_comes_back() -> None:
    told = {"outputs": [{"name": "a", "data": ["x"]}, {"name": "b", "data": [1, 2]}]}
    with answering({"/v2/models/m/infer": (200, json.dumps(told).encode())}) as (client, sent):
        assert client.infer("m", INFO, "ü", {"max_tokens": 3}) == {"a": ["x"], "b": [1, 2]}
    assert json.loads(sent[0]) == {
        "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": ["ü"]}],
        "parameters": {"max_tokens": 3},
    }


def test_parameters_go_beside_the_text_to_generate_and_outputs_alone_come_back() -> None:
    told = b'{"model_name": "m", "text_output": "hi there"}'
    with answering({"/v2/models/m/generate": (200, told)}) as (client, sent):
        assert client.generate("m", INFO, "hi", {"max_tokens": 3}) == {"text_output": "hi there"}
    assert json.loads(sent[0]) == {"text_input": "hi", "max_tokens": 3}


def test_a_model_that_is_not_served_is_an_error_that_says_how_to_serve_it() -> None:
    answers = {"/v2/models/m/ready": (400, b'{"error": "Model version not ready"}')}
    with (
        answering(answers) as (client, _),
        pytest.raises(UsageError, match=r"does not serve m \(Model version not.*tune serve m"),
    ):
        client.model("m")


@pytest.mark.parametrize(("status", "kind"), [(400, UsageError), (500, TunerError)])
def test_the_servers_own_words_are_passed_on(status: int, kind: type[TunerError]) -> None:
    with (
        answering({"/v2/models/m/infer": (status, b'{"error": "no such thing"}')}) as (client, _),
        pytest.raises(TunerError, match="answered: no such thing") as caught,
    ):
        client.infer("m", INFO, "hi", {})
    assert caught.type is kind


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_a_server_that_is_no_triton_is_told_from_one(body: bytes) -> None:
    answers = {"/v2/models/m/ready": (200, b""), "/v2/models/m": (200, body)}
    with answering(answers) as (client, _), pytest.raises(MachineError, match="no Triton server"):
        client.model("m")


def test_nobody_there_is_a_lack_of_the_machine() -> None:
    with answering({}) as (client, _):
        pass
    with pytest.raises(MachineError, match="No server answers at 127"):
        client.model("m")


@pytest.mark.parametrize("url", ["", "127.0.0.1", "https://a:1", "a:port", ":8000", "grpc://a:1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        Client(url)


@pytest.mark.parametrize(
    "inputs",
    [
        (),
        (TEXT, ANSWER),
        (TensorInfo(name="image", datatype="FP32", shape=(-1, 1)),),
        (TensorInfo(name="two", datatype="BYTES", shape=(-1, 2)),),
    ],
)
def test_a_model_that_takes_something_else_than_one_text_is_not_asked(
    inputs: tuple[TensorInfo, ...],
) -> None:
    with pytest.raises(UsageError, match="does not take one text"):
        text_input("m", ModelInfo(inputs=inputs, outputs=()))


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        ({"text_output": ["hi"]}, "hi"),
        ({"text_output": "hi"}, "hi"),
        ({"text_output": ["hi", "ü"]}, '["hi", "ü"]'),
        ({"embedding": [0.5, 1.0]}, "[0.5, 1.0]"),
        ({"score": [0.5]}, "[0.5]"),
        ({"a": ["x"], "b": [1]}, '{"a": ["x"], "b": [1]}'),
    ],
)
def test_a_text_is_printed_as_it_is_and_anything_else_as_json(
    answer: dict[str, object], printed: str
) -> None:
    assert as_text(answer) == printed
