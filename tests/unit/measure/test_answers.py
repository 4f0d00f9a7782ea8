from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tuner.errors import UsageError
from tuner.measure.agreement import disagreement, unsteady
from tuner.measure.answers import Answer, Numbers, Text, Tolerance, parse_tolerance

if TYPE_CHECKING:
    from collections.abc import Sequence

ASKED = (("The first rule of measuring is",), ("Hello",), ("Once upon a time, in a small town",))
EXACT = Tolerance()
HALF = Tolerance(sequence=0.5)


def text(value: str) -> Answer:
    return (Text(name="text_output", shape=(1, 1), values=(value,)),)


def vector(values: Sequence[float], *, exact: bool = False) -> Answer:
    array = np.array(values, np.float64)
    return (Numbers(name="out", shape=(1, len(values)), values=array, exact=exact),)


def continued(*continuations: str) -> list[Answer]:
    """What models say that repeat their prompt."""
    return [text(asked[0] + more) for asked, more in zip(ASKED, continuations, strict=True)]


ALONE = continued(" to do it twice", " world, how are", " there was a mill")


def test_equal_answers_pass() -> None:
    assert disagreement(ASKED, ALONE, list(ALONE), EXACT) is None


@pytest.mark.parametrize("tolerance", [EXACT, Tolerance(floats=1.0, sequence=1.0)])
def test_a_swap_is_named_with_both_texts_whatever_is_tolerated(tolerance: Tolerance) -> None:
    found = disagreement(ASKED, ALONE, [ALONE[1], ALONE[0], ALONE[2]], tolerance)
    assert found is not None
    assert "the answer to another one" in found.reason
    assert "«The first rule of measuring is to do it twice»" in found.evidence
    assert "«Hello world, how are»" in found.evidence


def test_another_requests_text_behind_the_own_answer_is_a_leak_whatever_is_tolerated() -> None:
    piled_up = [ALONE[0], text("Hello world, how are\n" + ASKED[0][0] + " to do"), ALONE[2]]
    found = disagreement(ASKED, ALONE, piled_up, Tolerance(sequence=1.0))
    assert found is not None
    assert "with the text of another one" in found.reason


def test_a_short_word_of_another_request_is_no_leak() -> None:
    greeting = continued(" to do it twice", " world, how are", ": Hello! said she, a mill")
    assert disagreement(ASKED, ALONE, greeting, HALF) is None


def test_generations_that_part_late_pass_where_half_may_differ_and_not_where_none_may() -> None:
    late = continued(" to do it TWICE", " world, how ARE", " there was a MILL")
    assert disagreement(ASKED, ALONE, late, HALF) is None
    found = disagreement(ASKED, ALONE, late, EXACT)
    assert found is not None
    assert "3 of 3 requests" in found.reason
    assert "answer_tolerance" in found.reason


def test_the_repeated_prompt_does_not_count_as_agreement() -> None:
    early = continued(" x", " x", " x")
    found = disagreement(ASKED, ALONE, early, HALF)
    assert found is not None


def test_one_answer_that_parts_early_is_borne_by_the_others() -> None:
    one = [ALONE[0], text("Hello there, you"), ALONE[2]]
    assert disagreement(ASKED, ALONE, one, HALF) is None


VECTORS = [vector([1.0, 0.0, 0.2]), vector([0.0, 1.0, 0.1]), vector([0.7, 0.7, 0.0])]
NUMBERS_ONLY: tuple[tuple[str, ...], ...] = ((), (), ())


@pytest.mark.parametrize(("error", "passes"), [(0.005, True), (0.03, False)])
def test_vectors_pass_within_the_relative_error(error: float, passes: bool) -> None:  # noqa: FBT001 - a parameter of the test
    off = [*VECTORS[:2], vector([0.7 * (1 + error), 0.7 * (1 + error), 0.0])]
    assert (disagreement(NUMBERS_ONLY, VECTORS, off, EXACT) is None) is passes


def test_swapped_vectors_are_named_though_a_large_error_is_tolerated() -> None:
    near = [vector([1.0, 0.0]), vector([1.0, 0.1]), vector([1.0, 0.2])]
    noisy = [vector([1.0, 0.1001]), vector([1.0, 0.0001]), vector([1.0, 0.2])]
    found = disagreement(NUMBERS_ONLY, near, noisy, Tolerance(floats=0.5))
    assert found is not None
    assert "the answer to another one" in found.reason


def test_answers_that_are_alike_for_all_requests_are_no_swap() -> None:
    same = [vector([0.5, 0.5 + 1e-7 * i]) for i in range(3)]
    assert disagreement(NUMBERS_ONLY, same, same[::-1], EXACT) is None


@pytest.mark.parametrize(
    "broken", [vector([0.7, 0.7]), vector([0.7, float("nan"), 0.0]), text("0.7 0.7 0.0")]
)
def test_another_shape_or_holes_in_the_numbers_do_not_pass(broken: Answer) -> None:
    answers = [*VECTORS[:2], broken]
    assert disagreement(NUMBERS_ONLY, VECTORS, answers, Tolerance(floats=0.99)) is not None


def test_whole_numbers_have_to_be_equal() -> None:
    labels = [vector([n], exact=True) for n in (3, 1, 3)]
    other = [*labels[:2], vector([2], exact=True)]
    assert disagreement(NUMBERS_ONLY, labels, list(labels), EXACT) is None
    assert disagreement(NUMBERS_ONLY, labels, other, EXACT) is not None


def test_a_model_that_samples_is_told_how_to_declare_it() -> None:
    assert unsteady(ASKED[0], ALONE[0], ALONE[0], EXACT) is None
    found = unsteady(ASKED[0], ALONE[0], continued(" a", "", "")[0], EXACT)
    assert found is not None
    assert 'string_value: "off"' in found.reason


def test_what_a_folder_declares_is_read() -> None:
    assert parse_tolerance(None) == EXACT
    assert parse_tolerance("0.5") == Tolerance(floats=0.5, sequence=0.5)
    assert parse_tolerance("off") is None
    with pytest.raises(UsageError, match=r"answer_tolerance .* 'a lot'"):
        parse_tolerance("a lot")
