"""Text to tokens and back: the model's own tokenizer, or a stand-in where weights are random."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


_WORDS_FROM = 1000
"""A smaller vocabulary holds bytes and marks, and no words."""

_LETTERS, _DIGIT, _SIGNS, _SPACES = r" ?[^\W\d_]+", r" ?\d", r" ?(?:[^\w\s]|_)+", r"\s+"
_WORD = re.compile(f"{_LETTERS}|{_DIGIT}|{_SIGNS}|{_SPACES}")
_PIECE_BYTES = 8


class Tokenizer(Protocol):
    """Attributes: ``pad_id`` fills gaps, any of ``stop_ids`` ends a row."""

    pad_id: int
    stop_ids: frozenset[int]

    def encode(self, text: str) -> list[int]:
        """Return at least one token."""
        ...

    def continuation(self, prompt: Sequence[int], new: Sequence[int]) -> str:
        """Return the text that ``new`` adds after ``prompt``."""
        ...


def stand_in(vocabulary: int) -> Tokenizer:
    """Return what serves where the weights are random, for a vocabulary of so many tokens.

    It needs no file. No token stops a row: random weights would stop at random, and each row
    should cost the same.
    """
    return ByteTokenizer() if vocabulary < _WORDS_FROM else WordTokenizer(vocabulary)


class ByteTokenizer:
    """UTF-8 bytes are the tokens, as a vocabulary of 258 has no more."""

    pad_id = 256
    begin_id = 257
    stop_ids: frozenset[int] = frozenset()

    def encode(self, text: str) -> list[int]:
        """Return the beginning mark and the text's bytes, so that no text is empty."""
        return [self.begin_id, *text.encode()]

    def continuation(self, prompt: Sequence[int], new: Sequence[int]) -> str:  # noqa: ARG002
        """Show printable ASCII as it is and any other token as ``<number>``.

        Random weights hardly ever write valid UTF-8, and replacement marks would make different
        answers look the same. ``prompt`` is not needed: a byte reads the same in any place.
        """
        printable = range(0x20, 0x7F)
        return "".join(chr(token) if token in printable else f"<{token}>" for token in new)


class WordTokenizer:
    """Words are the tokens, longer ones in pieces of eight bytes: a number for each, by its hash.

    What a text costs depends on how many tokens it has. So it becomes about as many as with the
    vocabulary of a real model: the English requests that are made up come to 71 tokens with this
    one and to 69 with GPT-2's. Letters beyond ASCII come to fewer here.

    Args:
        vocabulary: tokens of the network.
    """

    pad_id = 0
    begin_id = 1
    stop_ids: frozenset[int] = frozenset()

    def __init__(self, vocabulary: int) -> None:
        self._marks = 2
        self._pieces = vocabulary - self._marks

    def encode(self, text: str) -> list[int]:
        """Return the beginning mark and the text's pieces, so that no text is empty."""
        words = [word.encode() for word in _WORD.findall(text)]
        pieces = [
            word[start : start + _PIECE_BYTES]
            for word in words
            for start in range(0, len(word), _PIECE_BYTES)
        ]
        return [
            self.begin_id,
            *(self._marks + zlib.crc32(piece) % self._pieces for piece in pieces),
        ]

    def continuation(self, prompt: Sequence[int], new: Sequence[int]) -> str:  # noqa: ARG002
        """Show each token as ``<number>``: a hash cannot be read back, and two look different."""
        return "".join(f"<{token}>" for token in new)


class HubTokenizer:
    """A tokenizer of transformers.

    Args:
        tokenizer: what ``AutoTokenizer.from_pretrained`` returned.
        stop_ids: the tokens that end a text, from the model's generation settings.
        longest: tokens of a text beyond this are cut off, or None to keep all.
    """

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401 - transformers has no types
        *,
        stop_ids: frozenset[int] = frozenset(),
        longest: int | None = None,
    ) -> None:
        ends = [tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id]
        known = [end for end in ends if end is not None]
        # Padding is masked, so that any token can stand for it.
        self.pad_id: int = known[0] if known else 0
        self.stop_ids = stop_ids
        self._begin_id: int = known[-1] if known else 0
        self._tokenizer = tokenizer
        self._longest = longest

    def encode(self, text: str) -> list[int]:
        """Return the text's tokens with the marks that the model was trained with."""
        limit = {} if self._longest is None else {"truncation": True, "max_length": self._longest}
        ids: list[int] = self._tokenizer(text, **limit)["input_ids"]
        return ids or [self._begin_id]

    def continuation(self, prompt: Sequence[int], new: Sequence[int]) -> str:
        """Decode both together: what a token reads like depends on the one before it."""
        before: str = self._tokenizer.decode(list(prompt), skip_special_tokens=True)
        whole: str = self._tokenizer.decode([*prompt, *new], skip_special_tokens=True)
        return whole[len(before) :]
