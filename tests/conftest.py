"""What tests of several folders want: the test models, and servers to run them on."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tuner.errors import MachineError
from tuner.servers.engine import connected
from tuner.servers.image import OUR_IMAGE
from tuner.servers.local import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner.servers.engine import Engine

SDK_IMAGE = "tuner-test-sdk"
MODELS = Path(__file__).parent / "models"


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell's background job ignores Ctrl-C, and so would everything that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def light_model() -> Path:
    """The folder of the model whose compute time is known; not to be written to."""
    return MODELS / "light"


@pytest.fixture
def repository(tmp_path: Path, light_model: Path) -> Path:
    """A model repository with a copy of the light model, which the test may edit."""
    folder = tmp_path / "repository"
    shutil.copytree(light_model, folder / "light", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """An empty study folder."""
    folder = tmp_path / "study"
    folder.mkdir()
    return folder


@pytest.fixture
def local_server(study: Path) -> Callable[[], LocalServer]:
    """Make embedded servers of the test's study."""
    return lambda: LocalServer(study=study)


@pytest.fixture
def running_server(tmp_path: Path, light_model: Path) -> Iterator[str]:
    """The URL of a server that somebody else started, with the light model in its repository."""
    home = tmp_path / "elsewhere-running"
    (home / "study").mkdir(parents=True)
    models = home / "repository"
    shutil.copytree(light_model, models / "light", ignore=shutil.ignore_patterns("__pycache__"))
    with LocalServer(study=home / "study").serving(
        repository=models, model="light", log=home / "server.log", deadline_s=60
    ) as endpoint:
        services = (endpoint.http, endpoint.grpc, endpoint.metrics or "")
        ports = ",".join(address.rpartition(":")[2] for address in services)
        yield f"127.0.0.1:{ports}"


@pytest.fixture
def docker_engine() -> Iterator[Engine]:
    """An engine that has our image; without one the test is skipped, or fails in CI."""
    try:
        with connected() as engine:
            if not engine.client.images.list(name=OUR_IMAGE):
                _not_here(f"The Docker engine has no image {OUR_IMAGE}: see tests/engine.sh.")
            yield engine
    except MachineError as error:
        _not_here(f"{error} Or start one for the tests: tests/engine.sh")


@pytest.fixture
def sdk_image(docker_engine: Engine) -> str:
    """The name of an image that brings a perf_analyzer, as NVIDIA's SDK image does."""
    if not docker_engine.client.images.list(name=SDK_IMAGE):
        _not_here(f"The Docker engine has no image {SDK_IMAGE}: see tests/engine.sh.")
    return SDK_IMAGE


@pytest.fixture(scope="session")
def browser() -> str:
    """A headless browser; without one the test is skipped, or fails in CI."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        _not_here("The tests of the page need Chromium: apt-get install chromium")
    return str(found)


def _not_here(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
