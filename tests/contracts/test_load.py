"""What every load generator promises; see tuner/load/port.py."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from study_processes import processes_of

from tuner.errors import ConfigurationRejected, TrialAborted
from tuner.load.inputs import Input, write_input_data
from tuner.load.perf_analyzer import PerfAnalyzer
from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload
from tuner.servers.sdk_container import SdkContainer
from tuner.telemetry.host import HostSampler
from tuner.telemetry.triton_stats import difference, read_stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner.load.port import LoadGenerator
    from tuner.measure.trace import Trace
    from tuner.servers.local import LocalServer
    from tuner.servers.port import Endpoint

pytestmark = pytest.mark.server

START_S = 60.0
FOUR = Workload(load=ClosedLoop(concurrency=4))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    inputs = tmp_path / "inputs.json"
    write_input_data([Input(name="text_input", data_type="TYPE_STRING", dims=(1,))], inputs)
    return inputs


@pytest.fixture(params=["here", pytest.param("sdk", marks=pytest.mark.docker)])
def generator(
    request: pytest.FixtureRequest, study: Path, tmp_path: Path, inputs: Path
) -> PerfAnalyzer:
    """perf_analyzer on this machine, and in a container where no program of it runs here."""
    cache = tmp_path / "cache"
    if request.param == "here":
        return PerfAnalyzer(study=study, cache=cache, input_data=inputs)
    image: str = request.getfixturevalue("sdk_image")
    sdk = SdkContainer(study=study, image=image, reads=(inputs,), provides=False, say=print)
    generator = PerfAnalyzer(study=study, cache=cache, input_data=inputs, elsewhere=sdk)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "libz.so.1").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", str(broken))
        assert generator.binary.origin == sdk.name
    return generator


@pytest.fixture
def folder(study: Path) -> Path:
    folder = study / "trial"
    folder.mkdir()
    return folder


@pytest.fixture
def endpoint(
    local_server: Callable[[], LocalServer], repository: Path, tmp_path: Path
) -> Iterator[Endpoint]:
    with local_server().serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    ) as endpoint:
        yield endpoint


def add_parameter(repository: Path, key: str, value: str) -> None:
    with (repository / "light" / "config.pbtxt").open("a", encoding="utf-8") as config:
        config.write(f'parameters [ {{ key: "{key}" value: {{ string_value: "{value}" }} }} ]\n')


def perf_analyzers_of(study: Path) -> list[int]:
    """Living perf_analyzer processes of a study."""
    found = []
    for pid in processes_of(study):
        with suppress(OSError):  # it ended meanwhile
            if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").startswith("perf"):
                found.append(pid)
    return found


def run(
    generator: LoadGenerator,
    endpoint: Endpoint,
    folder: Path,
    *,
    workload: Workload = FOUR,
    duration_s: float = 0.6,
) -> Trace:
    trace = generator.run(
        grpc=endpoint.grpc,
        model="light",
        workload=workload,
        duration_s=duration_s,
        folder=folder,
    )
    assert not trace.failed.any()
    assert (np.diff(trace.sent_ns) >= 0).all()
    return trace


def seconds(trace: Trace) -> float:
    return float(trace.done_ns.max() - trace.sent_ns.min()) / 1e9


def test_a_run_that_counts_answers_lasts_until_they_came_and_no_longer(
    generator: PerfAnalyzer,
    local_server: Callable[[], LocalServer],
    repository: Path,
    folder: Path,
) -> None:
    """A request takes longer than the run would; what is on its way at the end is not awaited."""
    add_parameter(repository, "base_ms", "1500")
    with local_server().serving(
        repository=repository, model="light", log=folder / "log", deadline_s=START_S
    ) as endpoint:
        begun_s = time.monotonic()
        trace = generator.run(
            grpc=endpoint.grpc,
            model="light",
            workload=FOUR,
            duration_s=0.1,
            folder=folder,
            requests=6,
        )
        took_s = time.monotonic() - begun_s
    assert len(trace.sent_ns) >= 6
    assert took_s < seconds(trace) + 3.0
    assert len(list(folder.glob("perf_*.log"))) == 1


def test_a_closed_loop_keeps_its_requests_in_flight(
    generator: PerfAnalyzer, endpoint: Endpoint, folder: Path
) -> None:
    trace = run(generator, endpoint, folder, duration_s=2)
    assert trace.latency_ms.min() >= 11  # what the model takes for one row
    rate = len(trace.sent_ns) / seconds(trace)
    assert rate * trace.latency_ms.mean() / 1000 == pytest.approx(4, rel=0.1)


def test_a_run_lasts_as_long_as_it_was_asked_to(
    generator: PerfAnalyzer, endpoint: Endpoint, folder: Path
) -> None:
    assert seconds(run(generator, endpoint, folder, duration_s=1.5)) == pytest.approx(1.5, abs=0.3)


def test_a_run_in_which_nothing_would_be_answered_lasts_longer(
    generator: PerfAnalyzer, endpoint: Endpoint, folder: Path
) -> None:
    trace = run(generator, endpoint, folder, duration_s=0.004)
    assert len(trace.sent_ns) >= 1


def test_rows_of_a_request_are_one_request(
    generator: PerfAnalyzer, endpoint: Endpoint, folder: Path
) -> None:
    before = read_stats(endpoint.http, "light")
    workload = Workload(load=ClosedLoop(concurrency=1), request_batch=4)
    trace = run(generator, endpoint, folder, workload=workload)
    assert trace.latency_ms.min() >= 14
    use = difference(before, read_stats(endpoint.http, "light"))
    assert use is not None
    assert [batch.size for batch in use.batches] == [4]
    # One may have been on its way at the end, and another be told as done a moment later.
    assert use.answered - len(trace.sent_ns) in {0, 1, 2}


def test_the_wait_in_an_overloaded_open_loop_grows_with_every_request(
    generator: PerfAnalyzer, endpoint: Endpoint, folder: Path
) -> None:
    # The light model answers at most 91 per s; half of each second's requests are left over.
    workload = Workload(load=OpenLoop(rate_per_s=180, poisson=False))
    latency_ms = run(generator, endpoint, folder, workload=workload, duration_s=1.2).latency_ms
    assert latency_ms[-10:].mean() > latency_ms[:50].mean() > latency_ms[:10].mean()
    assert latency_ms[-1] > 400


def test_an_open_loop_sends_at_its_rate(
    generator: PerfAnalyzer, endpoint: Endpoint, folder: Path
) -> None:
    workload = Workload(load=OpenLoop(rate_per_s=50, poisson=False))
    trace = run(generator, endpoint, folder, workload=workload, duration_s=1.2)
    assert np.diff(trace.sent_ns).tolist() == [20_000_000] * (len(trace.sent_ns) - 1)
    assert len(trace.sent_ns) == pytest.approx(60, abs=4)


def test_the_evidence_of_every_run_of_a_level_is_kept_and_the_export_is_not(
    generator: PerfAnalyzer, endpoint: Endpoint, folder: Path
) -> None:
    for _ in range(2):
        trace = run(generator, endpoint, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "perf_c4.csv",
        "perf_c4.log",
        "perf_c4_2.csv",
        "perf_c4_2.log",
        "requests_c4.parquet",
        "requests_c4_2.parquet",
    ]
    kept = pd.read_parquet(folder / "requests_c4_2.parquet")
    assert list(kept.columns) == ["sent_ns", "left_ns", "done_ns", "failed"]
    assert kept["sent_ns"].tolist() == trace.sent_ns.tolist()
    assert kept["done_ns"].tolist() == trace.done_ns.tolist()


def test_a_request_that_the_server_fails_rejects_the_configuration(
    local_server: Callable[[], LocalServer],
    repository: Path,
    generator: PerfAnalyzer,
    folder: Path,
    tmp_path: Path,
) -> None:
    add_parameter(repository, "fail_every", "10")
    serving = local_server().serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    rejected = pytest.raises(ConfigurationRejected, match="planted: request 10 fails")
    with serving as endpoint, rejected:
        run(generator, endpoint, folder)


def test_a_run_that_outlasts_its_deadline_is_ended(
    generator: PerfAnalyzer, endpoint: Endpoint, folder: Path, study: Path
) -> None:
    with pytest.raises(TrialAborted, match="not done after 1 s"):
        generator.run(
            grpc=endpoint.grpc,
            model="light",
            workload=FOUR,
            duration_s=60,
            folder=folder,
            deadline_s=1,
        )
    assert perf_analyzers_of(study) == []
    assert [path.name for path in folder.iterdir()] == ["perf_c4.log"]


def test_a_server_that_is_not_there_is_our_failure(generator: PerfAnalyzer, folder: Path) -> None:
    with pytest.raises(TrialAborted, match=r"perf_c4\.log"):
        generator.run(
            grpc="127.0.0.1:1", model="light", workload=FOUR, duration_s=1, folder=folder
        )


def test_what_the_servers_processes_take_is_seen_while_load_runs(
    generator: PerfAnalyzer, endpoint: Endpoint, folder: Path
) -> None:
    assert endpoint.pid is not None
    with HostSampler(pid=endpoint.pid).sampling() as reader:
        run(generator, endpoint, folder)
    use = reader.use()
    assert use is not None
    assert use.cpu_pct > 0
    assert use.memory_peak_bytes > 10_000_000


def test_a_load_generator_names_its_version(generator: PerfAnalyzer) -> None:
    assert generator.describe()["perf_analyzer"][0].isdigit()
