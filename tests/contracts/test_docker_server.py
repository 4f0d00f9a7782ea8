from __future__ import annotations

import json
import shutil
import socket
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tuner.errors import MachineError
from tuner.model.config import ModelConfig
from tuner.model.repository import find_model, stage
from tuner.process import new_token
from tuner.servers.container import RUN, STUDY, Wanted
from tuner.servers.docker import DockerServer
from tuner.servers.image import OUR_IMAGE
from tuner.servers.local import free_ports
from tuner.servers.readiness import get

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.servers.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_engine")]

START_S = 60.0
SECRET = "a-token-that-must-not-be-seen"  # noqa: S105 - made up for the test
GIB = 1 << 30


def wanted(study: Path, repository: Path, gpus: str = "none") -> Wanted:
    return Wanted(
        image=OUR_IMAGE,
        token=new_token(study),
        study=study,
        repository=repository,
        models=("light",),
        gpus=gpus,
        ports={"http": 1, "grpc": 2, "metrics": 3},
    )


@contextmanager
def created(engine: Engine, settings: dict[str, Any]) -> Iterator[Any]:
    """A container that is made and not started."""
    container = engine.client.containers.create(**settings)
    try:
        container.reload()
        yield container
    finally:
        container.remove(force=True)


def names(engine: Engine) -> set[str]:
    return {container.name for container in engine.client.containers.list(all=True)}


def infer(address: str, text: str, model: str = "light") -> str:
    body = {
        "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": [text]}]
    }
    url = f"http://{address}/v2/models/{model}/infer"
    with urllib.request.urlopen(url, data=json.dumps(body).encode(), timeout=10) as response:
        answer: str = json.load(response)["outputs"][0]["data"][0]
    return answer


@pytest.mark.parametrize(
    ("gpus", "count", "ids"), [("all", -1, []), ("0,1", 0, ["0", "1"])], ids=["all", "two"]
)
def test_gpus_are_requested_of_the_engine(
    docker_engine: Engine,
    study: Path,
    repository: Path,
    gpus: str,
    count: int,
    ids: list[str],
) -> None:
    settings = wanted(study, repository, gpus).settings(docker_engine)
    with created(docker_engine, settings) as container:
        (request,) = container.attrs["HostConfig"]["DeviceRequests"]
    assert (request["Count"], request["DeviceIDs"] or []) == (count, ids)
    assert request["Capabilities"] == [["gpu"]]


def test_a_container_has_the_tutorials_limits_and_our_labels(
    docker_engine: Engine, study: Path, repository: Path
) -> None:
    container_wanted = wanted(study, repository)
    with created(docker_engine, container_wanted.settings(docker_engine)) as container:
        host, labels = container.attrs["HostConfig"], container.labels
    limits = {limit["Name"]: (limit["Soft"], limit["Hard"]) for limit in host["Ulimits"]}
    assert host["ShmSize"] == GIB
    assert limits == {"memlock": (-1, -1), "stack": (67108864, 67108864)}
    assert (labels[STUDY], labels[RUN]) == (str(study), container_wanted.token)
    assert not host["DeviceRequests"]
    assert not host["Privileged"]


