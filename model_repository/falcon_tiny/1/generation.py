"""Text generation: a batch of prompts, each with its own length, sampling and budget."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from .batching import BadRequest, pad

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .tokens import Tokenizer

SUPPORTED = ("max_tokens", "temperature", "seed")


@dataclass(frozen=True)
class Prompt:
    """One row.

    Attributes:
        text: as it came.
        ids: its tokens, at least one.
        max_tokens: new tokens to write, at least one.
        temperature: 0 takes the likeliest token.
        seed: of the row's own random numbers; not used at temperature 0.
    """

    text: str
    ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    seed: int


class Generator:
    """Continues texts.

    Args:
        network: a causal language model of transformers, on ``device``, in eval mode.
        tokenizer: its tokenizer.
        context: how many tokens, prompt and answer together, the network was built for; None
            where it does not say.
        max_output_length: new tokens where the request does not say.
        device: where the network is.
    """

    def __init__(
        self,
        *,
        network: Any,  # noqa: ANN401 - transformers has no types
        tokenizer: Tokenizer,
        context: int | None,
        max_output_length: int,
        device: str,
    ) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._context = context
        self._max_output_length = max_output_length
        self._device = device

    def prepare(self, text: str, parameters: Mapping[str, object], row: int) -> Prompt:
        """Check one row of a request.

        Raises:
            BadRequest: an unknown parameter, a value out of range, a text too long.
        """
        unknown = sorted(set(parameters) - set(SUPPORTED))
        if unknown:
            raise BadRequest(
                f"unknown request parameter {unknown[0]!r}; supported: {', '.join(SUPPORTED)}."
            )
        ids = tuple(self._tokenizer.encode(text))
        max_tokens = _whole(parameters, "max_tokens", self._max_output_length, least=1)
        if self._context is not None and len(ids) + max_tokens > self._context:
            raise BadRequest(
                f"text_input, row {row}: {len(ids)} tokens and {max_tokens} new ones are more"
                f" than the model's {self._context}."
            )
        # Without a seed each request draws its own; with one, its rows must not repeat each other.
        seed = _whole(parameters, "seed", secrets.randbits(31), least=0) + row
        temperature = _temperature(parameters)
        return Prompt(
            text=text, ids=ids, max_tokens=max_tokens, temperature=temperature, seed=seed
        )

    @torch.inference_mode()
    def run(self, rows: Sequence[Prompt]) -> list[str]:
        """Return each prompt with its continuation.

        Padding goes to the left and is masked, and positions count tokens only: what a prompt is
        answered does not depend on the prompts beside it.
        """
        ids, mask = pad([row.ids for row in rows], pad_id=self._tokenizer.pad_id, left=True)
        tokens = torch.tensor(ids, device=self._device)
        attention = torch.tensor(mask, device=self._device)
        positions = (attention.cumsum(-1) - 1).clamp(min=0)
        dice = self._dice(rows)
        cache = None
        stops = torch.tensor(sorted(self._tokenizer.stop_ids), device=self._device)
        stopped = torch.zeros(len(rows), dtype=torch.bool, device=self._device)
        written: list[torch.Tensor] = []
        for _ in range(max(row.max_tokens for row in rows)):
            output = self._network(
                input_ids=tokens,
                attention_mask=attention,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            chosen = _choose(output.logits[:, -1], rows, dice)
            written.append(chosen)
            if len(stops):
                stopped |= torch.isin(chosen, stops)
                if stopped.all():
                    break
            tokens = chosen[:, None]
            attention = torch.cat([attention, torch.ones_like(tokens)], dim=1)
            positions = positions[:, -1:] + 1
        columns = torch.stack(written, dim=1).tolist()
        return [self._text(row, new) for row, new in zip(rows, columns, strict=True)]

    def _dice(self, rows: Sequence[Prompt]) -> dict[int, torch.Generator]:
        """Give each sampled row random numbers of its own, whatever else is in the batch."""
        return {
            number: torch.Generator(device=self._device).manual_seed(row.seed)
            for number, row in enumerate(rows)
            if row.temperature > 0
        }

    def _text(self, row: Prompt, new: Sequence[int]) -> str:
        kept: list[int] = []
        for token in new[: row.max_tokens]:
            if token in self._tokenizer.stop_ids:
                break
            kept.append(token)
        return row.text + self._tokenizer.continuation(row.ids, kept)


def _choose(
    logits: torch.Tensor, rows: Sequence[Prompt], dice: Mapping[int, torch.Generator]
) -> torch.Tensor:
    """Pick each row's next token from logits (rows, vocabulary)."""
    chosen = logits.argmax(dim=-1)
    for number, generator in dice.items():
        shares = torch.softmax(logits[number].float() / rows[number].temperature, dim=-1)
        chosen[number] = torch.multinomial(shares, 1, generator=generator)[0]
    return chosen


def _whole(parameters: Mapping[str, object], name: str, default: int, *, least: int) -> int:
    given = parameters.get(name, default)
    # Some clients can only send text; True is an int to Python but no count to anyone.
    if isinstance(given, bool) or not str(given).isdecimal() or int(str(given)) < least:
        raise BadRequest(
            f"request parameter {name!r} is {given!r}; it must be a whole number of at least"
            f" {least}."
        )
    return int(str(given))


def _temperature(parameters: Mapping[str, object]) -> float:
    given = parameters.get("temperature", 0)
    try:
        temperature = float(str(given))
    except ValueError:
        temperature = float("nan")
    if not 0 <= temperature < float("inf"):
        raise BadRequest(
            f"request parameter 'temperature' is {given!r}; it must be a number of at least 0."
        )
    return temperature
