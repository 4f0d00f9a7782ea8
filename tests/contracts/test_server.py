"""What every way to run Triton promises; see tuner/servers/port.py."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from study_processes import kill_processes_of, processes_of

from tuner.errors import ConfigurationRejected, TrialAborted
from tuner.process import new_token
from tuner.servers.port import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tuner.servers.port import Server

pytestmark = pytest.mark.server

START_S = 60.0
HANGING_MODEL = """
import subprocess, sys, time
class TritonPythonModel:
    def initialize(self, args):
        subprocess.Popen([sys.prefix + "/bin/python3", "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
        time.sleep(600)
    def execute(self, requests):
        return []
"""
OWNER = """
import importlib, json, sys, time
from pathlib import Path
module, name, arguments, study, repository = sys.argv[1:]
make = getattr(importlib.import_module(module), name)
server = make(study=Path(study), **json.loads(arguments))
log = Path(study, "owner.log")
with server.serving(repository=Path(repository), model="light", log=log, deadline_s=60) as up:
    print(up.http, up.grpc, up.metrics, flush=True)
    time.sleep(600)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A server adapter, by its name, so that another process can make one too."""

    module: str
    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)

    def make(self, study: Path) -> Server:
        """Make one for a study."""
        made = getattr(import_module(self.module), self.name)(study=study, **self.arguments)
        return cast("Server", made)


LOCAL = pytest.param("local", id="local")
DOCKER = pytest.param("docker", id="docker", marks=pytest.mark.docker)
REMOTE = pytest.param("remote", id="remote")

starts_its_server = pytest.mark.parametrize("adapter", [LOCAL, DOCKER], indirect=True)
"""For what holds of servers that belong to us; one that already runs is not ours to end."""


@pytest.fixture(params=[LOCAL, DOCKER, REMOTE])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    match request.param:
        case "docker":
            request.getfixturevalue("docker_engine")
            return Adapter(module="tuner.servers.docker", name="DockerServer")
        case "remote":
            url = request.getfixturevalue("running_server")
            return Adapter(
                module="tuner.servers.remote", name="RemoteServer", arguments={"url": url}
            )
        case _:
            return Adapter(module="tuner.servers.local", name="LocalServer")


@pytest.fixture
def server(adapter: Adapter, study: Path) -> Server:
    return adapter.make(study)


def infer(endpoint: Endpoint, text: str) -> str:
    body = {
        "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": [text]}]
    }
    url = f"http://{endpoint.http}/v2/models/light/infer"
    with urllib.request.urlopen(url, data=json.dumps(body).encode(), timeout=10) as response:
        answer: str = json.load(response)["outputs"][0]["data"][0]
    return answer


def is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def listening(endpoint: Endpoint) -> list[str]:
    addresses = [endpoint.http, endpoint.grpc, endpoint.metrics]
    return [address for address in addresses if address is not None and is_listening(address)]


def files_of(study: Path) -> list[Path]:
    """Shared memory and temporary folders of a study's servers."""
    ours = "-".join(new_token(study).split("-")[:2])
    folders = (Path("/dev/shm"), Path(tempfile.gettempdir()))  # noqa: S108 - looked at, not written
    return [path for folder in folders for path in folder.glob(f"{ours}-*")]


def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def fail_for_want_of_a_server(endpoint: Endpoint, study: Path) -> None:
    kill_processes_of(study)
    assert eventually(lambda: not listening(endpoint) and not processes_of(study))
    raise TrialAborted("no answers")


def add_hanging_model(repository: Path) -> str:
    config = (repository / "light" / "config.pbtxt").read_text(encoding="utf-8")
    (repository / "hanging" / "1").mkdir(parents=True)
    (repository / "hanging" / "config.pbtxt").write_text(
        config.replace('name: "light"', 'name: "hanging"', 1), encoding="utf-8"
    )
    (repository / "hanging" / "1" / "model.py").write_text(HANGING_MODEL, encoding="utf-8")
    return "hanging"


def make_light_fail(repository: Path, error: str) -> None:
    with (repository / "light" / "config.pbtxt").open("a", encoding="utf-8") as config:
        config.write(
            f'parameters [ {{ key: "fail_load" value: {{ string_value: "{error}" }} }} ]\n'
        )


@contextmanager
def owner_in_another_process(
    adapter: Adapter, *, study: Path, repository: Path
) -> Iterator[tuple[subprocess.Popen[str], Endpoint]]:
    with subprocess.Popen(
        [
            *(sys.executable, "-c", OWNER),
            *(adapter.module, adapter.name, json.dumps(adapter.arguments), study, repository),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        try:
            assert owner.stdout is not None
            http, grpc, metrics = owner.stdout.readline().split()
            yield owner, Endpoint(http=http, grpc=grpc, metrics=metrics, pid=None)
        finally:
            owner.kill()


def test_a_server_that_is_ready_answers_for_its_model(
    server: Server, repository: Path, tmp_path: Path
) -> None:
    with server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    ) as endpoint:
        assert infer(endpoint, "bread") == "bread"
        assert len(listening(endpoint)) == 3


def test_a_server_listens_on_the_loopback_address_only(
    server: Server, repository: Path, tmp_path: Path
) -> None:
    with server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    ) as endpoint:
        # Another address of this host: all of 127.0.0.0/8 is.
        elsewhere = [
            f"127.0.0.2:{address.rpartition(':')[2]}"
            for address in (endpoint.http, endpoint.grpc, endpoint.metrics)
            if address is not None
        ]
        assert not any(map(is_listening, elsewhere))


@starts_its_server
def test_the_log_holds_the_servers_words(server: Server, repository: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with server.serving(repository=repository, model="light", log=log, deadline_s=START_S):
        pass
    assert "successfully loaded 'light'" in log.read_text(encoding="utf-8")


def test_a_repository_is_not_written_to(server: Server, repository: Path, tmp_path: Path) -> None:
    def contents() -> dict[Path, bytes]:
        files = [path for path in repository.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files if "__pycache__" not in path.parts}

    before = contents()
    with server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    ):
        pass
    assert contents() == before


@starts_its_server
def test_after_exit_nothing_of_a_server_is_left(
    server: Server, repository: Path, study: Path, tmp_path: Path
) -> None:
    with server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    ) as endpoint:
        assert processes_of(study)
    assert (processes_of(study), listening(endpoint)) == ([], [])
    assert files_of(study) == []


@starts_its_server
def test_an_exception_in_the_body_leaves_nothing_either_and_gets_through(
    server: Server, repository: Path, study: Path, tmp_path: Path
) -> None:
    serving = server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(KeyboardInterrupt), serving as endpoint:
        raise KeyboardInterrupt
    assert (processes_of(study), listening(endpoint)) == ([], [])


def test_a_model_that_fails_to_load_is_rejected_with_its_own_words(
    server: Server, repository: Path, study: Path, tmp_path: Path
) -> None:
    make_light_fail(repository, "no such weights")
    serving = server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(ConfigurationRejected, match="no such weights") as rejected, serving:
        pass
    assert "model.py" in rejected.value.evidence
    assert processes_of(study) == []


def test_a_configuration_that_triton_cannot_read_is_rejected_with_line_and_column(
    server: Server, repository: Path, tmp_path: Path
) -> None:
    config = repository / "light" / "config.pbtxt"
    config.write_text('name: "light"\nmax_batch_size: many\n', encoding="utf-8")
    serving = server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(ConfigurationRejected, match="2:17"), serving:
        pass


@starts_its_server
def test_a_load_that_hangs_is_rejected_at_its_deadline_with_all_its_processes(
    server: Server, repository: Path, study: Path, tmp_path: Path
) -> None:
    model = add_hanging_model(repository)
    serving = server.serving(
        repository=repository, model=model, log=tmp_path / "log", deadline_s=2
    )
    with pytest.raises(ConfigurationRejected, match="not ready after 2 s") as rejected, serving:
        pass
    assert "loading: hanging" in rejected.value.evidence
    assert processes_of(study) == []


def test_a_failure_under_load_that_the_server_survives_stays_our_failure(
    server: Server, repository: Path, tmp_path: Path
) -> None:
    serving = server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(TrialAborted, match="the disk is full"), serving:
        raise TrialAborted("the disk is full")


@starts_its_server
def test_a_server_that_does_not_survive_its_load_is_rejected(
    server: Server, repository: Path, study: Path, tmp_path: Path
) -> None:
    serving = server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(ConfigurationRejected, match="ended by itself"), serving as endpoint:
        fail_for_want_of_a_server(endpoint, study)


@starts_its_server
def test_two_servers_side_by_side_do_not_collide(
    adapter: Adapter, server: Server, repository: Path, study: Path, tmp_path: Path
) -> None:
    other = adapter.make(study)
    with server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    ) as one:
        with other.serving(
            repository=repository, model="light", log=tmp_path / "log2", deadline_s=START_S
        ) as two:
            assert (infer(one, "bread"), infer(two, "butter")) == ("bread", "butter")
        assert (infer(one, "bread"), listening(two)) == ("bread", [])


