"""Every command of docs/tutorial.md, typed as it stands there, in its order.

The models have the shapes of the real ones in small, with random weights. A study that would take
minutes on a GPU runs on the simulator. What asks for Docker is typed where no engine answers:
containers have their own tests.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from study_processes import kill_processes_of, processes_of

from tuner.model.config import ModelConfig
from tuner.process import new_token

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.server

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, not written to
TEMPORARY = Path(tempfile.gettempdir())
TUNE = Path(sys.executable).with_name("tune")
ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0
SMALLER = {
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 258,
}
ADDRESS = re.compile(r"^http +http://(\S+)$", re.MULTILINE)
COMMAND = re.compile(r"`((?:PRIVATE_REPO_TOKEN=… )?tune [a-z][^`…]+)`")


def commands() -> list[list[str]]:
    """What stands in the middle column of the page's tables, as words."""
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [
        shlex.split(found.removeprefix("PRIVATE_REPO_TOKEN=… "))
        for row in rows
        for found in COMMAND.findall(row[1])
    ]


@dataclass
class User:
    """Somebody at a shell in a folder with a model repository; one server at a time."""

    home: Path
    server: subprocess.Popen[str] | None = None
    address: str = ""
    served: tuple[str, ...] = ()
    typed: list[str] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """Return what a shell of theirs would pass on; no hub, no Docker engine, no browser."""
        return {
            **os.environ,
            "PRIVATE_REPO_TOKEN": "not-a-real-token",
            "HF_HUB_OFFLINE": "1",
            "BROWSER": "true",
            "DOCKER_HOST": f"unix://{self.home}/no-engine",
        }

    def type(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [TUNE, *words],
            cwd=self.home,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def serve(self, *words: str) -> None:
        """Start a server and wait until it says where it is."""
        self.press_ctrl_c()
        said = self.home / "said.txt"
        with said.open("w", encoding="utf-8") as output:
            self.server = subprocess.Popen(
                [TUNE, *words],
                cwd=self.home,
                env=self.environment(),
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        deadline = time.monotonic() + DEADLINE_S
        while (found := ADDRESS.search(said.read_text("utf-8"))) is None:
            assert self.server.poll() is None, said.read_text("utf-8")
            assert time.monotonic() < deadline, said.read_text("utf-8")
            time.sleep(0.05)
        self.address = found[1]
        self.served = words[1:]

    def press_ctrl_c(self) -> None:
        """End the server as a terminal would; nothing of it is left."""
        if self.server is None:
            return
        os.killpg(self.server.pid, signal.SIGINT)
        assert self.server.wait(DEADLINE_S) == 0
        self.server = None
        assert not is_listening(self.address)
        repository = self.home / "model_repository"
        assert processes_of(repository) == []
        mark = new_token(repository).split("-")[1]
        assert [*SHARED_MEMORY.glob(f"tuner-{mark}-*"), *TEMPORARY.glob(f"tuner-{mark}-*")] == []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repository's models, made small."""
    home = tmp_path_factory.mktemp("home")
    repository = home / "model_repository"
    shutil.copytree(
        ROOT / "model_repository", repository, ignore=shutil.ignore_patterns("__pycache__")
    )
    for path in repository.glob("*/config.pbtxt"):
        if path.parent.name not in {"minilm", "falcon_tiny"}:
            path.write_text(
                ModelConfig.read(path).with_parameter("weights", "dummy").text, encoding="utf-8"
            )
            shapes = path.parent / "1" / "architecture.json"
            given = json.loads(shapes.read_text(encoding="utf-8"))
            small = {name: SMALLER.get(name, value) for name, value in given.items()}
            shapes.write_text(json.dumps(small), encoding="utf-8")
    return home


@pytest.fixture
def user(home: Path) -> Iterator[User]:
    user = User(home)
    yield user
    user.press_ctrl_c()


def is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_every_command_of_the_tutorial_does_what_the_page_says(user: User) -> None:
    for tune, *words in commands():
        assert tune == "tune"
        match words:
            case [*_] if "docker" in words:
                refused = user.type(*words)
                assert refused.returncode == 3, refused.stderr
                assert "No Docker engine answers" in refused.stderr
            case ["serve", *_]:
                user.serve(*words)
            case ["query", model, text, *options]:
                if model not in user.served:  # the step before was about another model
                    user.serve("serve", model)
                answer = user.type(*words, "--url", user.address)
                assert answer.returncode == 0, answer.stderr
                if model == "minilm":
                    assert len(json.loads(answer.stdout)) == 384
                else:
                    assert answer.stdout.startswith(text)
                    assert len(answer.stdout) > len(text) + 1
                    assert options in ([], ["--generate"], ["--generate", "--max-tokens", "4"])
            case ["open" | "show" | "export" | "new", *_]:
                ended = user.type(*words)
                assert ended.returncode == 0, ended.stderr
                assert ended.stdout or words[0] == "export"
            case _:
                ended = user.type(*words, "--server=sim")
                assert ended.returncode == 0, ended.stderr
        user.typed.append(words[0])
    assert {"serve", "query", "new", "show", "open", "export", "falcon7b"} == set(user.typed)
    assert ModelConfig.read(user.home / "config.pbtxt").name == "falcon7b"
    assert (user.home / "model_repository" / "opt350m" / "1" / "model.py").is_file()


def test_several_models_are_served_at_once_and_both_endpoints_agree(user: User) -> None:
    user.serve("serve", "falcon_tiny", "minilm")
    text = "I am going"
    asked = ["query", "falcon_tiny", text, "--max-tokens=3", "--url", user.address]
    by_infer, by_generate = user.type(*asked), user.type(*asked, "--generate")
    assert by_infer.stdout == by_generate.stdout
    assert by_infer.stdout.startswith(text)
    vector = json.loads(user.type("query", "minilm", text, "--url", user.address).stdout)
    again = user.type("query", "minilm", text, "--json", "--generate", "--url", user.address)
    assert json.loads(again.stdout)["embedding"] == vector
    assert sum(number * number for number in vector) == pytest.approx(1, abs=1e-4)
    absent = user.type("query", "falcon7b", text, "--url", user.address)
    assert absent.returncode == 2
    assert "does not serve falcon7b" in absent.stderr


def test_a_server_that_ends_by_itself_is_told_with_its_log(user: User) -> None:
    user.serve("serve", "falcon_tiny")
    assert user.server is not None
    server, user.server = user.server, None
    kill_processes_of(user.home / "model_repository")
    assert server.wait(DEADLINE_S) == 1
    said = (user.home / "said.txt").read_text(encoding="utf-8")
    assert "tritonserver ended by itself while it served falcon_tiny" in said


def test_a_model_without_its_weights_is_told_how_to_go_on(user: User) -> None:
    made = user.type("new", "nowhere", "--from", "nobody/nothing")
    assert made.returncode == 0, made.stderr
    assert "--weights dummy" in made.stderr
    served = user.type("serve", "nowhere")
    assert served.returncode == 1
    assert "nowhere did not load" in served.stderr
    assert "--weights dummy" in served.stderr
    refused = user.type("serve", "nowhere", "--weights=dummy")
    assert refused.returncode == 2
    assert "architecture.json is not there" in refused.stderr


def test_the_doctor_tells_of_every_part_and_ends_with_3_where_a_run_would(
    user: User, tmp_path: Path
) -> None:
    healthy = user.type("doctor", "--json")
    assert healthy.returncode == 0, healthy.stderr
    told = json.loads(healthy.stdout)
    parts = {part["name"]: part for part in told["parts"]}
    assert told["works"]
    assert told["server"] == "local"
    assert all(part["found"] for part in parts.values() if part["needed"])
    assert not parts["Docker engine"]["found"]
    assert "Triton 2." in parts["embedded server"]["told"]
    file = tmp_path / "file"
    file.touch()
    ill = user.type(
        "doctor",
        f"--triton-dir={tmp_path}",
        f"--server-python={tmp_path}/python3",
        f"--studies={file}/studies",
    )
    assert ill.returncode == 3
    assert "is no Triton folder" in " ".join(ill.stdout.split())
    assert ill.stdout.count("MISSING") == 3
    assert "would not run here" in ill.stderr
