"""The four knobs as edits of the user's text. What has its value already is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.model import reading, splice
from tuner.model.pbtxt import Array

if TYPE_CHECKING:
    from tuner.measure.record import Params, Value
    from tuner.model.config import ModelConfig
    from tuner.model.pbtxt import Message
    from tuner.model.splice import Splice

_MAX_BATCH_SIZE = "max_batch_size"
_BATCHER = "dynamic_batching"
_DELAY = "max_queue_delay_microseconds"
_COUNT = "instance_count"
_SIZES = "preferred_batch_size"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The knobs that are to be set; None leaves one as it is."""

    max_batch_size: int | None
    dynamic_batching: bool | None
    max_queue_delay_microseconds: int | None
    instance_count: int | None

    @classmethod
    def of(cls, params: Params) -> Wanted:
        """Check types and bounds.

        Raises:
            ValueError: an unknown knob, or a value that it cannot have.
        """
        if unknown := sorted(params.keys() - {_MAX_BATCH_SIZE, _BATCHER, _DELAY, _COUNT}):
            raise ValueError(f"unknown knobs: {', '.join(unknown)}")
        batching = params.get(_BATCHER)
        if not (batching is None or isinstance(batching, bool)):
            raise ValueError(f"`{_BATCHER}` takes True or False, not {batching!r}")
        return cls(
            max_batch_size=_int(params.get(_MAX_BATCH_SIZE), _MAX_BATCH_SIZE),
            dynamic_batching=batching,
            max_queue_delay_microseconds=_int(params.get(_DELAY), _DELAY, reading.UINT64_MAX),
            instance_count=_int(params.get(_COUNT), _COUNT, least=1),
        )


def _int(
    value: Value | None, name: str, most: int = reading.INT32_MAX, *, least: int = 0
) -> int | None:
    if value is None or (type(value) is int and least <= value <= most):
        return value
    raise ValueError(f"`{name}` takes an int from {least} to {most}, not {value!r}")


def edit_max_batch_size(config: ModelConfig, wanted: Wanted) -> list[Splice]:
    """Set ``max_batch_size``; drop or lower the sizes elsewhere that would no longer fit."""
    size = wanted.max_batch_size
    if size is None or size == config.max_batch_size:
        return []
    document = config.document
    splices = [splice.put(document, document.root, _MAX_BATCH_SIZE, str(size))]
    splices += [
        splice.put(document, sample, "batch_size", str(size))
        for sample in reading.messages(document, document.root, "model_warmup")
        if (reading.one_int(document, sample, "batch_size") or 0) > size
    ]
    batcher = reading.one_message(document, document.root, _BATCHER)
    return splices if batcher is None else splices + _drop_sizes(config, batcher, size)


def _drop_sizes(config: ModelConfig, batcher: Message, most: int) -> list[Splice]:
    document = config.document
    splices: list[Splice] = []
    for field in batcher.named(_SIZES):
        value = field.value
        items = value.items if isinstance(value, Array) else (value,)
        too_large = [i for i in items if reading.as_int(document, i, _SIZES) > most]
        if too_large and len(too_large) == len(items):
            splices.append(splice.remove(document, field))
        elif isinstance(value, Array):
            splices.extend(splice.remove_items(document, value, too_large))
    return splices


def edit_dynamic_batching(config: ModelConfig, wanted: Wanted) -> list[Splice]:
    """Add an empty ``dynamic_batching`` block, or take the block away.

    Raises:
        UsageError: it is to be added beside a scheduler that excludes it.
    """
    if wanted.dynamic_batching in {None, config.dynamic_batching}:
        return []
    document = config.document
    if not wanted.dynamic_batching:
        return [splice.remove(document, field) for field in document.root.named(_BATCHER)]
    for other in ("sequence_batching", "ensemble_scheduling"):
        if document.root.named(other):
            raise UsageError(
                f"{config.path} has `{other}`, and Triton takes no `{_BATCHER}` beside it. "
                f"Tune this model without the knob `{_BATCHER}`."
            )
    return [splice.add(document, document.root, f"{_BATCHER} {{ }}")]


def edit_queue_delay(config: ModelConfig, wanted: Wanted) -> list[Splice]:
    """Set the delay in the ``dynamic_batching`` block, if there is one."""
    delay = wanted.max_queue_delay_microseconds
    if delay is None or delay == config.max_queue_delay_microseconds:
        return []
    document = config.document
    batcher = reading.one_message(document, document.root, _BATCHER)
    return [] if batcher is None else [splice.put(document, batcher, _DELAY, str(delay))]


def edit_instance_count(config: ModelConfig, wanted: Wanted, kind: str | None) -> list[Splice]:
    """Set the count of every group; add a group where there is none and the count is not 1."""
    count = wanted.instance_count
    if count is None:
        return []
    document = config.document
    if not config.instance_groups:
        if count == 1:
            return []
        fields = f"count: {count}" + (f" kind: {kind}" if kind else "")
        return [splice.add(document, document.root, f"instance_group [ {{ {fields} }} ]")]
    messages = reading.messages(document, document.root, "instance_group")
    return [
        splice.put(document, message, "count", str(count))
        for message, group in zip(messages, config.instance_groups, strict=True)
        if group.count != count
    ]