@starts_its_server
def test_cleaning_ends_what_a_killed_owner_left(
    adapter: Adapter, server: Server, repository: Path, study: Path
) -> None:
    with owner_in_another_process(adapter, study=study, repository=repository) as (owner, left):
        owner.kill()
        owner.wait()
        assert infer(left, "bread") == "bread"
        assert server.clean() >= 1
    assert (processes_of(study), listening(left)) == ([], [])
    assert files_of(study) == []
    assert server.clean() == 0


@starts_its_server
def test_cleaning_spares_a_living_worker_of_the_same_study(
    adapter: Adapter, server: Server, repository: Path, study: Path
) -> None:
    with owner_in_another_process(adapter, study=study, repository=repository) as (_, served):
        assert server.clean() == 0
        assert infer(served, "bread") == "bread"
    server.clean()


@starts_its_server
def test_cleaning_spares_what_another_study_left(
    adapter: Adapter, server: Server, repository: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with owner_in_another_process(adapter, study=elsewhere, repository=repository) as (_, left):
        pass
    assert server.clean() == 0
    assert infer(left, "bread") == "bread"
    assert adapter.make(elsewhere).clean() >= 1


@starts_its_server
def test_twenty_starts_and_stops_leave_nothing(
    server: Server, repository: Path, study: Path, tmp_path: Path
) -> None:
    for _ in range(20):
        with server.serving(
            repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
        ) as endpoint:
            assert infer(endpoint, "bread") == "bread"
        assert (processes_of(study), listening(endpoint)) == ([], [])
    assert files_of(study) == []


def test_a_server_names_its_kind_and_versions(server: Server) -> None:
    told = server.describe()
    assert told["server"]
    assert told["triton"][0].isdigit()
