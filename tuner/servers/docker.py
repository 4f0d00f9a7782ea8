"""The container server: a new container of the Docker engine for every trial."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from threading import Thread
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, NotFound

from tuner.errors import TrialAborted
from tuner.process import new_token
from tuner.servers import verdict
from tuner.servers.container import INSIDE, Wanted, device_requests
from tuner.servers.container_life import (
    PortTaken,
    follow,
    no_runtime,
    remove,
    remove_left_behind,
    removed_afterwards,
    start,
    visible_pid,
)
from tuner.servers.engine import Engine, connected, said
from tuner.servers.failure import failed_model, is_port_taken
from tuner.servers.image import OUR_IMAGE, Image, is_here, provide
from tuner.servers.local import free_ports
from tuner.servers.port import Endpoint
from tuner.servers.readiness import get, wait_until_all_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tuner.servers.port import ModelHost, Server

_PORT_ATTEMPTS = 3
_NOTICED_S = 5.0
_SIGNALLED = 128
"""Exit codes above are 128 and the number of a signal."""


def _say_nothing(_: str) -> None:
    pass


class DockerServer:
    """Triton in a container of this machine's engine.

    Args:
        study: the study's folder; what is made is labelled with it.
        image: name of the image; ours is built where it is missing, others are pulled.
        gpus: ``all``, ``none``, or indexes or UUIDs with commas between.
        build_args: what our Dockerfile takes, where it is built.
        provides: whether a missing image is built or pulled to be described.
        say: is told what takes long.
        choose_ports: returns so many free ports.

    Raises:
        UsageError: ``gpus`` is not of these forms.
    """

    def __init__(
        self,
        *,
        study: Path,
        image: str = OUR_IMAGE,
        gpus: str = "none",
        build_args: Mapping[str, str] | None = None,
        provides: bool = True,
        say: Callable[[str], None] = _say_nothing,
        choose_ports: Callable[[int], Sequence[int]] = free_ports,
    ) -> None:
        device_requests(gpus)
        self._study = study
        self._image = image
        self._gpus = gpus
        self._build_args = build_args or {}
        self._provides = provides
        self._say = say
        self._choose_ports = choose_ports
        self._locks_memory = True

    def serving(
        self, *, repository: Path, model: str, log: Path, deadline_s: float
    ) -> AbstractContextManager[Endpoint]:
        """Serve one model; see the port and `serving_all`."""
        return self.serving_all(
            repository=repository, models=(model,), log=log, deadline_s=deadline_s
        )

    @contextmanager
    def serving_all(
        self, *, repository: Path, models: Sequence[str], log: Path, deadline_s: float
    ) -> Iterator[Endpoint]:
        """Serve models; see the port.

        At exit the container is killed and removed, as the embedded server is.

        Raises:
            ConfigurationRejected: a model did not load or was not ready in time.
            TrialAborted: the server could not be run at all.
            MachineError: as `describe`.
        """
        deadline = time.monotonic() + deadline_s
        with connected() as engine:
            image = self._provided(engine)
            for _ in range(_PORT_ATTEMPTS):
                with (
                    suppress(PortTaken),
                    self._started(engine, image, repository, models, log) as running,
                ):
                    outcome, model = wait_until_all_ready(
                        running.endpoint,
                        models=models,
                        server_id=running.token,
                        ended=running.ended,
                        deadline=deadline,
                    )
                    match outcome:
                        case "ready":
                            with verdict.blamed_if_ended(running.is_gone, model, log):
                                yield running.endpoint
                            return
                        case "late":
                            raise verdict.late(model, log, deadline_s)
                        case "ended":
                            words = verdict.read_log(log)
                            if is_port_taken(words):
                                raise PortTaken
                            at_fault = failed_model(words, models)
                            raise verdict.ended(at_fault, log, signal=running.signal())
        raise TrialAborted(
            f"Other processes took the server's ports {_PORT_ATTEMPTS} times in a row; its last "
            f"words are in {log}. Is another program opening ports without end?"
        )

    def describe(self) -> Mapping[str, str]:
        """Tell the versions of Triton, of the image and of the engine; build it where missing.

        Raises:
            MachineError: no engine, no image, or no runtime for the GPUs that are wanted.
        """
        with connected() as engine:
            told = {
                "server": "docker",
                "image": self._image,
                "docker": engine.version,
                "gpus": self._gpus,
            }
            if not (self._provides or is_here(engine, self._image)):
                return {**told, "image_id": "not here yet; a run builds or pulls it"}
            image = self._provided(engine)
            return {**told, "image_id": image.id, "triton": image.triton}

    def clean(self) -> int:
        """Remove the containers that a killed run of this study left, and no others."""
        with connected() as engine:
            return remove_left_behind(engine, self._study)

    def _provided(self, engine: Engine) -> Image:
        if self._gpus != "none" and not engine.has_nvidia:
            raise no_runtime()
        return provide(engine, self._image, build_args=self._build_args, say=self._say)

    @contextmanager
    def _started(
        self, engine: Engine, image: Image, repository: Path, models: Sequence[str], log: Path
    ) -> Iterator[_Running]:
        """Run a container; afterwards it is not there any more, and the log is complete."""
        ports = dict(zip(INSIDE, self._choose_ports(len(INSIDE)), strict=True))
        wanted = Wanted(
            image=image.id,
            token=new_token(self._study),
            study=self._study,
            repository=repository,
            models=models,
            gpus=self._gpus,
            ports=ports,
            locks_memory=self._locks_memory,
        )
        log.touch()
        with removed_afterwards(engine, wanted.token) as followers:
            container = self._run(engine, wanted)
            follower = Thread(target=follow, args=(container, log), daemon=True)
            follower.start()
            followers.append(follower)
            container.reload()
            yield _Running(
                token=wanted.token,
                container=container,
                endpoint=_endpoint(container, wanted),
                follower=follower,
            )

    def _run(self, engine: Engine, wanted: Wanted) -> Any:  # noqa: ANN401 - the SDK has no types
        container = engine.client.containers.create(**wanted.settings(engine))
        try:
            start(container)
        except APIError as error:
            if not wanted.locks_memory or "error setting rlimit" not in said(error):
                raise
            self._say("The Docker engine may not lift the limit on locked memory; going on as is.")
            self._locks_memory = False
            remove(engine, wanted.token)
            return self._run(engine, replace(wanted, locks_memory=False))
        return container


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    token: str
    container: Any
    endpoint: Endpoint
    follower: Thread

    def ended(self) -> bool:
        """Tell whether it has ended; then the log is complete."""
        if self.follower.is_alive():  # its words end when it does; asking the engine costs more
            return False
        return self._state()["Status"] in {"exited", "dead"}

    def is_gone(self) -> bool:
        """Tell whether it has ended, where it may have just now: the engine notices later."""
        if get(self.endpoint.http, "/v2/health/live") is None:
            self.follower.join(_NOTICED_S)
        return self.ended()

    def signal(self) -> int | None:
        code: int = self._state()["ExitCode"]
        return code - _SIGNALLED if code > _SIGNALLED else None

    def _state(self) -> dict[str, Any]:
        try:
            self.container.reload()
        except NotFound:  # somebody removed it
            return {"Status": "dead", "ExitCode": 0}
        state: dict[str, Any] = self.container.attrs["State"]
        return state


def _endpoint(container: Any, wanted: Wanted) -> Endpoint:  # noqa: ANN401 - the SDK has no types
    ports = wanted.ports
    return Endpoint(
        http=f"127.0.0.1:{ports['http']}",
        grpc=f"127.0.0.1:{ports['grpc']}",
        metrics=f"127.0.0.1:{ports['metrics']}",
        pid=visible_pid(container.attrs["State"]["Pid"], wanted.token),
    )


if TYPE_CHECKING:
    _: type[Server] = DockerServer
    __: type[ModelHost] = DockerServer
