"""The main job as a user runs it: the real `tune`, a real tritonserver, a real perf_analyzer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from study_processes import processes_of

from tuner.model.config import ModelConfig
from tuner.model.repository import find_model, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner.servers.local import LocalServer

pytestmark = pytest.mark.server

TUNE = Path(sys.executable).with_name("tune")
EXAMPLES = Path(__file__).parents[2] / "model_repository"
QUICK = ["--window=1", "--max-batch-size=16", "--max-concurrency=128", "--max-instances=3"]
DEADLINE_S = 600


class User:
    """Somebody at a shell, in a folder of their own, with a model repository in it."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def argv(self, *words: str) -> list[str]:
        """What they type."""
        return [str(TUNE), *words, "--model-repository", "repository"]

    def tune(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.argv(*words),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Run it and go on; what it says is in ``said.txt``."""
        with (self.home / "said.txt").open("w") as said:
            return subprocess.Popen(
                self.argv(*words), cwd=self.home, stdout=said, stderr=said, text=True
            )

    def wait_until_it_says(self, process: subprocess.Popen[str], words: str) -> None:
        """Wait for words on its terminal."""
        deadline = time.monotonic() + DEADLINE_S
        while words not in (said := (self.home / "said.txt").read_text()):
            assert process.poll() is None, f"it ended early:\n{said}"
            assert time.monotonic() < deadline, f"{words!r} never came:\n{said}"
            time.sleep(0.05)

    def summary(self, study: str) -> dict[str, object]:
        """What `tune show --json` tells."""
        shown = subprocess.run(
            [str(TUNE), "show", study, "--json"],
            cwd=self.home,
            capture_output=True,
            text=True,
            check=True,
        )
        summary: dict[str, object] = json.loads(shown.stdout)
        return summary

    def edit_config(self, before: str, after: str) -> None:
        """Edit the light model's config.pbtxt."""
        path = self.home / "repository" / "light" / "config.pbtxt"
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))


@pytest.fixture
def user(tmp_path: Path, repository: Path) -> Iterator[User]:
    """A user who leaves nothing running."""
    assert repository.parent == tmp_path
    yield User(tmp_path)
    assert processes_of(tmp_path / "studies") == [], "a process of the study is still there"


def test_twelve_trials_find_the_best_of_the_model_whose_speed_is_known(user: User) -> None:
    """10 ms + 1 ms a row, up to 16 rows and three instances: 16 rows on three is the best."""
    ended = user.tune("light", "--trials=12", "--proof-rounds=3", *QUICK)
    assert ended.returncode == 0, ended.stderr
    rows = user.summary("light")["summary"]
    assert isinstance(rows, list)
    best = rows[0]
    assert (best["max_batch_size"], best["instances"]) == (16, "3:CPU")
    assert best["dynamic_batching"] is True
    ideal_per_s = 3 * 16 / 0.026
    assert best["throughput_per_s"]["value"] > 0.85 * ideal_per_s, "the server's own cost aside"
    assert "Proved" in ended.stdout
    for header in ("p99 Latency (ms)", "Throughput", "Gain over default"):
        assert header.split()[0] in ended.stdout
    assert (user.home / "reports" / "light.html").stat().st_size > 10_000
    assert (user.home / "reports" / "light" / "summary.csv").exists()


