"""Limits, two objectives, time, patience and warm starts, as a user asks for them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

TUNE = Path(sys.executable).with_name("tune")
EXAMPLES = Path(__file__).parents[2] / "model_repository"
SIMULATED = ["--server=sim", f"--model-repository={EXAMPLES}"]


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


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(done.stdout)
    return known


def test_the_winner_keeps_a_limit_on_gpu_memory(tune: Tune) -> None:
    words = ("falcon7b", "--trials=8", "--proof-rounds=3", "--json", *SIMULATED)
    done = tune(*words, "--max-gpu-memory=40GB", "--min-throughput=100/s")
    assert done.returncode == 0, done.stderr
    known = told(done)
    assert known["limits"] == [
        "Throughput (infer/sec) >= 100",
        "Max GPU Memory Usage (MB) <= 40000",
    ]
    best = known["summary"][0]
    assert best["gpu_memory_peak_mb"] <= 40_000
    assert best["throughput_per_s"]["value"] >= 100
    assert best["missed"] is None


def test_where_nothing_keeps_the_limits_the_nearest_miss_is_the_answer(
    tune: Tune, tmp_path: Path
) -> None:
    words = ("falcon7b", "--trials=5", "--proof-rounds=0", *SIMULATED)
    done = tune(*words, "--max-gpu-memory=20000", "--min-throughput=2000")
    assert done.returncode == 1, done.stderr
    said = " ".join(done.stdout.split())
    assert "The nearest miss is" in said
    assert "short of Throughput (infer/sec) >= 2000" in said
    known = json.loads((tmp_path / "reports" / "falcon7b" / "summary.json").read_text())
    assert known["answer"] == "misses"
    assert known["nearest_miss"]["missed"][0]["metric"] == "throughput_per_s"
    assert "The nearest miss" in (tmp_path / "reports" / "falcon7b.html").read_text()


def test_a_limit_that_nothing_can_measure_is_refused_before_anything_starts(
    tune: Tune, tmp_path: Path
) -> None:
    for also in ([], ["--dry-run"]):
        refused = tune("falcon_tiny", "--max-gpu-memory=40GB", *also, *SIMULATED)
        assert refused.returncode == 2
        assert "there is no GPU in simulation.json of falcon_tiny" in refused.stderr
        assert not (tmp_path / "studies").exists()


def test_two_objectives_give_a_front_of_which_any_point_can_be_exported(
    tune: Tune, tmp_path: Path
) -> None:
    both = ("--objective=throughput", "--objective=p99")
    done = tune("falcon_tiny", "--trials=8", *both, "--patience=0", *SIMULATED)
    assert done.returncode == 0, done.stderr
    assert "The front of Throughput and p99 Latency" in " ".join(done.stdout.split())
    folder = tmp_path / "reports" / "falcon_tiny"
    known = json.loads((folder / "summary.json").read_text())
    front = known["front"]
    assert len(front) >= 2
    first, last = front[0], front[-1]
    assert first["throughput_per_s"]["value"] > last["throughput_per_s"]["value"]
    assert first["latency_p99_ms"]["value"] > last["latency_p99_ms"]["value"]
    with (folder / "front.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(front)
    number = last["config"].rpartition("_")[2].replace("default", "0")
    exported = tune("export", "falcon_tiny", f"--trial={number}")
    assert "# On the front of Throughput and p99 Latency: " in exported.stdout

    other = tune("falcon_tiny", "--trials=8", "--objective=throughput", *SIMULATED)
    assert other.returncode == 2
    assert "second" in other.stderr


def test_a_search_that_expects_nothing_more_stops_and_says_how_to_go_on(tune: Tune) -> None:
    words = ("falcon_tiny", "--proof-rounds=0", "--json", *SIMULATED)
    stopped = tune(*words, "--trials=60", "--patience=1")
    assert stopped.returncode == 0, stopped.stderr
    known = told(stopped)
    assert known["trials"] < 60
    assert known["search_ended"].startswith(f"stopped after {known['trials']} of 60 trials: ")
    assert known["search_ended"].endswith(" % (--patience 0 goes on).")
    further = told(tune(*words, f"--trials={known['trials'] + 2}", "--patience=0"))
    assert further["trials"] == known["trials"] + 2
    assert (
        further["search_ended"] == f"{further['trials']} of {further['trials']} trials are done."
    )


def test_a_time_limit_ends_the_search_with_a_proved_winner(tune: Tune) -> None:
    words = ("falcon7b", "--patience=0", "--json", *SIMULATED)
    done = tune(*words, "--trials=300", "--time-limit=4s")
    assert done.returncode == 0, done.stderr
    known = told(done)
    assert (known["answer"], known["verdict"]) == ("better", "proved")
    assert 1 < known["trials"] < 300
    assert "of the time limit of 4 s are spent" in known["search_ended"]
    further = told(tune(*words, f"--trials={known['trials'] + 1}", "--time-limit=1h"))
    assert further["trials"] == known["trials"] + 1


def test_a_study_starts_from_what_an_earlier_one_saw(tune: Tune, tmp_path: Path) -> None:
    quick = ("--trials=6", "--proof-rounds=0", "--patience=0", *SIMULATED)
    assert tune("falcon7b", "--study=older", *quick).returncode == 0
    done = tune("falcon7b", "--study=newer", "--from=older", *quick)
    assert done.returncode == 0, done.stderr
    assert "the best of an earlier study" in done.stderr
    known = json.loads((tmp_path / "reports" / "newer" / "summary.json").read_text())
    assert known["started_from"] == ["older"]
    page = (tmp_path / "reports" / "newer.html").read_text()
    assert "It started from what was learnt in older." in page

    refused = tune("falcon7b", "--study=other", "--from=older", "--sampler=tpe", *SIMULATED)
    assert refused.returncode == 2
    assert "--from needs --sampler auto" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from=nothing"], "there is no study 'nothing'"),
        (["--study=one", "--from=one"], "cannot start from itself"),
        (["--proof-rounds=2"], "cannot prove anything"),
        (["--time-limit=15"], "no length of time"),
        (["--objective=p99", "--objective=p99"], "twice"),
        (["--objective=p99", "--objective=p95", "--objective=p50"], "3 objectives"),
        (["--min-throughput=3ms"], "not a bound"),
        (["--max-gpu-memory=big"], "not a bound"),
        (["--patience=2", "--sampler=random"], "--patience needs --sampler auto"),
        (["--rate=5", "--objective=p99", "--objective=throughput"], "throughput is given"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(
    tune: Tune, tmp_path: Path, words: list[str], said: str
) -> None:
    refused = tune("falcon7b", *words, *SIMULATED)
    assert refused.returncode == 2, refused.stderr
    assert said in " ".join(refused.stderr.split())
    assert not list(tmp_path.glob("studies/*"))


def test_an_export_writes_over_a_file_only_when_told_to(tune: Tune, tmp_path: Path) -> None:
    assert tune("falcon7b", "--trials=2", "--proof-rounds=0", *SIMULATED).returncode == 0
    file = tmp_path / "config.pbtxt"
    file.write_text("mine")
    refused = tune("export", "falcon7b", "-o", "config.pbtxt")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert file.read_text() == "mine"
    assert tune("export", "falcon7b", "-o", "config.pbtxt", "--force").returncode == 0
    assert tune("export", "falcon7b", "-o", "config.pbtxt").returncode == 0, "it is the same"
    assert "max_batch_size" in file.read_text()


def test_a_run_that_was_killed_in_its_first_trial_is_begun_anew(
    tune: Tune, tmp_path: Path
) -> None:
    (tmp_path / "studies" / "falcon7b" / "trials" / "0000").mkdir(parents=True)
    done = tune("falcon7b", "--trials=1", "--proof-rounds=0", *SIMULATED)
    assert done.returncode == 0, done.stderr
