"""What the requests of a load carry, in the form of perf_analyzer's ``--input-data``."""

from __future__ import annotations

import base64
import json
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Different lengths and words, so that batch-mates are not alike; plain ASCII and a little more,
# so that a model that mistakes bytes for characters is found out.
TEXTS = (
    "The first rule of a good measurement is",
    "Hello",
    "In the middle of the night the lighthouse keeper heard a sound, and he knew what it was:",
    "Seven times eight is",
    "A recipe for bread needs flour, water, salt and",
    "Zürich, São Paulo and Kraków are",
    "Once upon a time, in a small town between two rivers, there lived a clockmaker who",
    "Why is the sky blue?",
)
_BFLOAT16 = "BF16"
# Triton's data types → the struct codes of one little-endian element.
_CODES = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
    _BFLOAT16: "f",
}
_STRINGS = frozenset({"STRING", "BYTES"})
_FLOATS = frozenset({"FP16", "FP32", "FP64", _BFLOAT16})


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a model, as its config.pbtxt declares it.

    Attributes:
        name: the tensor's name.
        data_type: Triton's, such as ``TYPE_STRING`` or ``TYPE_FP32``.
        dims: without the batch dimension; -1 is open and is sent as 1.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]


def input_data(inputs: Sequence[Input], *, texts: Sequence[str] = TEXTS) -> dict[str, Any]:
    """Return as many different rows as there are texts, ready to be written as JSON.

    Strings are the texts. Whole numbers and booleans are all 1, which is valid as a token, a
    mask and a length; other numbers differ from row to row, between 0 and 1.

    Raises:
        UsageError: a data type that Triton does not have.
    """
    rows = [
        {item.name: _tensor(item, row=row, texts=texts) for item in inputs}
        for row in range(len(texts))
    ]
    return {"data": rows}


def write_input_data(inputs: Sequence[Input], path: Path, *, texts: Sequence[str] = TEXTS) -> None:
    """Write `input_data` to a file.

    Raises:
        UsageError: a data type that Triton does not have, or the file cannot be written.
    """
    content = json.dumps(input_data(inputs, texts=texts), ensure_ascii=False, indent=1)
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Cannot write the inputs of the load to {path}: {error}.") from error


def check_input_data(path: Path) -> None:
    """Check the shape of a user's own file before anything is started.

    Raises:
        UsageError: it cannot be read, is not JSON, or has no rows under ``data``.
    """
    hint = 'Expected {"data": [{"INPUT": …}, …]}, as perf_analyzer reads it.'
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the input data {path}: {error}.") from error
    except ValueError as error:  # also what is not UTF-8
        raise UsageError(f"{path} is not JSON: {error}. {hint}") from error
    rows = content.get("data") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"{path} has no rows. {hint}")


def _tensor(item: Input, *, row: int, texts: Sequence[str]) -> dict[str, Any]:
    shape = [max(dim, 1) for dim in item.dims]
    elements = math.prod(shape)
    data_type = item.data_type.removeprefix("TYPE_")
    if data_type in _STRINGS:
        content = [texts[(row + index) % len(texts)] for index in range(elements)]
        return {"content": content, "shape": shape}
    if data_type not in _CODES:
        raise UsageError(
            f"Input {item.name} has the data type {item.data_type}, for which no values can be "
            "made. Give a file with --input-data."
        )
    # base64 is the one form that perf_analyzer takes for every type; it has no text for FP16.
    return {"b64": base64.b64encode(_bytes(data_type, row, elements)).decode(), "shape": shape}


def _bytes(data_type: str, row: int, elements: int) -> bytes:
    if data_type not in _FLOATS:
        return struct.pack(f"<{elements}{_CODES[data_type]}", *[1] * elements)
    values = [((row + index) % 8 + 1) / 8 for index in range(elements)]
    packed = struct.pack(f"<{elements}{_CODES[data_type]}", *values)
    if data_type == _BFLOAT16:  # the upper half of a float
        return b"".join(packed[start + 2 : start + 4] for start in range(0, len(packed), 4))
    return packed
