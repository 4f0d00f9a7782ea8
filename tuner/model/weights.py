"""Which weights a model is served with: ``tune … --weights pretrained|dummy``."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.model.serving_code import ARCHITECTURE

if TYPE_CHECKING:
    from tuner.model.config import ModelConfig
    from tuner.model.repository import ModelFolder

PARAMETER = "weights"


class Weights(str, Enum):
    """Where a network's numbers are from."""

    PRETRAINED = "pretrained"
    DUMMY = "dummy"


def with_weights(model: ModelFolder, weights: Weights | None) -> ModelConfig:
    """The model's configuration with other weights; its own where None is asked for.

    Raises:
        UsageError: its code knows no such choice, or it lacks what dummy weights are made from.
    """
    if weights is None:
        return model.config
    if PARAMETER not in model.config.parameters:
        raise UsageError(
            f"--weights does not concern {model.name}: {model.config.path} has no parameter "
            f"`{PARAMETER}`, so its code knows one kind of weights. Leave --weights out."
        )
    if weights is Weights.DUMMY and not (model.path / "1" / ARCHITECTURE).is_file():
        raise UsageError(
            f"--weights dummy needs the shapes of {model.name}, and "
            f"{model.path / '1' / ARCHITECTURE} is not there. Put the model's config.json from "
            "the Hugging Face hub there under that name."
        )
    return model.config.with_parameter(PARAMETER, weights.value)