def test_models_are_mounted_read_only_and_the_cache_is_not(
    docker_engine: Engine,
    study: Path,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HOME", str(cache))
    settings = wanted(study, repository).settings(docker_engine)
    with created(docker_engine, settings) as container:
        writable = {m["Destination"]: m["RW"] for m in container.attrs["Mounts"]}
    assert writable == {str(repository): False, str(cache): True}


def test_the_hubs_token_is_in_the_containers_environment_and_nowhere_else(
    docker_engine: Engine,
    study: Path,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PRIVATE_REPO_TOKEN", SECRET)
    server = DockerServer(study=study)
    log = tmp_path / "log"
    with server.serving(
        repository=repository, model="light", log=log, deadline_s=START_S
    ) as endpoint:
        (name,) = [n for n in names(docker_engine) if n.startswith(new_token(study)[:14])]
        container = docker_engine.client.containers.get(name)
        environment = container.attrs["Config"].pop("Env")
        processes = json.dumps(container.top())
        metadata = str(get(endpoint.http, "/v2/models/light/config"))
    assert f"PRIVATE_REPO_TOKEN={SECRET}" in environment
    everything_else = [json.dumps(container.attrs), processes, metadata, str(server.describe())]
    assert not any(SECRET in text for text in everything_else)
    assert not any(SECRET in f.read_text("utf-8") for f in [log, *study.rglob("*")] if f.is_file())


def test_a_staged_model_is_served_through_its_links(
    light_model: Path, study: Path, tmp_path: Path
) -> None:
    folder = find_model(str(light_model), tmp_path)
    config = ModelConfig.read(light_model / "config.pbtxt")
    staged = stage(folder, config, tmp_path / "staged")
    assert (staged / "light" / "1" / "model.py").is_symlink()
    with DockerServer(study=study).serving(
        repository=staged, model="light", log=tmp_path / "log", deadline_s=START_S
    ) as endpoint:
        assert infer(endpoint.http, "bread") == "bread"


def test_the_first_process_of_the_container_is_named(
    study: Path, repository: Path, tmp_path: Path
) -> None:
    with DockerServer(study=study).serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    ) as endpoint:
        assert endpoint.pid is not None
        with open(f"/proc/{endpoint.pid}/cmdline", "rb") as command:  # noqa: PTH123 - the kernel's
            assert b"tritonserver" in command.read()


def test_a_port_that_was_taken_in_between_is_replaced(
    study: Path, repository: Path, tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        choices = [[other.getsockname()[1], *free_ports(2)], free_ports(3)]
        server = DockerServer(study=study, choose_ports=lambda _: choices.pop(0))
        with server.serving(
            repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
        ) as endpoint:
            assert infer(endpoint.http, "bread") == "bread"
    assert choices == []


def test_containers_without_our_label_are_never_removed(
    docker_engine: Engine, study: Path, repository: Path
) -> None:
    settings = wanted(study, repository).settings(docker_engine)
    del settings["labels"]
    with created(docker_engine, settings) as container:
        assert DockerServer(study=study).clean() == 0
        assert container.name in names(docker_engine)


def test_starts_and_stops_leave_no_container_volume_or_port(
    docker_engine: Engine, study: Path, repository: Path, tmp_path: Path
) -> None:
    def held() -> set[str]:
        volumes = {volume.name for volume in docker_engine.client.volumes.list()}
        return names(docker_engine) | volumes

    before = held()
    for _ in range(5):
        with DockerServer(study=study).serving(
            repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
        ) as endpoint:
            address = endpoint.http
            assert len(held() - before) == 1
        assert get(address, "/v2/health/live") is None
    assert held() == before


def test_an_image_that_cannot_be_had_is_a_machine_error(study: Path) -> None:
    server = DockerServer(study=study, image="registry.invalid/no/such:1")
    with pytest.raises(MachineError, match=r"registry.invalid/no/such:1 .* cannot be pulled"):
        server.describe()


def test_an_engine_without_nvidias_runtime_is_a_machine_error(
    docker_engine: Engine, study: Path
) -> None:
    if docker_engine.has_nvidia:
        pytest.skip("This engine has NVIDIA's runtime.")
    with pytest.raises(MachineError, match="NVIDIA Container Toolkit"):
        DockerServer(study=study, gpus="all").describe()


def test_looking_only_neither_builds_nor_pulls(study: Path) -> None:
    server = DockerServer(study=study, image="registry.invalid/no/such:1", provides=False)
    assert "not here yet" in server.describe()["image_id"]


def test_several_models_answer_from_one_container(
    study: Path, repository: Path, tmp_path: Path
) -> None:
    shutil.copytree(repository / "light", repository / "second")
    config = repository / "second" / "config.pbtxt"
    config.write_text(config.read_text("utf-8").replace('"light"', '"second"', 1), "utf-8")
    with DockerServer(study=study).serving_all(
        repository=repository,
        models=("light", "second"),
        log=tmp_path / "log",
        deadline_s=START_S,
    ) as endpoint:
        assert infer(endpoint.http, "bread") == "bread"
        assert infer(endpoint.http, "butter", "second") == "butter"
