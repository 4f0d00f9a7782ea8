"""The Docker engine of this machine: reached, understood, and its errors in our words."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from tuner.errors import MachineError, TrialAborted, TunerError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOCKET = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that answers.

    Attributes:
        client: the SDK's; it has no types.
        version: of the engine.
        has_nvidia: whether it knows the runtime that gives GPUs to containers.
        is_rootless: whether its root is a user of this machine.
        shares_network: whether a container on the host's network listens on this machine's own
            addresses. It does not where the engine runs in a virtual machine or without root.
    """

    client: Any
    version: str
    has_nvidia: bool
    is_rootless: bool
    shares_network: bool


@contextmanager
def connected(*, instead: str = "use --server local") -> Iterator[Engine]:
    """Reach the engine that DOCKER_HOST names, by default the system's.

    Args:
        instead: what the user may do without one.

    Raises:
        MachineError: none answers, or it is on another machine.
        TrialAborted: it fails or goes away in between.
    """
    address = os.environ.get("DOCKER_HOST") or _SOCKET
    if not address.startswith("unix://"):
        raise MachineError(
            f"DOCKER_HOST names {address}, which may be another machine, and a trial needs the "
            "engine's files and ports here. Run `tune` on that machine, or serve there and use "
            "--server remote."
        )
    _knock(address, instead)
    try:
        client = docker.DockerClient(base_url=address, version="auto")
    except DockerException as error:
        raise MachineError(
            f"What answers at {address} is no Docker engine: {said(error)}. Check DOCKER_HOST, or "
            f"{instead}."
        ) from error
    try:
        yield _engine(client)
    except TunerError:
        raise
    except (DockerException, RequestException) as error:
        raise TrialAborted(
            f"The Docker engine at {address} failed: {said(error)}. Look at its own log "
            "(journalctl -u docker), then run the same line again."
        ) from error
    finally:
        client.close()


def said(error: Exception) -> str:
    """Return the engine's own words of an error, as one line without a full stop."""
    text = error.explanation if isinstance(error, APIError) else None
    return " ".join(str(text or error).split()).rstrip(" .")


def _engine(client: Any) -> Engine:  # noqa: ANN401 - the SDK has no types
    told = client.info()
    is_rootless = "name=rootless" in (told.get("SecurityOptions") or [])
    in_machine = "Docker Desktop" in told.get("OperatingSystem", "")
    return Engine(
        client=client,
        version=told["ServerVersion"],
        has_nvidia="nvidia" in (told.get("Runtimes") or {}),
        is_rootless=is_rootless,
        shares_network=not (is_rootless or in_machine),
    )


def _knock(address: str, instead: str) -> None:
    """Try the engine's socket: its SDK has one error for all that can be wrong with it."""
    try:
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.connect(address.removeprefix("unix://"))
    except PermissionError as error:
        raise MachineError(
            f"This user may not use the Docker engine at {address}. Join its group (sudo usermod "
            f"-aG docker $USER, then log in again), or {instead}."
        ) from error
    except OSError as error:
        raise MachineError(
            f"No Docker engine answers at {address}: {error.strerror or error}. Start it (sudo "
            f"systemctl start docker), name another by DOCKER_HOST, or {instead}."
        ) from error
