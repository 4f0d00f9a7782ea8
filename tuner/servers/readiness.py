"""Waiting until a server serves a model."""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.servers.port import Endpoint

Readiness: TypeAlias = Literal["ready", "ended", "late"]

_POLL_S = 0.02
_ANSWER_S = 1.0


def wait_until_ready(
    endpoint: Endpoint,
    *,
    model: str,
    server_id: str,
    ended: Callable[[], bool],
    deadline: float,
) -> Readiness:
    """Wait until the server serves the model, has ended, or is too late.

    Args:
        endpoint: where it will listen.
        model: the model that has to be ready.
        server_id: what the server calls itself. Another server may have got hold of the port
            first and have a model of this name.
        ended: tells whether the server's process is gone.
        deadline: on ``time.monotonic``'s clock.
    """
    while True:
        if ended():
            return "ended"
        if (
            get(endpoint.http, f"/v2/models/{model}/ready") is not None
            and read_metadata(endpoint.http).get("name") == server_id
            and (endpoint.metrics is None or get(endpoint.metrics, "/metrics") is not None)
        ):
            return "ready"
        if time.monotonic() > deadline:
            return "late"
        time.sleep(_POLL_S)


def wait_until_all_ready(
    endpoint: Endpoint,
    *,
    models: Sequence[str],
    server_id: str,
    ended: Callable[[], bool],
    deadline: float,
) -> tuple[Readiness, str]:
    """Wait for each model in turn; tell of the first that is not ready, else of the last."""
    for model in models:
        outcome = wait_until_ready(
            endpoint, model=model, server_id=server_id, ended=ended, deadline=deadline
        )
        if outcome != "ready":
            return outcome, model
    return "ready", models[-1]


def read_metadata(address: str) -> dict[str, str]:
    """Return the server's ``name`` and ``version``; empty while it does not answer."""
    body = get(address, "/v2")
    if body is None:
        return {}
    told = json.loads(body)
    return {key: told[key] for key in ("name", "version")}


def get(address: str, path: str) -> bytes | None:
    """Return the body of a successful answer, None for any other or none at all."""
    connection = http.client.HTTPConnection(address, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if response.status == http.client.OK else None
