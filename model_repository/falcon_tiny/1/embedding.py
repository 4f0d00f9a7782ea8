"""Sentence embeddings: the mean of a text's token vectors, scaled to length one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from .batching import BadRequest, pad

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .tokens import Tokenizer


@dataclass(frozen=True)
class Sentence:
    """One row: its tokens, at least one."""

    ids: tuple[int, ...]


class Embedder:
    """Turns texts into vectors.

    Args:
        network: an encoder of transformers, on ``device``, in eval mode.
        tokenizer: its tokenizer.
        longest: tokens of a text beyond this are left out; None keeps all.
        device: where the network is.
    """

    def __init__(
        self,
        *,
        network: Any,  # noqa: ANN401 - transformers has no types
        tokenizer: Tokenizer,
        longest: int | None,
        device: str,
    ) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._longest = longest
        self._device = device

    def prepare(self, text: str, parameters: Mapping[str, object], row: int) -> Sentence:  # noqa: ARG002 - a row's place changes nothing here
        """Check one row of a request.

        Raises:
            BadRequest: a request parameter; an embedding has none.
        """
        if parameters:
            raise BadRequest(f"unknown request parameter {min(parameters)!r}; there are none.")
        return Sentence(tuple(self._tokenizer.encode(text))[: self._longest])

    @torch.inference_mode()
    def run(self, rows: Sequence[Sentence]) -> list[list[float]]:
        """Return one vector of length one per row."""
        ids, mask = pad([row.ids for row in rows], pad_id=self._tokenizer.pad_id, left=False)
        attention = torch.tensor(mask, device=self._device)
        hidden = self._network(
            input_ids=torch.tensor(ids, device=self._device), attention_mask=attention
        ).last_hidden_state
        # The mean over tokens, not over padding; in float32 whatever the weights' type.
        seen = attention[:, :, None].float()
        mean = (hidden.float() * seen).sum(dim=1) / seen.sum(dim=1)
        vectors: list[list[float]] = torch.nn.functional.normalize(mean, dim=1).tolist()
        return vectors
