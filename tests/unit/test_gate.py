"""The answer gate: what it asks, and what it makes of the answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tuner.errors import ConfigurationRejected
from tuner.measure.answers import Answer, Text, Tolerance
from tuner.servers.port import Endpoint
from tuner.study.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STRICT = Tolerance(floats=0.0, sequence=0.0)
HERE = Endpoint(http="127.0.0.1:1", grpc="127.0.0.1:2", metrics=None, pid=None)
TEXTS = tuple((f"the text of request number {number}",) for number in range(8))


def answer(value: str) -> Answer:
    return (Text(name="out", shape=(1,), values=(value,)),)


@dataclass
class Echo:
    """Answers with the request's text and what ``adds`` makes of the request's turn."""

    adds: Callable[[int], str] = lambda _: ""
    texts: tuple[tuple[str, ...], ...] = TEXTS
    asked: list[list[int]] = field(default_factory=list)
    turns: Iterator[int] = field(default_factory=count)

    def ask(self, *, http: str, model: str, numbers: Sequence[int]) -> tuple[Answer, ...]:
        """See Asker."""
        assert (http, model) == (HERE.http, "m")
        self.asked.append(list(numbers))
        return tuple(answer(self.texts[n][0] + self.adds(next(self.turns))) for n in numbers)


def test_each_request_is_asked_alone_once_and_then_all_at_once_in_another_order() -> None:
    echo = Echo()
    alone = Gate(asker=echo, tolerance=STRICT).check(HERE, "m")
    assert echo.asked == [[n] for n in range(8)] + [list(reversed(range(8)))]
    assert alone.answers == tuple(answer(text) for (text,) in TEXTS)
    assert 0 <= alone.took_s < 1


def test_what_the_model_answers_alone_is_asked_under_one_configuration_only() -> None:
    echo = Echo()
    gate = Gate(asker=echo, tolerance=STRICT)
    known = gate.check(HERE, "m")
    echo.asked.clear()
    assert gate.check(HERE, "m", known) is known
    assert echo.asked == [list(reversed(range(8)))]


def test_answers_that_differ_from_those_of_another_configuration_are_not_wrong_for_that() -> None:
    before = Gate(asker=Echo(), tolerance=STRICT).check(HERE, "m")
    other = Echo(adds=lambda _: " in another way")
    now = Gate(asker=other, tolerance=STRICT).check(HERE, "m", before)
    assert now.answers == tuple(answer(f"{text} in another way") for (text,) in TEXTS)
    assert other.asked == [list(reversed(range(8)))] + [[n] for n in range(8)]


def test_a_configuration_that_mixed_up_answers_once_is_found_by_those_of_another_one() -> None:
    """What was wrong at once stays wrong, though it may go well the next time."""
    known = Gate(asker=Echo(), tolerance=STRICT).check(HERE, "m")
    mixes = Echo(adds=lambda turn: " and noise" if turn < 8 else "")
    with pytest.raises(ConfigurationRejected, match="together"):
        Gate(asker=mixes, tolerance=STRICT).check(HERE, "m", known)


def test_a_model_that_answers_the_same_request_in_two_ways_is_named_as_that() -> None:
    samples = Echo(adds=lambda turn: f" and chance {turn}")
    with pytest.raises(ConfigurationRejected, match="answered in two ways"):
        Gate(asker=samples, tolerance=STRICT).check(HERE, "m")


def test_a_model_that_is_right_alone_and_wrong_together_is_named_as_that() -> None:
    mixes = Echo(adds=lambda turn: " and noise" if 8 <= turn < 16 else "")
    with pytest.raises(ConfigurationRejected, match="together"):
        Gate(asker=mixes, tolerance=STRICT).check(HERE, "m")


def test_a_configuration_that_was_right_before_is_only_asked_whether_it_answers() -> None:
    echo = Echo()
    Gate(asker=echo, tolerance=STRICT).ask_once(HERE, "m")
    assert echo.asked == [[0]]
