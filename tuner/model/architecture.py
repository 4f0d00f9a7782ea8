"""A network's shapes as the Hugging Face hub, its cache or a folder describes them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tuner.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_SHAPES = {"_name_or_path", "architectures", "auto_map", "dtype", "transformers_version"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What dummy weights are made from.

    Attributes:
        fields: for ``AutoConfig.for_model``, as JSON has them.
        hidden_size: numbers per token in the last layer, or None where it is not said.
        dtype: the published weights' type, such as ``float16``, or None where it is not said.
    """

    fields: Mapping[str, Any]
    hidden_size: int | None
    dtype: str | None


def read_architecture(source: str) -> Architecture:
    """Read a model's published configuration: from the cache first, then from the hub.

    Args:
        source: an id on the hub, or a folder.

    Raises:
        MachineError: it cannot be had, and why.
    """
    try:
        # Through the name, since half of it is typed, which is worse than none.
        auto_config: Any = import_module("transformers").AutoConfig
    except ImportError as error:
        raise MachineError("transformers is not installed beside tune.") from error
    access = {"token": os.environ.get("PRIVATE_REPO_TOKEN") or None, "trust_remote_code": False}
    try:
        try:
            # The cache first: a hub that cannot be reached costs half a minute of retries.
            config = auto_config.from_pretrained(source, local_files_only=True, **access)
        except OSError:
            config = auto_config.from_pretrained(source, **access)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise MachineError(
            f"the configuration of {source} cannot be read: {first_line}"
        ) from error
    told: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    dtype = getattr(config, "dtype", None)
    return Architecture(
        fields={name: value for name, value in told.items() if name not in _NOT_SHAPES},
        hidden_size=getattr(config, "hidden_size", None),
        dtype=None if dtype is None else str(dtype).removeprefix("torch."),
    )
