"""Triton's model repository API over HTTP: what a server that runs already lets be changed.

The protocol is Triton's ``protocol/extension_model_repository.md``.
"""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tuner.errors import MachineError, TrialAborted
from tuner.servers.readiness import get, read_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

State: TypeAlias = Literal["ready", "loading", "unloading", "unavailable"]

_STATES: Mapping[str, State] = {
    "LOADING": "loading",
    "UNLOADING": "unloading",
    "READY": "ready",
}
_ANSWER_S = 10.0
_POLL_S = 0.02
_OK = 200
_NOT_EXPLICIT = "not allowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The server answered with an error.

    Attributes:
        why: its words.
    """

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryApi:
    """One server.

    Attributes:
        address: its HTTP service, ``host:port``.
    """

    address: str

    def version(self) -> str:
        """Return the server's version.

        Raises:
            MachineError: nothing answers there as Triton does.
        """
        try:
            told = read_metadata(self.address)
        except (ValueError, KeyError):
            told = {}
        if not told:
            raise MachineError(
                f"No Triton server answers at http://{self.address}. Start it, or name the "
                "address of its HTTP service by --url."
            )
        return told["version"]

    def require_explicit(self) -> None:
        """Check that models can be loaded and unloaded: to unload one that is not there is safe.

        Raises:
            MachineError: they cannot.
        """
        try:
            self.unload("tuner-asks-whether-this-is-allowed")
        except Refused as refused:
            if _NOT_EXPLICIT in refused.why:
                raise MachineError(
                    f"The server at {self.address} does not let models be loaded and unloaded. "
                    "Start it with --model-control-mode=explicit."
                ) from refused

    def is_alive(self) -> bool:
        """Tell whether it answers at all."""
        return get(self.address, "/v2/health/live") is not None

    def state(self, model: str) -> State | None:
        """Return a model's state, None where the server does not know the model."""
        answer = self._post("/v2/repository/index", {}, _ANSWER_S)
        states = [
            str(one.get("state") or "UNAVAILABLE")
            for one in json.loads(answer)
            if one["name"] == model
        ]
        # A model has a state for each version.
        for word, state in _STATES.items():
            if word in states:
                return state
        return "unavailable" if states else None

    def unload(self, model: str, timeout_s: float = _ANSWER_S) -> None:
        """Ask to unload a model; it is done some time later.

        Raises:
            Refused: it may not be.
            TimeoutError: no answer; there is none while the model is being loaded.
        """
        self._post(f"/v2/repository/models/{model}/unload", {}, timeout_s)

    def unload_and_wait(self, model: str, deadline: float) -> bool:
        """Unload a model and wait until it is; whether it was by a time on the monotonic clock."""
        try:
            self.unload(model, deadline - time.monotonic())
        except TimeoutError:
            return False
        while self.state(model) != "unavailable":
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def load(self, model: str, config: str | None, timeout_s: float) -> None:
        """Load a model, with a configuration in place of the one in its folder.

        Args:
            model: its name.
            config: the whole ModelConfig as JSON; None for the folder's own.
            timeout_s: how long it may take.

        Raises:
            Refused: it did not load.
            TimeoutError: it is still loading.
        """
        body = {} if config is None else {"parameters": {"config": config}}
        self._post(f"/v2/repository/models/{model}/load", body, timeout_s)

    def _post(self, path: str, body: Mapping[str, Any], timeout_s: float) -> str:
        connection = http.client.HTTPConnection(self.address, timeout=max(timeout_s, 0.001))
        try:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            answer = response.read().decode(errors="replace")
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise TrialAborted(
                f"The server at {self.address} went away: {str(error) or type(error).__name__}. "
                "Start it again, then run the same line again."
            ) from error
        finally:
            connection.close()
        if response.status != _OK:
            raise Refused(why=_error_of(answer))
        return answer


def _error_of(answer: str) -> str:
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return answer
