"""What is done to one container: start it, follow its words, find its process, remove it."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from tuner.errors import MachineError
from tuner.process import is_left_behind
from tuner.servers.container import RUN, STUDY
from tuner.servers.engine import said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Thread

    from tuner.servers.engine import Engine

_LAST_WORDS_S = 10.0


class PortTaken(Exception):  # noqa: N818 - not an error: others are tried
    """Another process listens on a port that was chosen."""


def start(container: Any) -> None:  # noqa: ANN401 - the SDK has no types
    """Start a container that was made.

    Raises:
        MachineError: the engine cannot give it GPUs, or its image has no Triton.
        PortTaken: a port that it publishes is taken.
        APIError: anything else.
    """
    try:
        container.start()
    except APIError as error:
        words = said(error)
        if "could not select device driver" in words or "nvidia" in words.lower():
            raise no_runtime(words) from error
        if "already in use" in words or "already allocated" in words:
            raise PortTaken from error
        if "executable file not found" in words:
            raise MachineError(
                f"The image of {container.name} has no tritonserver on its PATH. Name one that "
                "is made from NGC's tritonserver by --image."
            ) from error
        raise


def no_runtime(words: str = "it has no runtime `nvidia`") -> MachineError:
    """Say what to do about an engine that gives no GPUs."""
    return MachineError(
        f"The Docker engine cannot give GPUs to containers: {words}. Install the NVIDIA Container "
        "Toolkit (nvidia-ctk runtime configure --runtime=docker, then restart docker), or use "
        "--gpus none or --server local."
    )


def follow(container: Any, log: Path) -> None:  # noqa: ANN401 - the SDK has no types
    """Write a container's words to a file, from the first on, until it ends."""
    # Removing the container or closing the client is how this ends at the latest.
    with suppress(DockerException, RequestException), log.open("wb", buffering=0) as file:
        for words in container.logs(stream=True, follow=True):
            file.write(words)


def visible_pid(pid: int, token: str) -> int | None:
    """Return the container's first process, if this machine's processes show it."""
    with suppress(OSError):
        if token.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


def remove(engine: Engine, name: str) -> None:
    """Kill and remove a container with its anonymous volumes; gone already is well too."""
    with suppress(NotFound):
        container = engine.client.containers.get(name)
        try:
            container.remove(force=True, v=True)
        except APIError as error:
            if "already in progress" not in said(error):
                raise


@contextmanager
def removed_afterwards(engine: Engine, name: str) -> Iterator[list[Thread]]:
    """Remove a container at exit, whatever happens; then wait for those who follow its words.

    By name: the engine may have made it although the answer did not get here.
    """
    followers: list[Thread] = []
    try:
        yield followers
    finally:
        try:
            remove(engine, name)
        except KeyboardInterrupt:  # an impatient second Ctrl-C leaves nothing behind either
            remove(engine, name)
            raise
        finally:
            for follower in followers:
                follower.join(_LAST_WORDS_S)


def remove_left_behind(engine: Engine, study: Path) -> int:
    """Remove the containers that a killed run of a study left, and no others; return how many."""
    found = engine.client.containers.list(
        all=True, filters={"label": f"{STUDY}={study.resolve()}"}, ignore_removed=True
    )
    left = [one for one in found if is_left_behind(one.labels.get(RUN, ""), study)]
    for container in left:
        remove(engine, container.name)
    return len(left)
