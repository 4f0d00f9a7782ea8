"""Ask a model over HTTP and read its answers, one request after the other or all at once."""

from __future__ import annotations

import json
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from tuner.errors import ConfigurationRejected, TrialAborted
from tuner.load.rows import BF16, BYTES, TYPES, Row
from tuner.measure.answers import Numbers, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.answers import Answer

_LENGTH = "Inference-Header-Content-Length"
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAsker:
    """Sends rows to a server's HTTP endpoint, in the binary form, which knows every data type.

    Source of the form: Triton's binary tensor data extension of the KServe protocol.

    Attributes:
        rows: what can be asked.
        batching: whether requests have a batch dimension (``max_batch_size`` above 0).
        deadline_s: seconds that an answer may take.
    """

    rows: tuple[Row, ...]
    batching: bool
    deadline_s: float = 300.0

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """See Asker."""
        return tuple(row.texts for row in self.rows)

    def ask(self, *, http: str, model: str, numbers: Sequence[int]) -> tuple[Answer, ...]:
        """See Asker."""
        together = threading.Barrier(len(numbers))

        def one(number: int) -> Answer:
            return self._one(http, model, self.rows[number], together)

        with ThreadPoolExecutor(len(numbers)) as pool:
            return tuple(pool.map(one, numbers))

    def _one(self, http: str, model: str, row: Row, together: threading.Barrier) -> Answer:
        header, body = _encoded(row, batching=self.batching)
        path = f"/v2/models/{quote(model, safe='')}/infer"
        try:
            with closing(HTTPConnection(http, timeout=self.deadline_s)) as connection:
                connection.connect()
                together.wait(self.deadline_s)
                connection.request("POST", path, header + body, {_LENGTH: str(len(header))})
                response = connection.getresponse()
                raw, length = response.read(), response.headers.get(_LENGTH)
        except (OSError, HTTPException, threading.BrokenBarrierError) as error:
            together.abort()  # nobody waits for one who does not come
            raise TrialAborted(
                f"No answer came from the server at {http} ({type(error).__name__}: {error}); "
                "its log is beside the trial's other files."
            ) from error
        if response.status != _OK:
            said = raw.decode("utf-8", "replace")
            raise ConfigurationRejected(
                f"The model answers a request with an error, before any load: {_error(said)}. If "
                "the requests that were made up for it do not suit it, give some of your own with "
                "--input-data.",
                said,
            )
        return _decoded(raw, len(raw) if length is None else int(length))


def _encoded(row: Row, *, batching: bool) -> tuple[bytes, bytes]:
    """A request of one row: its JSON header and the tensors behind it."""
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.data_type,
            "shape": [1, *tensor.shape] if batching else list(tensor.shape),
            "parameters": {"binary_data_size": len(tensor.data)},
        }
        for tensor in row.tensors
    ]
    asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    return json.dumps(asked).encode(), b"".join(tensor.data for tensor in row.tensors)


def _decoded(raw: bytes, header: int) -> Answer:
    try:
        outputs = json.loads(raw[:header])["outputs"]
        tensors, start = [], header
        for output in outputs:
            size = int(output["parameters"]["binary_data_size"])
            tensors.append(_tensor(output, raw[start : start + size]))
            start += size
        return tuple(tensors)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise TrialAborted(
            f"The server's answer cannot be read ({type(error).__name__}: {error}); it begins "
            f"with {raw[:200]!r}."
        ) from error


def _tensor(output: dict[str, Any], data: bytes) -> Text | Numbers:
    name, kind = str(output["name"]), str(output["datatype"])
    shape = tuple(int(dim) for dim in output["shape"])
    if kind == BYTES:
        return Text(name=name, shape=shape, values=_texts(data))
    if kind == BF16:  # the upper half of a float
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        values = np.frombuffer(data, TYPES[kind])
    exact = not np.issubdtype(values.dtype, np.floating)
    return Numbers(name=name, shape=shape, values=values.astype(np.float64), exact=exact)


def _texts(data: bytes) -> tuple[str, ...]:
    texts, start = [], 0
    while start < len(data):
        (size,) = struct.unpack_from("<I", data, start)
        start += 4
        texts.append(data[start : start + size].decode("utf-8", "backslashreplace"))
        start += size
    return tuple(texts)


def _error(said: str) -> str:
    """The first line of what Triton says in an answer that is an error, without its full stop."""
    try:
        text = str(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError):
        text = said[:200]
    first = next(iter(text.strip().splitlines()), "it says nothing")
    return first.rstrip(". ")
