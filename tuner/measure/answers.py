"""What a model answers, and how far answers may differ from each other.

Half precision makes batch-mates disturb each other a little, so a model's folder may declare a
tolerance (``answer_tolerance`` among the parameters of config.pbtxt). What it means depends on
the output: for floating-point tensors it is the relative error of the whole tensor, the length
of the difference over the length of the vector, which for small angles is the sine between two
embeddings. For text and whole numbers it is the share behind the first character or element
that differs, as a mean over the answers: once one token of a generation is another one, all
that follow are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tuner.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARAMETER = "answer_tolerance"
"""Its key in config.pbtxt."""

OFF = "off"
"""Declared by models whose answers differ by intention, such as those that sample."""

FLOAT_ERROR = 0.01
"""Relative error that is let pass where nothing is declared; single precision stays below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A tensor of strings, flat."""

    name: str
    shape: tuple[int, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A tensor of numbers, flat; ``exact`` ones are whole numbers or booleans."""

    name: str
    shape: tuple[int, ...]
    values: NDArray[np.float64]
    exact: bool


Answer: TypeAlias = tuple[Text | Numbers, ...]
"""All outputs of one response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far an answer may be from the one that was given alone.

    Attributes:
        floats: relative error of a floating-point tensor.
        sequence: share of a text or of whole numbers, as a mean over the answers.
    """

    floats: float = FLOAT_ERROR
    sequence: float = 0.0


def parse_tolerance(declared: str | None) -> Tolerance | None:
    """Read what a model's folder declares; None where its answers are not to be compared.

    Args:
        declared: a number from 0 to 1, or ``off``; None where nothing is declared.

    Raises:
        UsageError: it is something else.
    """
    if declared is None:
        return Tolerance()
    if declared.strip().lower() == OFF:
        return None
    try:
        value = float(declared)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(
            f"{PARAMETER} in config.pbtxt is {declared!r}; write a number from 0 (answers "
            f"have to be equal) to 1, or {OFF!r} for a model that answers differently each time."
        )
    return Tolerance(floats=value, sequence=value)
