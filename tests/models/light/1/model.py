"""A model that only takes time: ``base_ms + per_row_ms x rows`` per execute; it echoes its text.

With ``cv`` in config.pbtxt that is the mean of a log-normal time, and ``cv`` its relative standard
deviation. The remaining parameters plant one fault each, for tests; absent means off:

==================  ===============================================================
``fail_load``       loading ends with this text as the error
``warmup_s``        for so many seconds after loading everything takes three times as long
``pause_every_s``   every so many seconds one execute takes ``pause_ms`` longer
``fail_every``      every so-many-th request of an instance is answered with an error
``leak``            ``true``: a response carries the text of the request before it
``swap``            ``true``: the first two responses of a batch are exchanged
==================  ===============================================================
"""

from __future__ import annotations

import json
import math
import random
import time
from typing import Any

import triton_python_backend_utils as pb_utils

WARMUP_FACTOR = 3.0


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the parameters of config.pbtxt."""
        entries = json.loads(args["model_config"]).get("parameters", {})
        parameters = {key: entry["string_value"] for key, entry in entries.items()}
        if "fail_load" in parameters:
            raise pb_utils.TritonModelException(parameters["fail_load"])
        self.base_s = float(parameters["base_ms"]) / 1e3
        self.per_row_s = float(parameters["per_row_ms"]) / 1e3
        self.sigma = math.sqrt(math.log1p(float(parameters.get("cv", "0")) ** 2))
        self.random = random.Random(args["model_instance_name"])  # noqa: S311 - a simulation
        self.warm_at = time.monotonic() + float(parameters.get("warmup_s", "0"))
        self.pause_every_s = float(parameters.get("pause_every_s", "inf"))
        self.pause_s = float(parameters.get("pause_ms", "0")) / 1e3
        self.next_pause_at = time.monotonic() + self.pause_every_s
        self.fail_every = int(parameters.get("fail_every", "0"))
        self.leak = parameters.get("leak") == "true"
        self.swap = parameters.get("swap") == "true"
        self.requests_seen = 0
        self.last_texts: Any = None

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its own texts, once the batch's time is over."""
        started = time.monotonic()
        texts = [
            pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()
            for request in requests
        ]
        responses = [self._response(own) for own in texts]
        if self.swap and len(responses) > 1:
            responses[:2] = responses[1::-1]
        deadline = started + self._seconds(sum(len(own) for own in texts), started)
        # A deadline, not a duration: what was done above is inside the time, not on top of it.
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(left)
        return responses

    def _seconds(self, rows: int, now: float) -> float:
        seconds = self.base_s + self.per_row_s * rows
        if self.sigma:
            seconds *= self.random.lognormvariate(-(self.sigma**2) / 2, self.sigma)
        if now < self.warm_at:
            seconds *= WARMUP_FACTOR
        if now >= self.next_pause_at:
            self.next_pause_at = now + self.pause_every_s
            seconds += self.pause_s
        return seconds

    def _response(self, own: Any) -> Any:  # noqa: ANN401 - an object array; NumPy stays unimported
        self.requests_seen += 1
        if self.fail_every and self.requests_seen % self.fail_every == 0:
            error = pb_utils.TritonError(f"planted: request {self.requests_seen} fails")
            return pb_utils.InferenceResponse(output_tensors=[], error=error)
        texts = own
        if self.leak and self.last_texts is not None and self.last_texts.shape == own.shape:
            texts = self.last_texts
        self.last_texts = own
        return pb_utils.InferenceResponse([pb_utils.Tensor("text_output", texts)])
