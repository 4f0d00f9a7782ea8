from __future__ import annotations

import json
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tuner.errors import ConfigurationRejected, TrialAborted, UsageError
from tuner.load.answers import HttpAsker
from tuner.load.inputs import TEXTS, Input, write_input_data
from tuner.load.rows import read_rows
from tuner.measure.answers import Numbers, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuner.measure.answers import Answer

HEADER = "Inference-Header-Content-Length"
Reply = tuple[int, bytes, dict[str, str]]


def echo(header: dict[str, Any], body: bytes) -> Reply:
    """Answer with the inputs as outputs, as an identity model does."""
    answer = json.dumps({"outputs": header["inputs"]}).encode()
    return 200, answer + body, {HEADER: str(len(answer))}


@contextmanager
def server(reply: Callable[[dict[str, Any], bytes], Reply]) -> Iterator[tuple[str, list[Any]]]:
    """A server of the inference protocol, and the headers of the requests that it got."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            size = int(self.headers[HEADER])
            header = json.loads(raw[:size])
            asked.append(header)
            status, content, headers = reply(header, raw[size:])
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{http.server_port}", asked
        finally:
            http.shutdown()
            thread.join()


def asker(folder: Path, *inputs: Input, batching: bool = True) -> HttpAsker:
    write_input_data(inputs, folder / "inputs.json")
    rows = read_rows(folder / "inputs.json", inputs, most=len(TEXTS))
    return HttpAsker(rows=rows, batching=batching, deadline_s=10)


def echoed(asked: HttpAsker, numbers: list[int]) -> tuple[Answer, ...]:
    with server(echo) as (http, _):
        return asked.ask(http=http, model="echo", numbers=numbers)


TEXT = Input(name="text_input", data_type="TYPE_STRING", dims=(1,))


def test_texts_come_back_as_they_were_sent_in_the_order_that_was_asked(tmp_path: Path) -> None:
    answers = echoed(asker(tmp_path, TEXT), [5, 0, 3])
    assert [a[0].values for a in answers] == [(TEXTS[5],), (TEXTS[0],), (TEXTS[3],)]
    assert isinstance(answers[0][0], Text)
    assert answers[0][0].shape == (1, 1)


@pytest.mark.parametrize("kind", ["FP16", "FP32", "FP64", "BF16"])
def test_floats_of_every_width_are_read_as_the_numbers_they_are(kind: str, tmp_path: Path) -> None:
    (answer,) = echoed(asker(tmp_path, Input(name="x", data_type=f"TYPE_{kind}", dims=(3,))), [1])
    assert isinstance(answer[0], Numbers)
    assert not answer[0].exact
    assert answer[0].values.tolist() == [0.25, 0.375, 0.5]


@pytest.mark.parametrize("kind", ["BOOL", "UINT8", "INT8", "UINT16", "INT32", "INT64", "UINT64"])
def test_whole_numbers_and_booleans_are_exact(kind: str, tmp_path: Path) -> None:
    (answer,) = echoed(asker(tmp_path, Input(name="n", data_type=f"TYPE_{kind}", dims=(2,))), [0])
    assert isinstance(answer[0], Numbers)
    assert answer[0].exact
    assert answer[0].values.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("batching", "shape"), [(True, [1, 4]), (False, [4])])
def test_a_batch_dimension_is_sent_to_models_that_have_one(
    batching: bool,  # noqa: FBT001 - a parameter of the test
    shape: list[int],
    tmp_path: Path,
) -> None:
    asked = asker(tmp_path, Input(name="x", data_type="TYPE_FP32", dims=(4,)), batching=batching)
    with server(echo) as (http, headers):
        asked.ask(http=http, model="echo", numbers=[0])
    assert headers[0]["inputs"][0]["shape"] == shape


def test_requests_that_are_asked_at_once_are_under_way_together(tmp_path: Path) -> None:
    all_here = threading.Barrier(4)

    def wait_for_all(header: dict[str, Any], body: bytes) -> Reply:
        all_here.wait(10)
        return echo(header, body)

    with server(wait_for_all) as (http, _):
        asker(tmp_path, TEXT).ask(http=http, model="echo", numbers=[0, 1, 2, 3])


def test_an_error_of_the_model_is_the_configurations_fault(tmp_path: Path) -> None:
    refusal = (400, b'{"error":"no such row."}', {"Content-Type": "application/json"})
    with server(lambda _header, _body: refusal) as (http, _):
        asked = asker(tmp_path, TEXT)
        with pytest.raises(ConfigurationRejected, match=r"no such row\. .*--input-data"):
            asked.ask(http=http, model="echo", numbers=[0])


def test_an_answer_that_cannot_be_read_is_not(tmp_path: Path) -> None:
    with server(lambda _header, _body: (200, b"<html>", {})) as (http, _):
        asked = asker(tmp_path, TEXT)
        with pytest.raises(TrialAborted, match="cannot be read"):
            asked.ask(http=http, model="echo", numbers=[0, 1])


def rows_of(path: Path, *rows: object) -> Path:
    path.write_text(json.dumps({"data": rows}))
    return path


def test_rows_of_the_users_own_are_read_in_every_form_of_perf_analyzer(tmp_path: Path) -> None:
    tokens = Input(name="tokens", data_type="TYPE_INT32", dims=(-1,))
    path = rows_of(
        tmp_path / "own.json",
        {"tokens": [7, 8, 9], "text_input": ["one"]},
        {"tokens": {"content": [7, 8], "shape": [2]}, "text_input": {"content": ["two"]}},
        [{"tokens": {"b64": "BwAAAA==", "shape": [1]}, "text_input": ["three"]}],
        {"tokens": [1], "text_input": ["beyond what was asked for"]},
    )
    rows = read_rows(path, [tokens, TEXT], most=3)
    assert [row.texts for row in rows] == [("one",), ("two",), ("three",)]
    assert [row.tensors[0].shape for row in rows] == [(3,), (2,), (1,)]
    assert [np.frombuffer(row.tensors[0].data, "<i4").tolist() for row in rows] == [
        [7, 8, 9],
        [7, 8],
        [7],
    ]
    assert rows[0].tensors[1].data == struct.pack("<I", 3) + b"one"


@pytest.mark.parametrize("row", [{"texts": ["a"]}, {"tokens": ["a"]}, 7])
def test_a_row_that_does_not_fit_the_model_is_named_by_its_file(
    row: object, tmp_path: Path
) -> None:
    tokens = Input(name="tokens", data_type="TYPE_INT32", dims=(1,))
    with pytest.raises(UsageError, match=r"own\.json does not fit the model's inputs"):
        read_rows(rows_of(tmp_path / "own.json", row), [tokens], most=3)
