"""A whole `tune` on servers other than the embedded one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tuner.servers.readiness import get
from tuner.servers.remote import parse_url

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.servers.engine import Engine

pytestmark = pytest.mark.server

QUICKLY = ("--trials", "2", "--proof-rounds", "0", "--window", "0.5", "--max-concurrency", "4")


def tune(folder: Path, model: Path, *options: str) -> dict[str, Any]:
    """Run `tune MODEL` in a folder and return its JSON."""
    argv = [sys.executable, "-m", "tuner.cli", str(model), *QUICKLY, *options, "--json"]
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def logs(folder: Path) -> list[str]:
    return [log.read_text("utf-8") for log in folder.glob("studies/light/trials/*/server.log")]


@pytest.mark.docker
def test_a_study_runs_in_containers_and_leaves_none(
    docker_engine: Engine, light_model: Path, tmp_path: Path
) -> None:
    before = {one.name for one in docker_engine.client.containers.list(all=True)}
    told = tune(tmp_path, light_model, "--server", "docker", "--gpus", "none")
    assert '"docker"' in json.dumps(told)
    assert len(logs(tmp_path)) == 2
    assert all("successfully loaded 'light'" in log for log in logs(tmp_path))
    assert {one.name for one in docker_engine.client.containers.list(all=True)} == before


def test_a_study_on_a_running_server_gives_the_model_back(
    running_server: str, light_model: Path, tmp_path: Path
) -> None:
    def served() -> Any:  # noqa: ANN401 - JSON
        return json.loads(get(parse_url(running_server).http, "/v2/models/light/config") or "")

    before = served()
    tune(tmp_path, light_model, "--server", "remote", "--url", running_server)
    assert len(logs(tmp_path)) == 2
    assert served() == before
