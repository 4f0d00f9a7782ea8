"""The rows of an ``--input-data`` file as the bytes of requests."""

from __future__ import annotations

import base64
import json
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tuner.load.inputs import Input

BYTES = "BYTES"
BF16 = "BF16"

TYPES = {
    "BOOL": "<?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""The protocol's name of a data type → NumPy's, little-endian. BF16 and BYTES are not among
NumPy's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTensor:
    """One input of a request.

    Attributes:
        name: of the input.
        data_type: as the inference protocol names it, such as ``BYTES``.
        shape: without the batch dimension.
        data: in the form of Triton's binary tensor data extension.
    """

    name: str
    data_type: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request of one row, and the texts in it."""

    tensors: tuple[RequestTensor, ...]
    texts: tuple[str, ...]


def read_rows(path: Path, inputs: Sequence[Input], *, most: int) -> tuple[Row, ...]:
    """Read the first rows of a file that perf_analyzer could send.

    Of a row that is a list of steps, the first step is taken.

    Args:
        path: the file.
        inputs: all inputs of the model, for their data types and shapes.
        most: rows wanted.

    Raises:
        UsageError: the file cannot be read, or a value does not fit the model's inputs.
    """
    by_name = {one.name: one for one in inputs}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["data"]
        steps = [row[0] if isinstance(row, list) else row for row in rows[:most]]
        return tuple(_row(step, by_name) for step in steps)
    except OSError as error:
        raise UsageError(f"Cannot read the input data {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise UsageError(
            f"{path} does not fit the model's inputs ({type(error).__name__}: {error}). Each row "
            "is an object of the inputs' names, with a list of values or content and shape."
        ) from error


def _row(step: object, inputs: dict[str, Input]) -> Row:
    if not isinstance(step, dict):
        raise TypeError(f"a row is {step!r}")
    read = [_tensor(value, inputs[name]) for name, value in step.items()]
    return Row(
        tensors=tuple(tensor for tensor, _ in read),
        texts=tuple(text for _, texts in read for text in texts),
    )


def _tensor(value: Any, item: Input) -> tuple[RequestTensor, tuple[str, ...]]:  # noqa: ANN401 - JSON
    shape, data_type = None, _protocol_name(item.data_type)
    if isinstance(value, dict):
        shape = value.get("shape")
        value = value["content"] if "content" in value else base64.b64decode(value["b64"])
    texts: tuple[str, ...] = ()
    if isinstance(value, bytes):
        data, count = value, None
        if data_type == BYTES:  # one element, such as an image
            data = struct.pack("<I", len(value)) + value
    else:
        flat = list(_flat(value))
        if data_type == BYTES:
            texts = tuple(str(one) for one in flat)
        data, count = _bytes(data_type, flat), len(flat)
    whole = _shape(item.dims, count) if shape is None else tuple(int(dim) for dim in shape)
    return RequestTensor(name=item.name, data_type=data_type, shape=whole, data=data), texts


def _protocol_name(data_type: str) -> str:
    """``TYPE_STRING`` of a config.pbtxt is ``BYTES`` on the wire; the others keep their name."""
    name = data_type.removeprefix("TYPE_")
    return BYTES if name == "STRING" else name


def _flat(value: Any) -> Sequence[Any]:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return [one for part in value for one in _flat(part)]
    return [value]


def _bytes(data_type: str, values: Sequence[Any]) -> bytes:
    if data_type == BYTES:
        raw = [str(value).encode() for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in raw)
    if data_type == BF16:  # the upper half of a float
        return np.asarray(values, "<f4").view("<u2")[1::2].tobytes()
    return np.asarray(values, TYPES[data_type]).tobytes()


def _shape(dims: tuple[int, ...], count: int | None) -> tuple[int, ...]:
    """The shape that a config.pbtxt declares, an open dimension being what the values fill."""
    known = math.prod(dim for dim in dims if dim > 0)
    rest = 1 if count is None else max(count // known, 1)
    opened = [place for place, dim in enumerate(dims) if dim < 0]
    return tuple(rest if opened[:1] == [place] else max(dim, 1) for place, dim in enumerate(dims))
