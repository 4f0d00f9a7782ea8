"""Mistakes that serving code really has, planted in a copy of ours: each must be noticed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from serving_checks import CHECKS, loaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving_checks import ServingCode

VERSION = Path(__file__).parents[2] / "model_repository" / "falcon_tiny" / "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One edit of one file; ``right`` stands there exactly once."""

    name: str
    file: str
    right: str
    wrong: str


MISTAKES = (
    Mistake(
        name="texts pile up from response to response",
        file="batching.py",
        right="tuple(answers[start:stop])",
        wrong="tuple(answers[:stop])",
    ),
    Mistake(
        name="responses in reverse order",
        file="batching.py",
        right="    return results\n",
        wrong="    return results[::-1]\n",
    ),
    Mistake(
        name="only the first row of a request is answered",
        file="batching.py",
        right="enumerate(ask.rows)",
        wrong="enumerate(ask.rows[:1])",
    ),
    Mistake(
        name="one row too few comes out of the model",
        file="generation.py",
        right="in zip(rows, columns, strict=True)]",
        wrong="in zip(rows[1:], columns[1:], strict=True)]",
    ),
    Mistake(
        name="padding is not masked",
        file="batching.py",
        right="[pad_id] * gap, [0] * gap",
        wrong="[pad_id] * gap, [1] * gap",
    ),
    Mistake(
        name="generation pads on the right",
        file="generation.py",
        right="left=True",
        wrong="left=False",
    ),
    Mistake(
        name="positions count padding",
        file="generation.py",
        right="(attention.cumsum(-1) - 1).clamp(min=0)",
        wrong="torch.arange(attention.shape[1]).expand(len(rows), -1)",
    ),
    Mistake(
        name="new tokens are not attended to",
        file="generation.py",
        right="torch.ones_like(tokens)",
        wrong="torch.zeros_like(tokens)",
    ),
    Mistake(
        name="positions stand still",
        file="generation.py",
        right="positions[:, -1:] + 1",
        wrong="positions[:, -1:]",
    ),
    Mistake(
        name="the key-value cache is carried over to the next batch",
        file="generation.py",
        right="        cache = None\n",
        wrong="        cache = getattr(self, '_kept', None)\n",
    ),
    Mistake(
        name="a row runs on past its own budget",
        file="generation.py",
        right="new[: row.max_tokens]",
        wrong="new",
    ),
    Mistake(
        name="the first row's temperature holds for all",
        file="generation.py",
        right="rows[number].temperature",
        wrong="rows[0].temperature",
    ),
    Mistake(
        name="all rows share one stream of random numbers",
        file="generation.py",
        right="multinomial(shares, 1, generator=generator)",
        wrong="multinomial(shares, 1)",
    ),
    Mistake(
        name="one row's stop token ends the batch",
        file="generation.py",
        right="stopped.all()",
        wrong="stopped.any()",
    ),
    Mistake(
        name="text after the stop token is kept",
        file="generation.py",
        right="            if token in self._tokenizer.stop_ids:\n                break\n",
        wrong="",
    ),
    Mistake(
        name="one bad request fails its batch",
        file="batching.py",
        right="        return bad\n",
        wrong="        raise RuntimeError from bad\n",
    ),
    Mistake(
        name="the mean is taken over padding too",
        file="embedding.py",
        right="(hidden.float() * seen).sum(dim=1) / seen.sum(dim=1)",
        wrong="hidden.float().mean(dim=1)",
    ),
    Mistake(
        name="the encoder sees padding",
        file="embedding.py",
        right=", attention_mask=attention\n",
        wrong="\n",
    ),
)
# What the mistake needs elsewhere in its file: where the cache is kept from batch to batch.
ALSO = {
    "the key-value cache is carried over to the next batch": (
        "            cache = output.past_key_values\n",
        "            cache = self._kept = output.past_key_values\n",
    ),
}


def passes(check: Callable[[ServingCode], None], code: ServingCode) -> bool:
    try:
        check(code)
    except (AssertionError, RuntimeError, IndexError, ValueError):
        return False
    return True


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_planted_mistake_is_noticed(mistake: Mistake, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(VERSION, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / mistake.file).read_text(encoding="utf-8")
    edits = [(mistake.right, mistake.wrong), *filter(None, [ALSO.get(mistake.name)])]
    for right, wrong in edits:
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    (copy / mistake.file).write_text(text, encoding="utf-8")
    with loaded(copy, tmp_path) as code:
        assert not all(passes(check, code) for check in CHECKS)
