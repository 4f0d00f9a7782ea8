"""The example studies: what they hold, and what their pages and their README say of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tuner.judge.goal import point
from tuner.judge.proof import FEWEST_ROUNDS, gain_over
from tuner.measure.duration import duration
from tuner.measure.record import Measured, Rejected
from tuner.report import numbers
from tuner.report.answer import claim
from tuner.report.export import exported_config
from tuner.report.view import build
from tuner.stored import stored

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
STUDIES = sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())

record = cache(stored)


def text_of(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def test_there_are_examples() -> None:
    assert STUDIES == ["h100-falcon7b", "h100-falcon7b-seed1"]


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_and_the_configuration_are_what_the_code_makes_of_the_record(name: str) -> None:
    study = record(EXAMPLES, name)
    report = build(study)
    assert report.found.verdict == "proved"
    assert claim(report.found, study.header.spec) in text_of(f"{name}.html")
    assert text_of(f"{name}/config.pbtxt") == exported_config(study, None)


@pytest.mark.parametrize("name", STUDIES)
def test_thirty_trials_and_the_proof_take_a_quarter_of_an_hour_on_a_gpu(name: str) -> None:
    study = record(EXAMPLES, name)
    found = build(study).found
    assert found.trials == 30
    assert study.wall_clock_s <= 15 * 60
    assert found.proof is not None
    assert found.proof.gain is not None
    assert found.proof.gain.low > 0
    assert len(found.proof.rounds) >= FEWEST_ROUNDS
    assert study.header.spec.weights == "dummy"


@pytest.mark.parametrize("name", STUDIES)
def test_the_gpu_of_every_configuration_is_told_and_none_ran_out_of_memory(name: str) -> None:
    outcomes = [trial.outcome for trial in record(EXAMPLES, name).trials]
    assert not [one for one in outcomes if isinstance(one, Rejected)]
    levels = [level for one in outcomes if isinstance(one, Measured) for level in one.levels]
    assert all(
        gpu.utilization_pct and gpu.memory_peak_bytes and gpu.power_w
        for level in levels
        for gpu in level.gpus
    )
    assert {len(level.gpus) for level in levels} == {1}


def test_the_two_studies_verify_the_same_throughput_to_within_5_percent() -> None:
    proofs = [build(record(EXAMPLES, name)).found.proof for name in STUDIES]
    means = [proof.means[0] for proof in proofs if proof is not None and proof.means is not None]
    assert len(means) == 2
    assert max(means) <= 1.05 * min(means)


@pytest.mark.parametrize("name", STUDIES)
def test_what_the_examples_are_said_to_have_found_is_what_their_records_hold(name: str) -> None:
    study, told = record(EXAMPLES, name), text_of("README.md")
    found = build(study).found
    assert found.proof is not None
    assert found.proof.gain is not None
    assert found.proof.means is not None
    assert numbers.both(numbers.gain(found.proof.gain)) in told
    for mean in found.proof.means:
        assert numbers.plain(mean) in told
    assert duration(study.wall_clock_s) in told
    unexplained = [one.code for one in build(study).caveats if f"`{one.code}`" not in told]
    assert unexplained == []


def test_the_rounds_of_the_leaner_candidate_are_told_as_they_were() -> None:
    study, told = record(EXAMPLES, "h100-falcon7b"), " ".join(text_of("README.md").split())
    objective, found = study.header.spec.objective, build(study).found
    assert found.proof is not None
    (leaner,) = found.beside
    first, second, third = (f"{point(one.mine):.0f}" for one in leaner.rounds)
    ahead = gain_over(found.proof, leaner, objective)
    assert ahead is not None
    assert (
        f"measured in turn in the first study: {first}, {second} and {third} infer/s, over which "
        f"the winner gains {numbers.share(ahead.value)}"
    ) in told
