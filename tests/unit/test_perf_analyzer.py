"""What goes into perf_analyzer and what comes out of it, without running it."""

from __future__ import annotations

import base64
import json
import struct
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tuner.errors import MachineError, UsageError
from tuner.load.arrivals import due_ns, intervals_us
from tuner.load.binary import find_binary
from tuner.load.export import read_export
from tuner.load.inputs import TEXTS, Input, check_input_data, input_data, write_input_data
from tuner.load.run_files import RunFiles, Written
from tuner.load.runner import Here
from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload

if TYPE_CHECKING:
    from pathlib import Path


def request(sent: int, *done: int, text: str = "hello") -> bytes:
    inputs = json.dumps({"timestamp": 7, "text_input": text})
    responses = ",".join(map(str, done))
    return (
        f'{{"timestamp":{sent},"request_inputs":{inputs.replace(": ", ":")},'
        f'"response_timestamps":[{responses}],"response_outputs":[]}}'
    ).encode()


def export(*requests: bytes) -> bytes:
    return b'{"experiments":[{"requests":[' + b",".join(requests) + b"]}]}"


def test_an_export_is_read_in_the_order_of_sending(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(export(request(20, 35), request(10, 30)))
    trace = read_export(tmp_path / "e")
    assert trace.sent_ns.tolist() == [10, 20]
    assert trace.done_ns.tolist() == [30, 35]
    assert not trace.failed.any()


def test_a_streamed_answer_is_done_with_its_last_response(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(export(request(10, 15, 20, 25)))
    assert read_export(tmp_path / "e").done_ns.tolist() == [25]


def test_a_request_without_a_response_failed(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(export(request(10, 20), request(11)))
    trace = read_export(tmp_path / "e")
    assert trace.failed.tolist() == [False, True]
    assert trace.done_ns.tolist() == [20, 11]


@pytest.mark.parametrize(
    "text", ['{"timestamp":1', '"response_timestamps":[2]', '"},{"timestamp":5,"request_inputs":{']
)
def test_no_text_of_a_request_is_taken_for_a_timestamp(tmp_path: Path, text: str) -> None:
    (tmp_path / "e").write_bytes(export(request(10, 20, text=text)))
    trace = read_export(tmp_path / "e")
    assert (trace.sent_ns.tolist(), trace.done_ns.tolist()) == ([10], [20])


def test_an_export_need_not_be_unicode(tmp_path: Path) -> None:
    # Several rows in a request are exported with their raw length prefixes.
    (tmp_path / "e").write_bytes(export(request(10, 20)).replace(b"hello", b"\xff\xfe\x00"))
    assert read_export(tmp_path / "e").sent_ns.tolist() == [10]


@pytest.mark.parametrize("content", [b"", b'{"experiments":[]}', b'[{"timestamp":1,"x":2}]'])
def test_what_is_not_an_export_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "e").write_bytes(content)
    with pytest.raises(ValueError, match="send times"):
        read_export(tmp_path / "e")


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles.next_free(tmp_path, Workload(load=ClosedLoop(concurrency=4)))


def holds_within(written: Written, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not written():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_run_has_written_all_when_its_export_is_whole_and_grows_no_more(files: RunFiles) -> None:
    files.report.write_text("figures", encoding="utf-8")
    files.export.write_bytes(export(request(10, 20))[:-1] + b',"service_kind":"triton"}')
    assert not Written(files)()
    assert holds_within(Written(files), 10.0)


@pytest.mark.parametrize("end", [b"", b',"service_kind":"tri', b',"something":"new"}'])
def test_a_run_whose_export_has_another_end_is_waited_for(files: RunFiles, end: bytes) -> None:
    files.report.write_text("figures", encoding="utf-8")
    files.export.write_bytes(export(request(10, 20))[:-1] + end)
    assert not holds_within(Written(files), 0.6)


def test_a_run_without_its_report_is_waited_for(files: RunFiles) -> None:
    files.export.write_bytes(export(request(10, 20))[:-1] + b',"service_kind":"triton"}')
    assert not holds_within(Written(files), 0.6)


def test_a_constant_rate_does_not_drift() -> None:
    gaps = intervals_us(OpenLoop(rate_per_s=3000, poisson=False), requests=3000, seed=1)
    assert gaps.sum() == 1_000_000
    assert set(gaps.tolist()) == {333, 334}


def test_poisson_arrivals_have_the_rate_and_its_spread() -> None:
    gaps = intervals_us(OpenLoop(rate_per_s=200), requests=20_000, seed=1)
    assert gaps.mean() == pytest.approx(5000, rel=0.03)
    assert gaps.std() == pytest.approx(5000, rel=0.03)


def test_the_same_seed_gives_the_same_arrivals() -> None:
    load = OpenLoop(rate_per_s=200)
    first, again, other = (intervals_us(load, requests=50, seed=seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_latency_in_an_open_loop_counts_from_when_a_request_was_due() -> None:
    gaps_us = np.array([5, 10, 10, 10], dtype=np.int64)
    # The third left 20 µs late, and the fourth was held up behind it.
    sent_ns = np.array([100_000, 110_000, 140_000, 141_000], dtype=np.int64)
    assert due_ns(sent_ns, gaps_us).tolist() == [100_000, 110_000, 120_000, 130_000]


def test_string_inputs_get_different_texts() -> None:
    rows = input_data([Input(name="text", data_type="TYPE_STRING", dims=(1,))])["data"]
    assert [row["text"]["content"] for row in rows] == [[text] for text in TEXTS]


def test_open_dimensions_are_sent_as_one() -> None:
    rows = input_data([Input(name="x", data_type="TYPE_INT64", dims=(-1, 3))])["data"]
    assert rows[0]["x"]["shape"] == [1, 3]
    assert struct.unpack("<3q", base64.b64decode(rows[0]["x"]["b64"])) == (1, 1, 1)


@pytest.mark.parametrize(
    ("data_type", "size"),
    [("TYPE_BOOL", 1), ("TYPE_FP16", 2), ("TYPE_BF16", 2), ("TYPE_FP32", 4), ("TYPE_UINT64", 8)],
)
def test_every_numeric_type_has_its_size(data_type: str, size: int) -> None:
    rows = input_data([Input(name="x", data_type=data_type, dims=(5,))])["data"]
    assert len(base64.b64decode(rows[0]["x"]["b64"])) == 5 * size


def test_a_type_without_values_asks_for_a_file() -> None:
    with pytest.raises(UsageError, match="--input-data"):
        input_data([Input(name="x", data_type="TYPE_INVALID", dims=(1,))])


def test_what_is_written_passes_the_check_of_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "inputs.json"
    write_input_data([Input(name="text", data_type="TYPE_STRING", dims=(1,))], path)
    check_input_data(path)


@pytest.mark.parametrize("content", [b"hello", b"[]", b'{"data": []}', b"\xff"])
def test_a_users_file_that_is_no_input_data_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "inputs.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"inputs\.json"):
        check_input_data(path)


def test_a_program_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--perf-analyzer"):
        find_binary(tmp_path / "nowhere", cache=tmp_path, here=Here(study=tmp_path))


def test_a_chosen_program_that_is_no_perf_analyzer_is_named_with_its_last_words(
    tmp_path: Path,
) -> None:
    program = tmp_path / "imposter"
    program.write_text("#!/bin/sh\necho not me >&2; exit 1\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(MachineError, match=r"imposter.*not me"):
        find_binary(program, cache=tmp_path / "cache", here=Here(study=tmp_path))
