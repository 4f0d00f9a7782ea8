"""Configurations, loads and knobs in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import ConfigSyntaxError
from tuner.measure.measurement import ClosedLoop
from tuner.model.config import ModelConfig
from tuner.report.numbers import EMPTY, Cell, plain, words
from tuner.space.triton import (
    DYNAMIC_BATCHING,
    MAX_BATCH_SIZE,
    MAX_QUEUE_DELAY_US,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.measure.measurement import Measurement, Workload
    from tuner.measure.record import Params, TrialRecord

MARKS = {"best": "best", "default": "default", "misses": "misses a limit"}
"""What is said of a configuration beside its name."""


def config_name(model: str, record: TrialRecord) -> str:
    """Such as ``falcon7b_config_7``; the user's own is ``falcon7b_config_default``."""
    return f"{model}_config_{'default' if record.role == 'baseline' else record.number}"


def max_batch_size(params: Params) -> Cell:
    """Rows; a model that takes no batches has no such knob and 0."""
    value = params.get(MAX_BATCH_SIZE, 0)
    return Cell(text=str(value), value=value)


def dynamic_batching(params: Params) -> Cell:
    """``Enabled`` or ``Disabled``."""
    on = bool(params.get(DYNAMIC_BATCHING, False))
    return words("Enabled" if on else "Disabled", on)


def queue_delay(params: Params) -> Cell:
    """Microseconds; nothing where nothing waits."""
    if not params.get(DYNAMIC_BATCHING, False):
        return EMPTY
    value = params.get(MAX_QUEUE_DELAY_US, 0)
    return Cell(text=str(value), value=value)


def gpus_of(trials: Iterable[TrialRecord]) -> int:
    """How many GPUs served in a study, as any of its levels shows."""
    return max((len(level.gpus) for trial in trials for level in trial.outcome.levels), default=0)


def instances(record: TrialRecord, level: Measurement | None, *, gpus: int = 0) -> Cell:
    """How many copies of the model ran, by kind, such as ``3:GPU`` or ``2:GPU + 1:CPU``.

    Args:
        record: of the configuration.
        level: that was measured of it; None where none was.
        gpus: so many served where there is no level to tell.
    """
    gpus = len(level.gpus) if level is not None else gpus
    try:
        config = ModelConfig.parse(record.config_pbtxt, path=Path("config.pbtxt"))
    except ConfigSyntaxError:
        return EMPTY
    totals: dict[str, int] = {}
    for group in config.instance_groups:
        kind = _kind(group.kind, gpus)
        everywhere = kind == "GPU" and not group.gpus
        copies = group.count * max(1, gpus) if everywhere else group.instances
        totals[kind] = totals.get(kind, 0) + copies
    if not totals:
        totals[_kind("KIND_AUTO", gpus)] = max(1, gpus)
    return words(" + ".join(f"{count}:{kind}" for kind, count in totals.items()))


def load(workload: Workload) -> Cell:
    """Concurrency, or requests per second where they come by the clock."""
    if isinstance(workload.load, ClosedLoop):
        return Cell(text=str(workload.load.concurrency), value=workload.load.concurrency)
    return Cell(text=plain(workload.load.rate_per_s), value=workload.load.rate_per_s)


def load_words(workload: Workload) -> str:
    """Such as ``concurrency 16`` or ``50 requests/s``."""
    closed = isinstance(workload.load, ClosedLoop)
    shown = load(workload).text
    return f"concurrency {shown}" if closed else f"{shown} requests/s"


def knobs(record: TrialRecord, level: Measurement | None, *, gpus: int = 0) -> str:
    """A configuration in one line, such as ``max batch 16, dynamic batching, 1000 µs, 3:GPU``.

    The arguments are those of `instances`.
    """
    batching = "no dynamic batching"
    if record.params.get(DYNAMIC_BATCHING, False):
        batching = f"dynamic batching, {queue_delay(record.params).text} µs"
    size = max_batch_size(record.params).text
    return f"max batch {size}, {batching}, {instances(record, level, gpus=gpus).text}"


def _kind(kind: str, gpus: int) -> str:
    """``GPU``, ``CPU`` or ``MODEL``; Triton takes a GPU for KIND_AUTO where there is one."""
    if kind == "KIND_AUTO":
        return "GPU" if gpus else "CPU"
    return kind.removeprefix("KIND_")
