"""What a model costs to run: the numbers behind ``--server sim``.

They are read from ``simulation.json`` beside the model's config.pbtxt::

    {"base_ms": 10.0, "per_row_ms": 1.0, "contention": 0.0, "cv": 0.02}

Every key is a field of CostModel; ``faults`` is an object with the fields of Faults.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import cattrs
from cattrs.v import format_exception

from tuner.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "simulation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong on purpose; off by default. The checks of a measurement must see it.

    Attributes:
        warmup_s: for so long after loading every batch takes ``warmup_factor`` as long.
        warmup_factor: see above.
        client_stall_s: a run's clients beyond the first channel's six begin so much later.
        pause_every_s: every so many seconds one batch takes ``pause_ms`` longer; 0 is never.
        pause_ms: see above.
        failing_share: this share of the requests is answered with an error.
    """

    warmup_s: float = 0.0
    warmup_factor: float = 3.0
    client_stall_s: float = 0.0
    pause_every_s: float = 0.0
    pause_ms: float = 0.0
    failing_share: float = 0.0

    def __post_init__(self) -> None:
        _refuse_negative(self)
        if self.failing_share > 1:
            raise ValueError(f"`failing_share` is a share, at most 1, but is {self.failing_share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """One model on one device.

    Attributes:
        base_ms: compute time of a batch, apart from its rows.
        per_row_ms: compute time that each row adds.
        table_ms: batch size → compute time; takes the place of the two above. Linear between
            two sizes and, with the slope of the last two, beyond them.
        contention: how much slower a batch runs for each *other* instance that computes at
            the same moment; 1.0 means that a second instance gains nothing.
        cv: coefficient of variation of a batch's compute time (log-normal).
        autocorrelation: of that noise, from one batch to the next (first order), 0 to < 1.
        cv_start: coefficient of variation between starts of the server.
        first_batch_ms: added to the first batch of each size after a start.
        batch_overhead_ms: time of an instance between the end of a batch and the next one.
        request_overhead_ms: time of an instance to send one response.
        network_ms: mean of the way from the client to Triton's queue; exponential, as the
            order of arrivals is never the same twice.
        timer_late_ms: how late Triton's batcher wakes after a queue delay.
        client_ms: processor time of the load generator for one request, one at a time.
        memory_per_instance_bytes: weights and context of one instance.
        memory_per_row_bytes: added for each row of the largest batch, in each instance.
        memory_total_bytes: of the device; None: no GPU, nothing runs out.
        gpu_share: the part of the compute time in which the GPU itself is busy; below 1
            where the processor cannot launch its work fast enough.
        load_time_s: until the model is ready.
        faults: see Faults.
    """

    base_ms: float = 0.0
    per_row_ms: float = 0.0
    table_ms: dict[int, float] | None = None
    contention: float = 0.0
    cv: float = 0.02
    autocorrelation: float = 0.0
    cv_start: float = 0.01
    first_batch_ms: float = 0.0
    batch_overhead_ms: float = 0.1
    request_overhead_ms: float = 0.01
    network_ms: float = 0.1
    timer_late_ms: float = 0.1
    client_ms: float = 0.02
    memory_per_instance_bytes: int = 0
    memory_per_row_bytes: int = 0
    memory_total_bytes: int | None = None
    gpu_share: float = 1.0
    load_time_s: float = 1.0
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        _refuse_negative(self)
        if not self.autocorrelation < 1:
            raise ValueError(f"`autocorrelation` must be below 1, but is {self.autocorrelation}")
        if self.table_ms is not None and min(self.table_ms, default=0) < 1:
            raise ValueError("`table_ms` needs at least one batch size, and none below 1")
        if self.compute_ms(1) <= 0:
            raise ValueError("`base_ms` + `per_row_ms`, or `table_ms`, must be above 0")

    @classmethod
    def read(cls, path: Path) -> CostModel:
        """Read ``simulation.json``.

        Raises:
            UsageError: the file is not there, or does not hold what it should.
        """
        try:
            content = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise UsageError(
                f"{path.parent} has no {FILE_NAME}, so the simulator does not know what the "
                f'model costs. Write one, such as {{"base_ms": 10, "per_row_ms": 1}}, or use '
                "another --server."
            ) from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read as JSON: {error}.") from error
        if not isinstance(content, dict):
            raise UsageError(
                f"{path} is not a cost model: it holds no JSON object. Write one, such as "
                '{"base_ms": 10, "per_row_ms": 1}.'
            )
        try:
            return cattrs.Converter(forbid_extra_keys=True).structure(content, cls)
        except (cattrs.BaseValidationError, ValueError, TypeError) as error:
            raise UsageError(
                f"{path} is not a cost model: {'; '.join(_reasons(error))}. "
                f"Its keys are {', '.join(item.name for item in fields(cls))}."
            ) from error

    def compute_ms(self, rows: int) -> float:
        """Compute time of a batch that runs alone, without noise."""
        if self.table_ms is None:
            return self.base_ms + self.per_row_ms * rows
        sizes = sorted(self.table_ms)
        if len(sizes) == 1:
            return self.table_ms[sizes[0]]
        right = min(max(bisect_left(sizes, rows), 1), len(sizes) - 1)
        low, high = sizes[right - 1], sizes[right]
        slope = (self.table_ms[high] - self.table_ms[low]) / (high - low)
        return self.table_ms[low] + slope * (rows - low)

    def memory_bytes(self, *, instances: int, rows: int) -> int:
        """Device memory that a server holds whose largest batch has ``rows`` rows."""
        return instances * (self.memory_per_instance_bytes + rows * self.memory_per_row_bytes)


def _refuse_negative(numbers: CostModel | Faults) -> None:
    for item in fields(numbers):
        value = getattr(numbers, item.name)
        if isinstance(value, (int, float)) and not 0 <= value < float("inf"):
            raise ValueError(f"`{item.name}` must be a number from 0, but is {value}")


def _reasons(error: Exception) -> list[str]:
    if isinstance(error, cattrs.BaseValidationError):
        return cattrs.transform_error(error, format_exception=_reason)
    return [str(error)]


def _reason(error: BaseException, wanted: type | None) -> str:
    # A ValueError says more than that the value is invalid: it is often our own, from above.
    return str(error) if isinstance(error, ValueError) else format_exception(error, wanted)
