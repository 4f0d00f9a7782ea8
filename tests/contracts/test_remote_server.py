from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from study_processes import kill_processes_of

from tuner.errors import ConfigurationRejected, MachineError, TrialAborted, UsageError
from tuner.process import inherited_environment, new_token, started
from tuner.servers.installation import find
from tuner.servers.local import free_ports
from tuner.servers.readiness import get, read_metadata
from tuner.servers.remote import RemoteServer, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.servers.port import Endpoint

pytestmark = pytest.mark.server

START_S = 60.0
SERVE_FOR_EVER = """
import sys, time
from pathlib import Path
from tuner.servers.remote import RemoteServer
study, url, repository = sys.argv[1:]
with RemoteServer(study=Path(study), url=url).serving(
    repository=Path(repository), model="light", log=Path(study, "log"), deadline_s=60
):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def server(study: Path, running_server: str) -> RemoteServer:
    return RemoteServer(study=study, url=running_server)


@pytest.fixture
def trial(repository: Path) -> Path:
    """A repository whose model has other knobs than the server's own."""
    config = repository / "light" / "config.pbtxt"
    text = config.read_text(encoding="utf-8").replace("max_batch_size: 8", "max_batch_size: 32")
    config.write_text(f"{text}\ninstance_group [ {{ count: 3 kind: KIND_CPU }} ]\n", "utf-8")
    return repository


