"""Lengths of time in words."""

from __future__ import annotations

import pytest

from tuner.measure.duration import duration


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.84, "0.8 s"), (4, "4 s"), (9.96, "10 s"), (48.2, "48 s"), (59.7, "1 min 0 s"),
        (190, "3 min 10 s"), (7500, "2 h 5 min"),
    ],
)  # fmt: skip
def test_a_duration_reads_as_people_say_it(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
