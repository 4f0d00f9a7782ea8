"""What is typed by mistake: it is refused before anything is measured or written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

TUNE = Path(sys.executable).with_name("tune")
EXAMPLES = Path(__file__).parents[2] / "model_repository"
SIMULATED = ["--server=sim", "--trials=2", "--proof-rounds=0", f"--model-repository={EXAMPLES}"]


class Tune(Protocol):
    """Runs `tune` in a folder of its own."""

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type the words."""
        ...


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder in a folder, so that what is written beside it is seen."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def tune(home: Path) -> Tune:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(TUNE), *words], cwd=home, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".", "..", "index", "before-1"])
@pytest.mark.parametrize("also", [[], ["--dry-run"]])
def test_a_study_is_named_so_that_it_stays_in_its_folder(
    tune: Tune, home: Path, name: str, also: list[str]
) -> None:
    refused = tune("falcon7b", f"--study={name}", *also, *SIMULATED)
    assert refused.returncode == 2
    assert "a study cannot be named" in refused.stderr
    assert list(home.parent.iterdir()) == [home]
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("models", "said"),
    [(["falcon7b", "falcon8b"], "falcon8b"), (["falcon7b", "falcon7b/"], "named twice")],
)
def test_every_model_is_looked_at_before_the_first_is_tuned(
    tune: Tune, home: Path, models: list[str], said: str
) -> None:
    refused = tune(*models, *SIMULATED)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert list(home.iterdir()) == []


def test_studies_of_several_models_are_one_json_document(tune: Tune, home: Path) -> None:
    other = home / "models" / "other"
    (other / "1").mkdir(parents=True)
    shutil.copy(EXAMPLES / "falcon7b" / "simulation.json", other)
    text = (EXAMPLES / "falcon7b" / "config.pbtxt").read_text()
    (other / "config.pbtxt").write_text(text.replace('name: "falcon7b"', 'name: "other"'))
    done = tune("falcon7b/", str(other), *SIMULATED, "--json")
    assert done.returncode == 0, done.stderr
    assert [one["study"] for one in json.loads(done.stdout)] == ["falcon7b", "other"]


def test_a_dry_run_refuses_what_the_run_would_and_makes_nothing(tune: Tune, home: Path) -> None:
    assert tune("falcon7b", "--dry-run", *SIMULATED).returncode == 0
    assert list(home.iterdir()) == []
    assert tune("falcon7b", "--dry-run", "--json", *SIMULATED).returncode == 2
    assert tune("falcon7b", "--dry-run", "--reports=/dev/null/r", *SIMULATED).returncode == 2
    assert tune("falcon7b", "--dry-run", "--studies=/dev/null/s", *SIMULATED).returncode == 2

    assert tune("falcon7b", *SIMULATED).returncode == 0
    assert tune("falcon7b", "--dry-run", *SIMULATED).returncode == 0
    other_terms = tune("falcon7b", "--dry-run", "--p99=50ms", *SIMULATED)
    assert other_terms.returncode == 2
    assert "limits" in other_terms.stderr
    assert tune("falcon7b", "--dry-run", "--fresh", "--p99=50ms", *SIMULATED).returncode == 0


def test_the_way_to_the_configuration_is_told_where_there_is_one(tune: Tune) -> None:
    done = tune("falcon7b", "--studies=kept here", *SIMULATED)
    assert "tune export falcon7b --studies 'kept here'" in done.stderr
    none = tune("falcon7b", "--study=strict", "--p99=1us", *SIMULATED)
    assert none.returncode == 1, none.stderr
    assert "strict.html" in none.stderr
    assert "tune export" not in none.stderr


def test_a_mistyped_command_is_answered_with_the_nearest_one(tune: Tune) -> None:
    refused = tune("lst")
    assert refused.returncode == 2
    assert "`tune list`" in refused.stderr
    assert "`tune" not in tune("falcon7c", *SIMULATED).stderr


def test_a_folder_without_studies_is_told_and_is_no_error(tune: Tune, home: Path) -> None:
    for command in ("list", "report"):
        done = tune(command, "--studies=/nonexistent")
        assert (done.returncode, done.stdout) == (0, "")
        assert "no studies in /nonexistent" in done.stderr
    assert json.loads(tune("list", "--studies=/nonexistent", "--json").stdout) == []
    assert list(home.iterdir()) == []


def test_usage_is_told_by_the_commands_own_name(home: Path) -> None:
    words = [sys.executable, "-m", "tuner.cli", "run"]
    told = subprocess.run(words, cwd=home, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "Usage: tune run" in told.stderr


def test_a_sigterm_ends_a_run_as_ctrl_c_does(home: Path) -> None:
    words = ["falcon7b", *SIMULATED, "--trials=40"]
    with subprocess.Popen(
        [str(TUNE), *words], cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as stopped:
        assert stopped.stderr is not None
        assert any("trial 3/" in line for line in stopped.stderr)
        stopped.terminate()
        said = stopped.stderr.read()
    assert stopped.returncode == 130
    assert "Traceback" not in said
    assert "All that was measured is kept; go on with: tune falcon7b" in said
    assert (home / "reports" / "falcon7b.html").exists()


def test_a_study_that_cannot_be_read_is_named_and_keeps_no_other_from_being_shown(
    tune: Tune, home: Path
) -> None:
    assert tune("falcon7b", "--study=good", *SIMULATED).returncode == 0
    (home / "studies" / "bad").mkdir()
    (home / "studies" / "bad" / "study.db").write_text("no database")
    listed = tune("list")
    assert (listed.returncode, "good" in listed.stdout) == (0, True)
    assert "cannot be read as a study" in listed.stderr
    assert "tune MODEL --study bad --fresh" in listed.stderr
    written = tune("report")
    assert (written.returncode, written.stdout) == (2, "reports/good.html\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate=nan", "--objective=p99"], "--rate nan cannot be sent"),
        (["--rate=1e7", "--objective=p99"], "up to 100000"),
        (["--window=inf"], "less than or equal to 3600"),
        (["--window=nan"], "less than or equal to 3600"),
        (["--load-deadline=inf"], "less than or equal to 86400"),
    ],
)
def test_a_number_that_is_none_is_refused(tune: Tune, words: list[str], said: str) -> None:
    refused = tune("falcon7b", *words, *SIMULATED)
    assert refused.returncode == 2
    assert said in " ".join(refused.stderr.replace("│", " ").split())
