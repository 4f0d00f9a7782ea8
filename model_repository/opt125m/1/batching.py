"""Many requests of many rows through one run of the model, each answer back to its own request.

No Triton and no torch in here: what goes wrong in batching goes wrong in plain Python.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RowT = TypeVar("RowT")
AnswerT = TypeVar("AnswerT")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class BadRequest(ValueError):  # noqa: N818 - named as HTTP names it
    """This request cannot be answered; the others of its batch can. The message is the answer."""


@dataclass(frozen=True)
class Ask:
    """One request as it came: its rows as UTF-8, its parameters as Triton hands them over.

    Attributes:
        rows: one text per row.
        parameters: a JSON object, or the empty string.
    """

    rows: tuple[bytes, ...]
    parameters: str


class Engine(Protocol[RowT, AnswerT_co]):
    """What answers rows."""

    def prepare(self, text: str, parameters: Mapping[str, object], row: int) -> RowT:
        """Make one row ready to run; ``row`` is its place in its request.

        Raises:
            BadRequest: the text or a parameter cannot be served.
        """
        ...

    def run(self, rows: Sequence[RowT]) -> Sequence[AnswerT_co]:
        """Answer all rows in one batch: one answer per row, in their order."""
        ...


@dataclass(frozen=True)
class Answered(Generic[AnswerT]):
    """The answers to one request, one per row."""

    answers: tuple[AnswerT, ...]


def answer(
    asks: Sequence[Ask], engine: Engine[RowT, AnswerT]
) -> list[Answered[AnswerT] | BadRequest]:
    """Run all rows of all good requests as one batch.

    Returns:
        One entry per request, in order: the answers to its own rows, or what is wrong with it.
    """
    prepared = [_prepare(ask, engine) for ask in asks]
    batch = [row for rows in prepared if not isinstance(rows, BadRequest) for row in rows]
    answers = engine.run(batch) if batch else ()
    if len(answers) != len(batch):
        raise RuntimeError(f"{len(batch)} rows went into the model, {len(answers)} came out.")
    results: list[Answered[AnswerT] | BadRequest] = []
    start = 0
    for rows in prepared:
        if isinstance(rows, BadRequest):
            results.append(rows)
            continue
        stop = start + len(rows)
        results.append(Answered(tuple(answers[start:stop])))
        start = stop
    return results


def _prepare(ask: Ask, engine: Engine[RowT, AnswerT]) -> list[RowT] | BadRequest:
    try:
        parameters = _parameters(ask.parameters)
        return [
            engine.prepare(_text(row, number), parameters, number)
            for number, row in enumerate(ask.rows)
        ]
    except BadRequest as bad:
        return bad


def _text(row: bytes, number: int) -> str:
    try:
        return row.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"text_input, row {number}, is not UTF-8: {error}.") from error


def _parameters(text: str) -> dict[str, object]:
    """Read a request's parameters, less those that are Triton's own."""
    parameters = json.loads(text) if text else {}
    return {name: value for name, value in parameters.items() if not name.startswith("triton_")}


def pad(
    rows: Sequence[Sequence[int]], *, pad_id: int, left: bool
) -> tuple[list[list[int]], list[list[int]]]:
    """Make rows of tokens equally long.

    Args:
        rows: token ids, at least one row.
        pad_id: what fills the gaps.
        left: fill at the left, as generation needs it (the last column is every row's last token).

    Returns:
        The padded ids and the attention mask (1 on tokens, 0 on padding), each (rows, longest).
    """
    longest = max(len(row) for row in rows)
    ids, masks = [], []
    for row in rows:
        gap = longest - len(row)
        filling, hidden = [pad_id] * gap, [0] * gap
        seen = [1] * len(row)
        ids.append([*filling, *row] if left else [*row, *filling])
        masks.append([*hidden, *seen] if left else [*seen, *hidden])
    return ids, masks
