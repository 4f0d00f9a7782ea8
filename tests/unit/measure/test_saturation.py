"""How far a prediction of the saturating load may be believed."""

from __future__ import annotations

import math
from dataclasses import replace

from tuner.measure.saturation import Saturation

PREDICTED = Saturation(concurrency=128, throughput_per_s=150.0, room=1.3)


def test_a_level_that_came_to_what_was_predicted_has_the_room_that_was_predicted() -> None:
    assert PREDICTED.room_at(128, 150.0) == 1.3
    assert PREDICTED.room_at(128, 140.0) == 1.3
    assert PREDICTED.room_at(128, 165.0) == 1.3


def test_a_little_room_that_nobody_expects_to_fill_counts_as_none() -> None:
    assert replace(PREDICTED, room=1.12).room_at(128, 150.0) == 1.0


def test_a_prediction_that_was_wrong_says_nothing_about_more_load() -> None:
    assert PREDICTED.room_at(128, 120.0) == math.inf
    assert PREDICTED.room_at(128, 180.0) == math.inf
    assert PREDICTED.room_at(128, 0.0) == math.inf


def test_a_prediction_says_nothing_about_another_load() -> None:
    assert PREDICTED.room_at(256, 150.0) == math.inf
