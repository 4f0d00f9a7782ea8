"""What Triton counts itself: ``GET v2/models/NAME/stats``.

Its statistics extension: counters since the model was loaded, in ns. ``inference_stats`` counts
requests, ``batch_stats`` counts executions by the number of rows in them.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tuner.errors import TrialAborted
from tuner.measure.measurement import BatchTime, ServerTime

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEADLINE_S = 10.0
_OK = 200
_COMPUTE = ("compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """How often, and for how long in all."""

    count: int = 0
    ns: int = 0

    def __add__(self, other: Counter) -> Counter:
        return Counter(count=self.count + other.count, ns=self.ns + other.ns)

    def __sub__(self, other: Counter) -> Counter:
        return Counter(count=self.count - other.count, ns=self.ns - other.ns)

    @property
    def mean_ms(self) -> float:
        """Mean duration; the count must not be 0."""
        return self.ns / self.count / 1e6


_NONE = Counter()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStats:
    """Triton's counters for a model, at one moment, over all its versions.

    Attributes:
        requests: by what was counted: success, fail, queue, compute_input, compute_infer,
            compute_output.
        batches: executed batch size → executions and their compute time, from the inputs'
            preparation to the outputs': so long it kept its instance busy.
    """

    requests: Mapping[str, Counter] = field(default_factory=dict)
    batches: Mapping[int, Counter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUse:
    """What the server did between two readings.

    Attributes:
        time: where a request's time went; None where none succeeded.
        batches: ascending by size.
        answered: requests that succeeded.
        failed: requests that Triton failed itself. Those that a Python model answers with an
            error count as answered (seen with 2.51.0).
    """

    time: ServerTime | None
    batches: tuple[BatchTime, ...]
    answered: int
    failed: int


def read_stats(http_address: str, model: str) -> ModelStats:
    """Ask a server for its counters.

    Args:
        http_address: ``host:port``.
        model: the model's name.

    Raises:
        TrialAborted: there is no answer, or one that cannot be used.
    """
    where = f"http://{http_address}/v2/models/{model}/stats"
    connection = http.client.HTTPConnection(http_address, timeout=_DEADLINE_S)
    try:
        connection.request("GET", f"/v2/models/{quote(model, safe='')}/stats")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise TrialAborted(
            f"Triton's statistics could not be read at {where}: {error}. "
            "The server's log says whether it still runs."
        ) from error
    finally:
        connection.close()
    if response.status != _OK:
        raise TrialAborted(f"{where} answered {response.status}: {body[:300].decode('latin-1')}")
    try:
        return parse_stats(json.loads(body))
    except (ValueError, KeyError, TypeError) as error:
        raise TrialAborted(
            f"{where} answered what is not Triton's statistics ({error!r}): "
            f"{body[:300].decode('latin-1')}"
        ) from error


def parse_stats(answer: Mapping[str, Any]) -> ModelStats:
    """Read the server's answer.

    Raises:
        KeyError, TypeError, ValueError: it is not laid out as the statistics extension says.
    """
    requests: dict[str, Counter] = {}
    batches: dict[int, Counter] = {}
    for version in answer["model_stats"]:
        for key, entry in version["inference_stats"].items():
            requests[key] = requests.get(key, _NONE) + _counter(entry)
        for entry in version["batch_stats"]:
            parts = [_counter(entry[key]) for key in _COMPUTE]
            size = int(entry["batch_size"])
            whole = Counter(count=parts[1].count, ns=sum(part.ns for part in parts))
            batches[size] = batches.get(size, _NONE) + whole
    return ModelStats(requests=requests, batches=batches)


def difference(before: ModelStats, after: ModelStats) -> ServerUse | None:
    """Return what happened between two readings.

    None where a counter went back: the model was loaded anew in between.
    """
    requests = {
        key: counter - before.requests.get(key, _NONE) for key, counter in after.requests.items()
    }
    sizes = sorted({*before.batches, *after.batches})
    batches = {
        size: after.batches.get(size, _NONE) - before.batches.get(size, _NONE) for size in sizes
    }
    if any(counter.count < 0 for counter in (*requests.values(), *batches.values())):
        return None
    return ServerUse(
        time=_server_time(requests),
        batches=tuple(
            BatchTime(size=size, count=counter.count, compute_ms=counter.mean_ms)
            for size, counter in batches.items()
            if counter.count
        ),
        answered=requests.get("success", _NONE).count,
        failed=requests.get("fail", _NONE).count,
    )


def _server_time(requests: Mapping[str, Counter]) -> ServerTime | None:
    needed = {key: requests.get(key, _NONE) for key in ("queue", *_COMPUTE)}
    if not all(counter.count for counter in needed.values()):
        return None
    return ServerTime(**{f"{key}_ms": counter.mean_ms for key, counter in needed.items()})


def _counter(entry: Mapping[str, Any]) -> Counter:
    return Counter(count=int(entry["count"]), ns=int(entry["ns"]))
