"""Numbers that can be trusted, as a user asks for them: verify, open loops, precision."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

TUNE = Path(sys.executable).with_name("tune")
EXAMPLES = Path(__file__).parents[2] / "model_repository"


class Tune(Protocol):
    """Runs `tune` in a folder of its own."""

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type the words."""
        ...


@pytest.fixture
def tune(tmp_path: Path) -> Tune:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(TUNE), *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


SIMULATED = ["--server=sim", f"--model-repository={EXAMPLES}"]


def test_a_verification_tells_ci_that_the_gain_is_still_there(tune: Tune, tmp_path: Path) -> None:
    first = tune("falcon7b", "--trials=4", "--proof-rounds=3", *SIMULATED)
    assert first.returncode == 0, first.stderr

    again = tune("verify", "falcon7b", "--rounds=3", f"--model-repository={EXAMPLES}", "--json")

    assert again.returncode == 0, again.stderr
    assert "verification, round 3 of 3" in again.stderr
    told = json.loads(again.stdout)
    assert (told["answer"], told["verdict"]) == ("better", "proved")
    page = json.loads((tmp_path / "reports" / "falcon7b" / "summary.json").read_text())
    assert page["proved_gain"] == told["proved_gain"]
    assert tune("export", "falcon7b").stdout.count("Proved: ") == 1


def test_without_a_gain_there_is_nothing_to_verify(tune: Tune) -> None:
    assert tune("falcon7b", "--trials=1", *SIMULATED).returncode == 0
    refused = tune("verify", "falcon7b", f"--model-repository={EXAMPLES}")
    assert refused.returncode == 2
    assert "nothing to verify" in refused.stderr


def test_with_a_rate_the_wait_is_improved_at_that_rate(tune: Tune, tmp_path: Path) -> None:
    done = tune("falcon7b", "--trials=5", "--rate=5", "--poisson", "--study=open", *SIMULATED)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "reports" / "open" / "summary.json").read_text())
    assert told["objective"] == "latency_mean_ms"
    assert {row["request_rate_per_s"] for row in told["summary"]} == {5.0}


def test_a_rate_that_nothing_carries_ends_with_the_exit_code_for_no_winner(tune: Tune) -> None:
    done = tune("falcon7b", "--trials=3", "--rate=5000", *SIMULATED)
    assert done.returncode == 1, done.stderr
    assert "Nothing that was tried keeps Throughput" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--poisson"], "--poisson says how requests of a --rate come"),
        (["--rate=0"], "sends nothing"),
        (["--rate=5", "--objective=throughput"], "the throughput is given"),
        (["--precision=5"], "is not a share"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(
    tune: Tune, tmp_path: Path, words: list[str], said: str
) -> None:
    refused = tune("falcon7b", *words, *SIMULATED)
    assert refused.returncode == 2
    assert said in " ".join(refused.stderr.split())
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_limit_that_is_kept_with_ease_does_not_hide_a_gain(tune: Tune, seed: int) -> None:
    """A proof that was too short to bound its p99 used to count as a limit that was missed."""
    words = ("falcon_tiny", "--trials=6", "--p99=200ms", f"--seed={seed}", "--json", *SIMULATED)
    done = tune(*words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["answer"], told["verdict"]) == ("better", "proved"), told["headline"]
