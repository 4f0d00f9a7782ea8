from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tuner.errors import ConfigurationRejected, MachineError, TrialAborted
from tuner.gpus import Chosen, Gpu
from tuner.servers.installation import find
from tuner.servers.interpreter import ask
from tuner.servers.local import LocalServer, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.server

START_S = 60.0


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def ngc_layout(tmp_path: Path) -> Path:
    """A Triton folder as NGC has it: the stub of one Python beside the backend."""
    wheel = find(None)
    folder = tmp_path / "tritonserver"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "tritonserver").symlink_to(wheel.binary)
    wheel.link_into(folder, ask(Path(sys.executable)))
    return folder


def environment_with_numpy(folder: Path, version: str) -> Path:
    """Make an environment that is told to have a NumPy; return its interpreter."""
    minor = ".".join(map(str, sys.version_info[:2]))
    installed = folder / "lib" / f"python{minor}" / "site-packages" / f"numpy-{version}.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: numpy\nVersion: {version}\n", encoding="utf-8"
    )
    (folder / "pyvenv.cfg").write_text(
        f"home = {Path(sys.base_prefix, 'bin')}\n", encoding="utf-8"
    )
    (folder / "bin").mkdir()
    base = Path(sys.base_prefix, "bin", f"python{minor}")
    (folder / "bin" / "python3").symlink_to(base)
    return folder / "bin" / "python3"


def shown_to_models(server: LocalServer, repository: Path, folder: Path) -> str:
    """What CUDA is told in the process of a model; that it is no model ends the start."""
    seen = folder / "seen"
    (repository / "light" / "1" / "model.py").write_text(
        f"import os\nopen({str(seen)!r}, 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])\n",
        encoding="utf-8",
    )
    serving = server.serving(
        repository=repository, model="light", log=folder / "log", deadline_s=START_S
    )
    with pytest.raises(ConfigurationRejected), serving:
        pass
    return seen.read_text(encoding="utf-8")


@pytest.mark.parametrize("service", range(3), ids=["http", "grpc", "metrics"])
def test_a_port_that_was_taken_in_between_is_replaced(
    study: Path, repository: Path, tmp_path: Path, taken_port: int, service: int
) -> None:
    choices = [free_ports(3), free_ports(3)]
    choices[0][service] = taken_port
    server = LocalServer(study=study, choose_ports=lambda _: choices.pop(0))
    with server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    ) as endpoint:
        assert not endpoint.http.endswith(f":{taken_port}")
    assert choices == []


def test_ports_that_are_always_taken_abort_the_trial(
    study: Path, repository: Path, tmp_path: Path, taken_port: int
) -> None:
    server = LocalServer(study=study, choose_ports=lambda _: [taken_port, *free_ports(2)])
    serving = server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(TrialAborted, match="took the server's ports"), serving:
        pass


def test_a_triton_folder_laid_out_like_ngcs_serves(
    study: Path, repository: Path, tmp_path: Path, ngc_layout: Path
) -> None:
    server = LocalServer(study=study, triton_dir=ngc_layout)
    with server.serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    ):
        pass


def test_a_server_that_a_signal_ends_while_it_loads_is_rejected_with_the_signal(
    study: Path, repository: Path, tmp_path: Path
) -> None:
    model = repository / "light" / "1" / "model.py"
    model.write_text(
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n", encoding="utf-8"
    )
    serving = LocalServer(study=study).serving(
        repository=repository, model="light", log=tmp_path / "log", deadline_s=START_S
    )
    with pytest.raises(ConfigurationRejected, match="signal 9"), serving:
        pass


def test_only_the_chosen_gpus_are_shown_to_the_models(
    study: Path, repository: Path, tmp_path: Path
) -> None:
    gpu = Gpu(index=1, uuid="GPU-aaaa", name="H100", memory_total_bytes=None)
    server = LocalServer(study=study, gpus=Chosen(typed="1", gpus=(gpu,), of=2))
    assert shown_to_models(server, repository, tmp_path) == "GPU-aaaa"
    assert server.describe()["gpus"] == "1"


def test_what_cuda_was_told_is_passed_on_as_it_is_and_all_gpus_are_not_worth_telling(
    study: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    gpu = Gpu(index=0, uuid="GPU-aaaa", name="H100", memory_total_bytes=None)
    server = LocalServer(study=study, gpus=Chosen(typed=None, gpus=(gpu,), of=2))
    assert shown_to_models(server, repository, tmp_path) == "0"
    assert "gpus" not in server.describe()
    whole = LocalServer(study=study, gpus=Chosen(typed="all", gpus=(gpu,), of=1))
    assert "gpus" not in whole.describe()


def test_versions_are_those_of_the_server_and_of_what_models_import(study: Path) -> None:
    told = LocalServer(study=study).describe()
    assert told["server_python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"server", "triton", "server_python", "numpy"} <= told.keys()


def test_numpy_2_in_the_servers_environment_is_refused(study: Path, tmp_path: Path) -> None:
    python = environment_with_numpy(tmp_path / "env", "2.1.3")
    with pytest.raises(MachineError, match=r"NumPy 2\.1\.3.*pip install 'numpy<2'"):
        LocalServer(study=study, server_python=python).describe()


def test_a_binary_that_does_not_run_here_is_refused_with_its_words(
    study: Path, ngc_layout: Path
) -> None:
    binary = ngc_layout / "bin" / "tritonserver"
    binary.unlink()
    binary.write_text("#!/bin/sh\necho version GLIBC_9.99 not found\nexit 1\n", encoding="utf-8")
    binary.chmod(0o755)
    with pytest.raises(MachineError, match=r"does not run.*GLIBC_9\.99"):
        LocalServer(study=study, triton_dir=ngc_layout).describe()


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(3)
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
    assert len(set(ports)) == 3
