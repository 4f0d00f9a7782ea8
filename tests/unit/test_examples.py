"""The example studies that the README shows: they are read by the code as it is now."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.report.answer import claim
from tuner.report.view import build
from tuner.stored import stored

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
STUDIES = sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", STUDIES)
def test_an_example_says_today_what_its_page_says(name: str) -> None:
    study = stored(EXAMPLES, name)
    page = (EXAMPLES / f"{name}.html").read_text(encoding="utf-8")
    report = build(study)
    assert report.found.verdict == "proved"
    assert claim(report.found, study.header.spec) in page


def test_there_are_examples() -> None:
    assert STUDIES == ["h100-falcon7b", "h100-falcon7b-seed1"]