def test_the_exported_configuration_loads_on_a_fresh_server_and_serves(
    user: User, tmp_path: Path, local_server: Callable[[], LocalServer]
) -> None:
    (user.home / "repository" / "falcon_tiny").symlink_to(EXAMPLES / "falcon_tiny")
    ended = user.tune("falcon_tiny", "--trials=3", "--proof-rounds=0", "--window=1")
    assert ended.returncode == 0, ended.stderr
    exported = subprocess.run(
        [str(TUNE), "export", "falcon_tiny", "-o", "best.pbtxt"], cwd=user.home, check=True
    )
    assert exported.returncode == 0
    config = ModelConfig.read(user.home / "best.pbtxt")
    assert config.text.startswith("#"), "it says where it came from"
    model = find_model("falcon_tiny", EXAMPLES)
    into = stage(model, config, tmp_path / "fresh")
    log = tmp_path / "fresh.log"
    with local_server().serving(
        repository=into, model="falcon_tiny", log=log, deadline_s=120
    ) as endpoint:
        request = urllib.request.Request(
            f"http://{endpoint.http}/v2/models/falcon_tiny/generate",
            data=b'{"text_input": "I am going"}',
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
    assert answer["text_output"].startswith("I am going")


def test_a_killed_run_is_cleaned_up_by_the_next_which_goes_on(user: User) -> None:
    words = ("light", "--trials=3", "--proof-rounds=0", *QUICK)
    killed = user.start(*words)
    user.wait_until_it_says(killed, "trial 2/3")
    deadline = time.monotonic() + DEADLINE_S
    while len(list((user.home / "studies").glob("light/trials/0001/perf_*.log"))) == 0:
        assert time.monotonic() < deadline, "the second trial never put load on its server"
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    left = processes_of(user.home / "studies")
    assert left, "SIGKILL leaves the server, or this test shows nothing"
    ended = user.tune(*words)
    assert ended.returncode == 0, ended.stderr
    assert "killed run had left behind" in ended.stderr
    assert "1 trial" in ended.stderr, "the first trial is not measured again"
    assert user.summary("light")["trials"] == 3


def test_ctrl_c_keeps_what_was_measured_and_says_how_to_go_on(user: User) -> None:
    words = ("light", "--trials=3", "--proof-rounds=0", *QUICK)
    stopped = user.start(*words)
    user.wait_until_it_says(stopped, "trial 2/3")
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(timeout=DEADLINE_S) == 130
    said = (user.home / "said.txt").read_text()
    assert "go on with: tune light --trials=3" in said
    assert "Traceback" not in said
    assert (user.home / "reports" / "light.html").exists()
    assert user.tune(*words).returncode == 0
    assert user.summary("light")["trials"] == 3


def test_more_trials_of_the_same_study_add_to_what_was_measured(user: User) -> None:
    assert user.tune("light", "--trials=1", "--proof-rounds=0", *QUICK).returncode == 0
    ended = user.tune("light", "--trials=2", "--proof-rounds=0", *QUICK)
    assert ended.returncode == 0, ended.stderr
    assert "trial 1/2" not in ended.stderr
    assert "trial 2/2" in ended.stderr


def test_a_configuration_that_does_not_load_is_rejected_and_the_study_goes_on(
    user: User,
) -> None:
    model = user.home / "repository" / "light" / "1" / "model.py"
    refuse = (
        "\n    def initialize(self, args):\n"
        "        import json\n"
        "        config = json.loads(args['model_config'])\n"
        "        if config['instance_group'][0]['count'] > 1:\n"
        "            raise RuntimeError('CUDA out of memory, or so')\n"
        "        self.started(args)\n"
    )
    text = model.read_text()
    assert "def initialize(" in text
    text = text.replace("def initialize(", "def started(")
    model.write_text(text + refuse)
    ended = user.tune("light", "--trials=4", "--proof-rounds=0", "--sampler=random", *QUICK)
    assert ended.returncode == 0, ended.stderr
    assert "rejected" in ended.stderr
    assert "CUDA out of memory, or so" in ended.stdout + ended.stderr
    assert user.summary("light")["rejected"]


def test_a_model_that_cannot_be_served_as_it_is_stops_the_study_and_shows_why(
    user: User,
) -> None:
    user.edit_config(
        'key: "base_ms"',
        'key: "fail_load"\n    value: { string_value: "1" }\n  },\n  {\n    key: "base_ms"',
    )
    ended = user.tune("light", "--trials=3", *QUICK)
    assert ended.returncode == 1
    assert "cannot be served as you wrote it" in ended.stderr
    assert "model.py(" in ended.stderr, "the end of the server's log tells where it failed"
    assert "server.log" in ended.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ligt"], 2, "light"),
        (["light", "--trials=0"], 2, "--trials"),
        (["light", "--perf-analyzer=/no/such/file"], 2, "/no/such/file"),
        (["light", "--studies=/dev/null/studies"], 2, "/dev/null/studies"),
        (["light", "--reports=/dev/null/reports"], 2, "/dev/null/reports"),
        (["light", "--p99=fast"], 2, "fast"),
        (["light", "--objective=thruput"], 2, "throughput"),
        (["light", "--triton-dir=/no/triton"], 3, "/no/triton"),
        (["light", "--server-python=/no/python3"], 3, "/no/python3"),
        (["show", "nothing"], 2, "nothing"),
    ],
)
def test_bad_input_gets_one_sentence_before_anything_is_started(
    user: User, words: list[str], code: int, said: str
) -> None:
    argv = [str(TUNE), *words]
    if words[0] != "show":
        argv += ["--model-repository", "repository"]
    ended = subprocess.run(
        argv, cwd=user.home, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(user.home.glob("studies/*/trials"))


def test_a_config_that_does_not_parse_is_told_by_line_and_column(user: User) -> None:
    user.edit_config("max_batch_size: 8", "max_batch_size: : 8")
    ended = user.tune("light")
    assert ended.returncode == 2
    assert "config.pbtxt:5:17:" in ended.stderr.replace("\n", "")


def test_a_study_of_other_terms_is_not_mixed_with_this_one(user: User) -> None:
    sim = ("light", "--server=sim", "--trials=2", "--proof-rounds=0")
    assert user.tune(*sim).returncode == 0
    other = user.tune(*sim, "--p99=50ms")
    assert other.returncode == 2
    assert "--fresh" in other.stderr
    assert "limits" in other.stderr
    fresh = user.tune(*sim, "--p99=50ms", "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    assert (user.home / "studies" / "light" / "before-1" / "study.db").exists()


def test_two_runs_of_one_study_at_once_are_refused(user: User) -> None:
    first = user.start("light", "--trials=2", "--proof-rounds=0", *QUICK)
    user.wait_until_it_says(first, "trial 1/2")
    second = user.tune("light", "--trials=2", "--proof-rounds=0", *QUICK)
    assert second.returncode == 2
    assert str(first.pid) in second.stderr
    os.kill(first.pid, signal.SIGTERM)
    assert first.wait(timeout=DEADLINE_S) == 130
