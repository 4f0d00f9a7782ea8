"""What one instance has to know, read from what Triton passes to ``initialize``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Task = Literal["text-generation", "embedding"]
Weights = Literal["pretrained", "dummy"]
Dtype = Literal["float32", "float16", "bfloat16"]

TASKS: tuple[Task, ...] = ("text-generation", "embedding")
WEIGHTS: tuple[Weights, ...] = ("pretrained", "dummy")
DTYPES: tuple[Dtype, ...] = ("float32", "float16", "bfloat16")


Choice = TypeVar("Choice", bound=str)


class BadConfig(ValueError):  # noqa: N818 - named beside BadRequest
    """A parameter in config.pbtxt that cannot be meant; the model does not load."""


@dataclass(frozen=True)
class Settings:
    """One model instance's settings.

    Attributes:
        task: what the model does with a text.
        huggingface_model: the model's id on the hub, or a folder.
        weights: from the hub's files, or random ones of the same shapes, made on the device.
        weights_package: a Python package that holds the files in ``model/``, or None.
        torch_dtype: the weights' type.
        attn_implementation: as transformers names it: ``sdpa``, ``eager``, ``flash_attention_2``.
        max_input_length: an embedding's text is cut after so many tokens; None for all that the
            network takes.
        max_output_length: new tokens per row where the request does not say ``max_tokens``.
        seed: of dummy weights.
        device: as torch names it.
        threads: how many threads one operation may use on the CPU.
    """

    task: Task
    huggingface_model: str
    weights: Weights
    weights_package: str | None
    torch_dtype: Dtype
    attn_implementation: str
    max_input_length: int | None
    max_output_length: int
    seed: int
    device: str
    threads: int


def read_settings(args: Mapping[str, str]) -> Settings:
    """Read Triton's ``initialize`` arguments.

    Raises:
        BadConfig: a parameter is missing or has a value that cannot be meant.
    """
    config = json.loads(args["model_config"])
    entries = config.get("parameters", {})
    values = {name: str(entry["string_value"]) for name, entry in entries.items()}
    return Settings(
        task=_one_of(values, "task", TASKS),
        huggingface_model=_text(values, "huggingface_model"),
        weights=_one_of(values, "weights", WEIGHTS),
        weights_package=values.get("weights_package"),
        torch_dtype=_one_of(values, "torch_dtype", DTYPES),
        attn_implementation=_text(values, "attn_implementation"),
        max_input_length=(
            _number(values, "max_input_length", default="1", least=1)
            if "max_input_length" in values
            else None
        ),
        max_output_length=_number(values, "max_output_length", default="1", least=1),
        seed=_number(values, "seed", default="0", least=0),
        device=_device(args["model_instance_kind"], args["model_instance_device_id"]),
        threads=_threads(values, config),
    )


def _device(kind: str, device_id: str) -> str:
    """Name the device that Triton gave to this instance; the model does not choose its own."""
    if kind == "GPU":
        return f"cuda:{device_id}"
    if kind == "CPU":
        return "cpu"
    raise BadConfig(
        f"instance_group kind KIND_{kind} leaves the device to the model, which does not choose:"
        " write KIND_GPU, KIND_CPU or KIND_AUTO in config.pbtxt."
    )


def _threads(values: Mapping[str, str], config: Mapping[str, object]) -> int:
    """``threads`` of config.pbtxt; by default the instances on the CPU share its cores."""
    if "threads" in values:
        return _number(values, "threads", default="1", least=1)
    groups = config.get("instance_group")
    counts = [
        int(group.get("count", 1))
        for group in (groups if isinstance(groups, list) else [])
        if group.get("kind") != "KIND_GPU"
    ]
    return max(1, len(os.sched_getaffinity(0)) // max(1, sum(counts)))


def _text(values: Mapping[str, str], name: str) -> str:
    if not values.get(name):
        raise BadConfig(f"config.pbtxt lacks the parameter {name!r}.")
    return values[name]


def _one_of(values: Mapping[str, str], name: str, allowed: tuple[Choice, ...]) -> Choice:
    given = _text(values, name)
    for choice in allowed:
        if choice == given:
            return choice
    raise BadConfig(
        f"config.pbtxt: parameter {name!r} is {given!r}; it can be {', '.join(allowed)}."
    )


def _number(values: Mapping[str, str], name: str, *, default: str, least: int) -> int:
    given = values.get(name, default)
    if not given.isdecimal() or int(given) < least:
        raise BadConfig(
            f"config.pbtxt: parameter {name!r} is {given!r}; it must be a whole number of at"
            f" least {least}."
        )
    return int(given)
