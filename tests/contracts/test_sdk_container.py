"""A container of the SDK image is a place where programs run, as this machine is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tuner.errors import MachineError
from tuner.load.perf_analyzer import PerfAnalyzer
from tuner.parts import Parts
from tuner.servers.container import STUDY
from tuner.servers.image import OUR_IMAGE, sdk_image
from tuner.servers.local import LocalServer
from tuner.servers.sdk_container import SdkContainer
from tuner.telemetry.machine import MachineTelemetry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.servers.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_engine")]

MISSING = "registry.invalid/no/such:1"
DEADLINE_S = 30.0
SLEEPER = """
import sys
from pathlib import Path
from tuner.servers.sdk_container import SdkContainer

study = Path(sys.argv[1])
sdk = SdkContainer(study=study, image=sys.argv[2], reads=(), provides=False, say=print)
sdk.run(["sleep", "600"], env={}, cwd=study, log=study / "log", deadline_s=600)
"""


def sdk_of(study: Path, image: str, *, provides: bool = False) -> SdkContainer:
    return SdkContainer(study=study, image=image, reads=(), provides=provides, say=print)


def containers(engine: Engine, study: Path) -> list[str]:
    label = f"{STUDY}={study.resolve()}"
    found = engine.client.containers.list(all=True, filters={"label": label})
    return [f"{one.name} {one.status}" for one in found]


@pytest.fixture
def broken_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No perf_analyzer of this machine finds its libraries."""
    (tmp_path / "libz.so.1").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))


@pytest.fixture
def sleeper(
    docker_engine: Engine, study: Path, sdk_image: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, with a program in a container that runs."""
    with subprocess.Popen([sys.executable, "-c", SLEEPER, str(study), sdk_image]) as process:
        try:
            deadline = time.monotonic() + DEADLINE_S
            while not any("running" in one for one in containers(docker_engine, study)):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def test_a_program_ends_with_its_exit_code_words_and_files(
    docker_engine: Engine, study: Path, sdk_image: str
) -> None:
    argv = [
        "sh",
        "-c",
        "echo $GREETING; touch made; i=0; while [ $((i+=1)) -lt 500000 ]; do :; done; exit 3",
    ]
    done = sdk_of(study, sdk_image).run(
        argv, env={"GREETING": "hello"}, cwd=study, log=study / "log", deadline_s=DEADLINE_S
    )
    assert (done.returncode, (study / "log").read_text("utf-8")) == (3, "hello\n")
    assert (study / "made").stat().st_uid == os.getuid()
    assert done.cpu_s is not None
    assert 0 < done.cpu_s <= done.wall_s
    assert containers(docker_engine, study) == []


def test_a_program_that_is_late_is_ended(
    docker_engine: Engine, study: Path, sdk_image: str
) -> None:
    with pytest.raises(TimeoutError, match="sleep was not done after 1 s"):
        sdk_of(study, sdk_image).run(
            ["sleep", "60"], env={}, cwd=study, log=study / "log", deadline_s=1
        )
    assert containers(docker_engine, study) == []


def test_ctrl_c_leaves_no_container(
    docker_engine: Engine, study: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    sleeper.send_signal(signal.SIGINT)
    sleeper.wait(DEADLINE_S)
    assert containers(docker_engine, study) == []


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_has_is_not(
    docker_engine: Engine, study: Path, sdk_image: str, sleeper: subprocess.Popen[bytes]
) -> None:
    sdk = sdk_of(study, sdk_image)
    assert sdk.clean() == 0
    sleeper.kill()
    sleeper.wait(DEADLINE_S)
    assert len(containers(docker_engine, study)) == 1
    parts = Parts(
        server=LocalServer(study=study),
        load=PerfAnalyzer(study=study, cache=study),
        telemetry=MachineTelemetry(),
        sdk=sdk,
    )
    assert parts.clean() == 1
    assert containers(docker_engine, study) == []


@pytest.mark.usefixtures("broken_here")
def test_the_image_is_named_where_it_brings_perf_analyzer(study: Path, sdk_image: str) -> None:
    load = PerfAnalyzer(study=study, cache=study, elsewhere=sdk_of(study, sdk_image))
    told = load.describe()["perf_analyzer"]
    assert told[0].isdigit()
    assert told.endswith("(SDK image tuner-test-sdk)")


@pytest.mark.usefixtures("broken_here")
def test_an_image_that_cannot_be_had_is_told_with_what_to_do(study: Path) -> None:
    sdk = sdk_of(study, MISSING, provides=True)
    with pytest.raises(MachineError, match=r"cannot be pulled: .*--sdk-image"):
        PerfAnalyzer(study=study, cache=study, elsewhere=sdk).describe()


@pytest.mark.usefixtures("broken_here")
def test_looking_only_does_not_pull(study: Path) -> None:
    load = PerfAnalyzer(study=study, cache=study, elsewhere=sdk_of(study, MISSING))
    assert f"a run pulls the SDK image {MISSING}" in load.describe()["perf_analyzer"]


@pytest.mark.usefixtures("broken_here")
def test_an_image_without_perf_analyzer_is_told(docker_engine: Engine, study: Path) -> None:
    with pytest.raises(MachineError, match=f"{OUR_IMAGE} has no perf_analyzer"):
        PerfAnalyzer(study=study, cache=study, elsewhere=sdk_of(study, OUR_IMAGE)).describe()
    assert containers(docker_engine, study) == []


def test_the_default_image_is_of_the_release_of_our_dockerfile() -> None:
    assert sdk_image() == "nvcr.io/nvidia/tritonserver:24.10-py3-sdk"
