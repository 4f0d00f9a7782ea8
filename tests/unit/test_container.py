from __future__ import annotations

from pathlib import Path

import pytest

from tuner.errors import MachineError, UsageError
from tuner.servers.container import Wanted, device_requests
from tuner.servers.docker import DockerServer
from tuner.servers.engine import Engine, connected
from tuner.servers.image import DOCKERFILE
from tuner.servers.mounts import linked_from

WITHOUT_HOST_NETWORK = Engine(
    client=None, version="1", has_nvidia=False, is_rootless=True, shares_network=False
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "staged"
    (folder / "m" / "1").mkdir(parents=True)
    return folder


def test_a_repository_without_links_needs_nothing_else(repository: Path) -> None:
    assert linked_from(repository) == ()


def test_what_is_linked_is_mounted_and_nothing_around_it(repository: Path, tmp_path: Path) -> None:
    model = tmp_path / "models" / "m" / "1"
    model.mkdir(parents=True)
    for name in ("model.py", "secret.txt"):
        (model / name).touch()
    (repository / "m" / "1" / "model.py").symlink_to(model / "model.py")
    assert linked_from(repository) == (model / "model.py",)


def test_a_link_inside_a_linked_folder_is_followed(repository: Path, tmp_path: Path) -> None:
    weights, cache = tmp_path / "weights", tmp_path / "hf_cache"
    weights.mkdir()
    cache.mkdir()
    (weights / "blob").touch()
    (cache / "model.bin").symlink_to("../weights/blob")
    (repository / "m" / "hf_cache").symlink_to(cache)
    assert linked_from(repository) == (cache, weights / "blob")


def test_a_link_to_nothing_is_left_to_triton(repository: Path, tmp_path: Path) -> None:
    (repository / "m" / "gone").symlink_to(tmp_path / "gone")
    assert linked_from(repository) == ()


def test_a_link_inside_the_repository_needs_no_mount(repository: Path) -> None:
    (repository / "m" / "2").symlink_to(repository / "m" / "1")
    assert linked_from(repository) == ()


def test_ports_are_published_on_the_loopback_address_only(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    wanted = Wanted(
        image="i",
        token="t",  # noqa: S106 - a name
        study=tmp_path,
        repository=repository,
        models=("m",),
        gpus="none",
        ports={"http": 8000, "grpc": 8001, "metrics": 9002},
    )
    settings = wanted.settings(WITHOUT_HOST_NETWORK)
    assert "network_mode" not in settings
    assert settings["ports"] == {
        "8000/tcp": ("127.0.0.1", 8000),
        "8001/tcp": ("127.0.0.1", 8001),
        "8002/tcp": ("127.0.0.1", 9002),
    }


@pytest.mark.parametrize("gpus", ["", "0,,1", "all,0", "none,1"])
def test_other_words_for_gpus_are_refused(gpus: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--gpus"):
        DockerServer(study=tmp_path, gpus=gpus)


def test_no_gpus_are_asked_for_by_default() -> None:
    assert list(device_requests("none")) == []


def test_an_engine_that_is_not_there_is_a_machine_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(MachineError, match=r"No Docker engine .* systemctl start"), connected():
        pass


def test_an_engine_of_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2376")
    with pytest.raises(MachineError, match="--server remote"), connected():
        pass


def test_the_dockerfile_names_the_versions_that_are_tested() -> None:
    root = Path(__file__).parents[2]
    pinned = {
        line.split(";")[0].strip()
        for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    arguments = dict(
        line.removeprefix("ARG ").split("=", 1)
        for line in DOCKERFILE.read_text(encoding="utf-8").splitlines()
        if line.startswith("ARG ")
    )
    assert {arguments[name] for name in ("TRANSFORMERS", "TORCH", "NUMPY")} <= pinned
    assert (root / "Dockerfile").samefile(DOCKERFILE)
