"""Whether requests that are answered together get the answers that each gets alone.

A tolerance is for noise: that an answer is somebody else's or carries somebody else's text is
never tolerated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tuner.measure.answers import FLOAT_ERROR, OFF, PARAMETER, Numbers, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.answers import Answer, Tolerance

_TELLING = 16
"""Characters from which a text of ours in an answer is no coincidence."""
_MUCH_NEARER = 10.0
"""An answer is somebody else's when it is so many times nearer to it than to its own."""
_SHOWN = 300
_HEAD = 8
_ADVICE = (
    f" If that is the noise of half precision, declare an {PARAMETER} in config.pbtxt; if not,"
    " the model mixes up the requests of a batch."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """What is wrong with the answers.

    Attributes:
        reason: one sentence.
        evidence: what was asked and both answers, a line each.
    """

    reason: str
    evidence: str


def disagreement(
    asked: Sequence[Sequence[str]],
    alone: Sequence[Answer],
    together: Sequence[Answer],
    tolerance: Tolerance,
) -> Disagreement | None:
    """Compare answers that were given at once with those that were given one by one.

    Args:
        asked: the texts in each request; empty ones where it holds only numbers.
        alone: the answer to each when nothing else was asked.
        together: the answer to each when all were asked at once.
        tolerance: as declared.

    Returns:
        The worst that is wrong, or None.
    """
    for number in range(len(asked)):
        found = _somebody_elses(number, asked, alone, together, tolerance)
        if found is not None:
            return found
    errors = [_error(a, b) for a, b in zip(alone, together, strict=True)]
    worst = int(np.argmax(errors))
    if errors[worst] > tolerance.floats:
        return Disagreement(
            reason=(
                "A request that was sent together with others was answered differently than"
                f" alone: {_error_words(errors[worst])}, and {100 * tolerance.floats:.3g} % is"
                f" allowed.{_ADVICE}"
            ),
            evidence=_evidence(asked[worst], alone[worst], together[worst]),
        )
    return _diverging(asked, alone, together, tolerance)


def unsteady(
    asked: Sequence[str], first: Answer, second: Answer, tolerance: Tolerance
) -> Disagreement | None:
    """Compare two answers to the same request, both given alone."""
    share = _leading_share(asked, first, second)
    if _error(first, second) <= tolerance.floats and 1 - share <= tolerance.sequence:
        return None
    return Disagreement(
        reason=(
            "The same request, sent alone twice, was answered in two ways, so that nobody can"
            " tell whether answers are right under load. If the model is meant to (it samples),"
            f' declare it in config.pbtxt: parameters {{ key: "{PARAMETER}" value: {{'
            f' string_value: "{OFF}" }} }}.'
        ),
        evidence=_evidence(asked, first, second),
    )


def _diverging(
    asked: Sequence[Sequence[str]],
    alone: Sequence[Answer],
    together: Sequence[Answer],
    tolerance: Tolerance,
) -> Disagreement | None:
    """Check that texts and whole numbers agree for long enough, on the mean over answers."""
    shares = [_leading_share(*three) for three in zip(asked, alone, together, strict=True)]
    different = 1 - float(np.mean(shares))
    if different <= tolerance.sequence:
        return None
    worst = int(np.argmin(shares))
    count = sum(share < 1 for share in shares)
    return Disagreement(
        reason=(
            f"{count} of {len(shares)} requests that were sent together were answered"
            f" differently than alone: {100 * different:.3g} % of their answers differ, and"
            f" {100 * tolerance.sequence:.3g} % is allowed.{_ADVICE}"
        ),
        evidence=_evidence(asked[worst], alone[worst], together[worst]),
    )


def _somebody_elses(
    number: int,
    asked: Sequence[Sequence[str]],
    alone: Sequence[Answer],
    together: Sequence[Answer],
    tolerance: Tolerance,
) -> Disagreement | None:
    """Tell whether an answer is another request's, or holds that one's text."""
    own, given = alone[number], together[number]
    for other in range(len(asked)):
        if other == number:
            continue
        if _is_swapped(own, given, alone[other], tolerance):
            what = "got the answer to another one"
        elif _leaks(asked[number], own, given, asked[other]):
            what = "got an answer with the text of another one"
        else:
            continue
        return Disagreement(
            reason=(
                f"A request that was sent together with others {what}: the model mixes up the"
                " requests of a batch, and users would read each other's answers."
            ),
            evidence=(
                f"{_evidence(asked[number], own, given)}\n"
                f"another request: {_quoted(asked[other])}\n"
                f"its answer alone: {_shown(alone[other])}"
            ),
        )
    return None


def _is_swapped(own: Answer, given: Answer, other: Answer, tolerance: Tolerance) -> bool:
    if _sequences(own) != _sequences(given):
        return _sequences(given) == _sequences(other) and bool("".join(_sequences(given)))
    noise = min(tolerance.floats, FLOAT_ERROR)
    error = _error(own, given)
    return error > noise and error > _MUCH_NEARER * _error(other, given)


def _leaks(asked: Sequence[str], own: Answer, given: Answer, others: Sequence[str]) -> bool:
    expected = "\n".join([*asked, *_sequences(own)])
    answered = "\n".join(_sequences(given))
    return any(
        len(text) >= _TELLING and text in answered and text not in expected for text in others
    )


def _error(own: Answer, given: Answer) -> float:
    """The largest relative error over floating-point outputs; infinite for another shape."""
    if [(one.name, type(one)) for one in own] != [(one.name, type(one)) for one in given]:
        return float("inf")
    worst = 0.0
    for mine, other in zip(own, given, strict=True):
        match mine, other:
            case Numbers(exact=False), Numbers():
                worst = max(worst, _relative_error(mine, other))
            case _:
                continue
    return worst


def _relative_error(own: Numbers, given: Numbers) -> float:
    if own.shape != given.shape:
        return float("inf")
    holes = ~np.isfinite(own.values)
    if not np.array_equal(own.values[holes], given.values[holes], equal_nan=True):
        return float("inf")
    mine, other = own.values[~holes], given.values[~holes]
    if not np.isfinite(other).all():
        return float("inf")
    difference, length = float(np.linalg.norm(mine - other)), float(np.linalg.norm(mine))
    if difference == 0:
        return 0.0
    return difference / length if length else float("inf")


def _sequences(answer: Answer) -> list[str]:
    """Texts and whole numbers as texts, one a tensor; floating-point tensors are left out."""
    texts = []
    for tensor in answer:
        match tensor:
            case Text():
                texts.append("\n".join(tensor.values))
            case Numbers(exact=True):
                texts.append(" ".join(f"{value:.0f}" for value in tensor.values))
            case Numbers():
                continue
    return texts


def _leading_share(asked: Sequence[str], own: Answer, given: Answer) -> float:
    """The smallest share of a text up to where it begins to differ, a repeated prompt left out."""
    mine, others = _sequences(own), _sequences(given)
    if len(mine) != len(others):
        return 0.0
    share = 1.0
    for text, other in zip(mine, others, strict=True):
        prompts = [prompt for prompt in asked if text.startswith(prompt)]
        start = max(map(len, prompts), default=0)
        pairs = enumerate(zip(text, other, strict=False))
        common = next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))
        if text != other:
            longest = max(len(text), len(other)) - start
            share = min(share, max(common - start, 0) / longest)
    return share


def _error_words(error: float) -> str:
    if not np.isfinite(error):
        return "it has another shape, or numbers that are not finite"
    return f"its numbers are off by {100 * error:.3g} %"


def _evidence(asked: Sequence[str], own: Answer, given: Answer) -> str:
    return "\n".join(
        (
            f"request: {_quoted(asked)}",
            f"its answer alone: {_shown(own)}",
            f"its answer among others: {_shown(given)}",
        )
    )


def _shown(answer: Answer) -> str:
    parts = []
    for tensor in answer:
        match tensor:
            case Text():
                parts.append(_quoted(tensor.values))
            case Numbers():
                head = ", ".join(f"{value:.6g}" for value in tensor.values[:_HEAD])
                more = ", …" if tensor.values.size > _HEAD else ""
                parts.append(f"{tensor.name} {list(tensor.shape)}: {head}{more}")
    return "; ".join(parts)


def _quoted(texts: Sequence[str]) -> str:
    whole = " | ".join(texts)
    cut = whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]}…"
    return f"«{cut}»" if texts else "numbers"
