"""Ask a model on a running server: what `tune query` does, over plain HTTP and JSON."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from tuner.errors import MachineError, TunerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEADLINE_S = 300.0
_FAULT_OF_THE_SERVER = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """A tensor as the server describes it; its shape is with the batch dimension, -1 for any."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model as the server describes it."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Client:
    """A server that speaks Triton's HTTP protocol.

    Args:
        url: ``HOST:PORT``, with or without ``http://`` before it.

    Raises:
        UsageError: the address is none.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "//" in url else f"//{url}")
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme not in {"", "http"} or not parts.hostname or port is None:
            raise UsageError(f"{url!r} is no address; write HOST:PORT, such as 127.0.0.1:8000.")
        self._url = url
        self._host, self._port, self._root = parts.hostname, port, parts.path.rstrip("/")

    def model(self, name: str) -> ModelInfo:
        """Ask what a model takes and gives, and whether it is ready.

        Raises:
            UsageError: the server has no such model, or it is not ready.
            MachineError: there is no Triton.
        """
        status, told = self._call("GET", f"{_path(name)}/ready", None)
        if status != http.client.OK:
            reason = told.get("error") or "it is not loaded"
            raise UsageError(
                f"The server at {self._url} does not serve {name} ({reason}). "
                f"Start one that does: tune serve {name}"
            )
        told = self._checked("GET", _path(name), None)
        if not ("inputs" in told and "outputs" in told):
            raise self._no_triton("it does not know what a model is")
        return ModelInfo(inputs=_tensors(told["inputs"]), outputs=_tensors(told["outputs"]))

    def infer(
        self, name: str, info: ModelInfo, text: str, parameters: Mapping[str, object]
    ) -> dict[str, Any]:
        """Send one text to the infer endpoint; return every output's numbers or texts.

        Raises:
            UsageError: the model takes something else, or refuses the request.
            TunerError: the server failed.
            MachineError: it does not answer.
        """
        tensor = text_input(name, info)
        asked = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": [max(1, size) for size in tensor.shape],
            "data": [text],
        }
        body = {"inputs": [asked], "parameters": dict(parameters)}
        told = self._checked("POST", f"{_path(name)}/infer", body)
        return {output["name"]: output["data"] for output in told["outputs"]}

    def generate(
        self, name: str, info: ModelInfo, text: str, parameters: Mapping[str, object]
    ) -> dict[str, Any]:
        """Send one text to the generate endpoint; as `infer`."""
        body = {text_input(name, info).name: text, **parameters}
        told = self._checked("POST", f"{_path(name)}/generate", body)
        return {output.name: told[output.name] for output in info.outputs if output.name in told}

    def _checked(
        self, method: str, path: str, body: Mapping[str, object] | None
    ) -> dict[str, Any]:
        status, told = self._call(method, path, body)
        if status == http.client.OK:
            return told
        reason = told.get("error") or f"HTTP status {status}"
        kind = TunerError if status >= _FAULT_OF_THE_SERVER else UsageError
        raise kind(f"The server at {self._url} answered: {reason}")

    def _call(
        self, method: str, path: str, body: Mapping[str, object] | None
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_DEADLINE_S)
        try:
            connection.request(
                method, self._root + path, None if body is None else json.dumps(body)
            )
            response = connection.getresponse()
            text = response.read().decode("utf-8", errors="replace")
        except OSError as error:
            why = error.strerror or str(error)
            raise MachineError(
                f"No server answers at {self._url} ({why}). Start one with tune serve MODEL, or "
                "name another by --url."
            ) from error
        except http.client.HTTPException as error:
            raise self._no_triton("it does not speak HTTP") from error
        finally:
            connection.close()
        try:
            told = json.loads(text) if text.strip() else {}
        except json.JSONDecodeError:
            told = None
        if not isinstance(told, dict):
            raise self._no_triton("its answer is not JSON")
        return response.status, told

    def _no_triton(self, why: str) -> MachineError:
        return MachineError(
            f"What answers at {self._url} is no Triton server: {why}. "
            "Name the HTTP address of one by --url."
        )


def text_input(name: str, info: ModelInfo) -> TensorInfo:
    """Return the one input of a model that takes a text.

    Raises:
        UsageError: it takes something else, or more.
    """
    takes_text = (
        len(info.inputs) == 1
        and info.inputs[0].datatype == "BYTES"
        and all(size in {-1, 1} for size in info.inputs[0].shape)
    )
    if not takes_text:
        takes = ", ".join(
            f"{tensor.name} ({tensor.datatype} {list(tensor.shape)})" for tensor in info.inputs
        )
        raise UsageError(f"{name} does not take one text but {takes}; tune query sends one text.")
    return info.inputs[0]


def as_text(answer: Mapping[str, Any]) -> str:
    """What to print of an answer: the text alone where there is one, else JSON."""
    values = list(answer.values())
    while len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return json.dumps(values if len(answer) == 1 else dict(answer), ensure_ascii=False)


def _path(name: str) -> str:
    return f"/v2/models/{quote(name, safe='')}"


def _tensors(told: list[dict[str, Any]]) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(
            name=tensor["name"],
            datatype=tensor["datatype"],
            shape=tuple(tensor["shape"]),
        )
        for tensor in told
    )
