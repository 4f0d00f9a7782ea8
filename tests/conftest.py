"""What tests of several folders want: the test models, and servers to run them on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tuner.servers.local import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = Path(__file__).parent / "models"


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
