"""What Triton's Python backend loads: requests in, one response for each out."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .batching import Ask, BadRequest, answer
from .settings import read_settings


class TritonPythonModel:
    """One instance of the model; each instance is a process with its own weights."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network onto the device that Triton gave to this instance.

        What is imported lasts. Looking through it for garbage, over and over, would be a sixth
        of the start, and would go on to take its time from requests.
        """
        gc.disable()
        from .loading import load_engine

        self.settings = read_settings(args)
        self.engine: Any = load_engine(self.settings, Path(__file__).parent)
        gc.freeze()
        gc.enable()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all requests in one batch, in their order, each with its own texts only."""
        tensors = [
            pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()
            for request in requests
        ]
        asks = [
            Ask(rows=tuple(tensor.reshape(-1)), parameters=request.parameters())
            for request, tensor in zip(requests, tensors, strict=True)
        ]
        results = answer(asks, self.engine)
        return [
            self._response(result, tensor.shape)
            for result, tensor in zip(results, tensors, strict=True)
        ]

    def _response(self, result: Any, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - the backend has no types
        if isinstance(result, BadRequest):
            error = pb_utils.TritonError(str(result), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(output_tensors=[], error=error)
        if self.settings.task == "embedding":
            # One text of (rows, 1) becomes one vector of (rows, dimensions).
            vectors = np.array(result.answers, dtype=np.float32).reshape(*shape[:-1], -1)
            return pb_utils.InferenceResponse([pb_utils.Tensor("embedding", vectors)])
        texts = np.array([text.encode() for text in result.answers], dtype=np.object_)
        output = pb_utils.Tensor("text_output", texts.reshape(shape))
        return pb_utils.InferenceResponse([output])