@pytest.fixture
def server_of_fixed_models(study: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of a server that does not let models be loaded and unloaded."""
    (tmp_path / "fixed").mkdir()
    ports = free_ports(3)
    listen = [
        option
        for service, port in zip(("http", "grpc", "metrics"), ports, strict=True)
        for option in (f"--{service}-address=127.0.0.1", f"--{service}-port={port}")
    ]
    with started(
        [str(find(None).binary), f"--model-repository={tmp_path / 'fixed'}", *listen],
        token=new_token(study),
        study=study,
        env=inherited_environment(),
        log=tmp_path / "fixed.log",
        cwd=tmp_path,
    ):
        deadline = time.monotonic() + START_S
        while not read_metadata(f"127.0.0.1:{ports[0]}"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield "127.0.0.1:" + ",".join(map(str, ports))


def knobs(url: str) -> tuple[int, int] | None:
    """max_batch_size and instances of the light model as it is served; None where it is not."""
    body = get(parse_url(url).http, "/v2/models/light/config")
    if body is None:
        return None
    config: dict[str, Any] = json.loads(body)
    return config["max_batch_size"], config["instance_group"][0]["count"]


def test_a_trial_changes_all_of_the_configuration_and_gives_it_back(
    server: RemoteServer, trial: Path, running_server: str, tmp_path: Path
) -> None:
    before = knobs(running_server)
    with server.serving(repository=trial, model="light", log=tmp_path / "log", deadline_s=START_S):
        assert knobs(running_server) == (32, 3)
    assert knobs(running_server) == before == (8, 1)


def test_the_configuration_is_given_back_after_an_error_too(
    server: RemoteServer, trial: Path, running_server: str, tmp_path: Path
) -> None:
    serving = server.serving(
        repository=trial, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(KeyboardInterrupt), serving:
        raise KeyboardInterrupt
    assert knobs(running_server) == (8, 1)


def test_a_model_that_does_not_load_leaves_the_servers_own_in_place(
    server: RemoteServer, trial: Path, running_server: str, tmp_path: Path
) -> None:
    with (trial / "light" / "config.pbtxt").open("a", encoding="utf-8") as config:
        config.write('parameters [ { key: "fail_load" value: { string_value: "too big" } } ]\n')
    serving = server.serving(
        repository=trial, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(ConfigurationRejected, match="too big"), serving:
        pass
    assert knobs(running_server) == (8, 1)


def test_what_a_killed_run_left_is_given_back_by_the_next(
    server: RemoteServer, study: Path, trial: Path, running_server: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE_FOR_EVER, study, running_server, trial],
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        assert server.clean() == 0  # its owner lives
        owner.kill()
    assert knobs(running_server) == (32, 3)
    assert server.clean() == 1
    assert knobs(running_server) == (8, 1)
    assert server.clean() == 0


def test_a_model_that_the_server_does_not_have_is_a_machine_error(
    server: RemoteServer, repository: Path, tmp_path: Path
) -> None:
    (repository / "light").rename(repository / "other")
    config = repository / "other" / "config.pbtxt"
    config.write_text(
        config.read_text(encoding="utf-8").replace('"light"', '"other"', 1), encoding="utf-8"
    )
    serving = server.serving(
        repository=repository, model="other", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(MachineError, match="has no model other"), serving:
        pass


def test_a_server_that_dies_under_load_is_the_configurations_fault(
    server: RemoteServer, repository: Path, tmp_path: Path
) -> None:
    serving = server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(ConfigurationRejected, match="ended by itself"), serving as endpoint:
        fail_for_want_of_a_server(endpoint, tmp_path / "elsewhere-running" / "study")


def fail_for_want_of_a_server(endpoint: Endpoint, study: Path) -> None:
    kill_processes_of(study)
    deadline = time.monotonic() + START_S
    while get(endpoint.http, "/v2/health/live") is not None:
        assert time.monotonic() < deadline
    raise TrialAborted("no answers")


def test_a_server_that_does_not_let_models_be_loaded_is_a_machine_error(
    study: Path, server_of_fixed_models: str
) -> None:
    with pytest.raises(MachineError, match="--model-control-mode=explicit"):
        RemoteServer(study=study, url=server_of_fixed_models).describe()


def test_an_address_where_nothing_answers_is_a_machine_error(study: Path) -> None:
    with pytest.raises(MachineError, match="No Triton server answers"):
        RemoteServer(study=study, url=f"127.0.0.1:{free_ports(1)[0]}").describe()


def test_ports_that_are_left_out_follow_the_first() -> None:
    address = parse_url("http://localhost:8000/")
    assert (address.http, address.grpc, address.metrics) == (
        "127.0.0.1:8000",
        "127.0.0.1:8001",
        "127.0.0.1:8002",
    )


@pytest.mark.parametrize("url", ["host", "host:", "https://host:1", "host:1,2,3,4"])
def test_an_address_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--url"):
        parse_url(url)


@pytest.fixture
def slow_to_load(running_server: str, tmp_path: Path, trial: Path) -> str:
    """The URL of a server whose light model takes 4 s to load with the trial's knobs."""
    del trial  # has them
    model = tmp_path / "elsewhere-running" / "repository" / "light" / "1" / "model.py"
    text = model.read_text(encoding="utf-8")
    slow = 'time.sleep(4 if json.loads(args["model_config"])["max_batch_size"] == 32 else 0)\n'
    at = text.index("        entries = json.loads")
    model.write_text(f"{text[:at]}        {slow}{text[at:]}", encoding="utf-8")
    return running_server


def test_a_load_that_is_late_is_rejected_and_its_model_given_back(
    study: Path, trial: Path, slow_to_load: str, tmp_path: Path
) -> None:
    serving = RemoteServer(study=study, url=slow_to_load).serving(
        repository=trial, model="light", log=tmp_path / "log", deadline_s=2
    )
    with pytest.raises(ConfigurationRejected, match="not ready after 2 s"), serving:
        pass
    assert knobs(slow_to_load) == (8, 1)


def test_a_load_that_cannot_be_ended_stops_the_study(
    study: Path, trial: Path, slow_to_load: str, tmp_path: Path
) -> None:
    server = RemoteServer(study=study, url=slow_to_load, restore_s=0.5)
    serving = server.serving(repository=trial, model="light", log=tmp_path / "log", deadline_s=2)
    with pytest.raises(MachineError, match="still loading"), serving:
        pass
