"""The parts of a model configuration that are read: batcher, instance groups, tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tuner.model import reading

if TYPE_CHECKING:
    from tuner.model.pbtxt import Document, Message

_INT64_MAX: Final = 2**63 - 1
_KINDS: Final = ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")
_DATA_TYPES: Final = (
    "TYPE_INVALID",
    "TYPE_BOOL",
    "TYPE_UINT8",
    "TYPE_UINT16",
    "TYPE_UINT32",
    "TYPE_UINT64",
    "TYPE_INT8",
    "TYPE_INT16",
    "TYPE_INT32",
    "TYPE_INT64",
    "TYPE_FP16",
    "TYPE_FP32",
    "TYPE_FP64",
    "TYPE_STRING",
    "TYPE_BF16",
)
_TWO_ON_CPU: Final = {"onnxruntime", "tensorflow"}
"""Backends of which Triton's core makes two instances on a CPU where no count is given
(``SetDefaultInstanceCount`` in its model_config_utils.cc)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceGroup:
    """One entry of ``instance_group``.

    Attributes:
        count: instances on each device, Triton's default filled in.
        default_count: what Triton takes where no count is given.
        kind: KIND_AUTO where it is absent.
        gpus: device numbers as listed; empty means all of them where the kind is a GPU.
    """

    count: int
    default_count: int
    kind: str
    gpus: tuple[int, ...]

    @property
    def instances(self) -> int:
        """Instances of the group; on each GPU of the machine where none is listed."""
        return self.count * max(1, len(self.gpus))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One entry of ``input`` or ``output``; ``dims`` are without the batch dimension."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    optional: bool


def backend(document: Document) -> str | None:
    """The backend, or the first word of ``platform``, which older files have instead."""
    named = reading.one_text(document, document.root, "backend")
    platform = reading.one_text(document, document.root, "platform")
    return named or (platform.partition("_")[0] if platform else None)


def queue_delay(document: Document, batcher: Message | None) -> int:
    """Longest wait for more requests, in microseconds; 0 where nothing is said of it."""
    if batcher is None:
        return 0
    name = "max_queue_delay_microseconds"
    return reading.one_int(document, batcher, name, most=reading.UINT64_MAX) or 0


def instance_groups(document: Document) -> tuple[InstanceGroup, ...]:
    """Every entry of ``instance_group``, in the order of the file."""
    engine = backend(document)

    def group(message: Message) -> InstanceGroup:
        kind = reading.one_enum(document, message, "kind", _KINDS) or _KINDS[0]
        default = 2 if kind == "KIND_CPU" and engine in _TWO_ON_CPU else 1
        return InstanceGroup(
            count=reading.one_int(document, message, "count") or default,
            default_count=default,
            kind=kind,
            gpus=tuple(reading.as_int(document, e, "gpus") for e in message.elements("gpus")),
        )

    return tuple(map(group, reading.messages(document, document.root, "instance_group")))


def tensors(document: Document, name: str) -> tuple[Tensor, ...]:
    """Every entry of ``input`` or ``output``, in the order of the file."""

    def tensor(message: Message) -> Tensor:
        return Tensor(
            name=reading.one_text(document, message, "name") or "",
            data_type=reading.one_enum(document, message, "data_type", _DATA_TYPES)
            or _DATA_TYPES[0],
            dims=tuple(
                reading.as_int(document, element, "dims", least=-1, most=_INT64_MAX)
                for element in message.elements("dims")
            ),
            optional=reading.one_bool(document, message, "optional"),
        )

    return tuple(map(tensor, reading.messages(document, document.root, name)))


def ensemble_models(document: Document) -> tuple[str, ...]:
    """Names of the models that the steps of an ensemble call, each once."""
    ensemble = reading.one_message(document, document.root, "ensemble_scheduling")
    if ensemble is None:
        return ()
    steps = reading.messages(document, ensemble, "step")
    names = (reading.one_text(document, step, "model_name") for step in steps)
    return tuple(dict.fromkeys(name for name in names if name))


def parameters(document: Document) -> dict[str, str]:
    """The map ``parameters``; of equal keys the last one counts, as in protobuf."""
    found: dict[str, str] = {}
    for entry in reading.messages(document, document.root, "parameters"):
        key = reading.one_text(document, entry, "key") or ""
        value = reading.one_message(document, entry, "value")
        text = None if value is None else reading.one_text(document, value, "string_value")
        found[key] = text or ""
    return found
