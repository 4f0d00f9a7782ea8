"""What a trial's container is made of: its command, folders, limits, network and marks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from tuner.errors import MachineError
from tuner.gpus import names_of
from tuner.process import marks
from tuner.servers.mounts import linked_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.servers.engine import Engine

STUDY: Final = "tuner.study"
RUN: Final = "tuner.run"
INSIDE: Final = {"http": 8000, "grpc": 8001, "metrics": 8002}
"""Ports that Triton listens on where the container has a network of its own."""

_SHARED_MEMORY = "1g"
_STACK_BYTES = 67_108_864
_PASSED_ON = ("PRIVATE_REPO_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT")
"""Variables of ours that models read. They go into the container's environment, nowhere else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A container for one trial.

    Attributes:
        image: id of the image.
        token: its name, from `new_token`.
        study: the study's folder.
        repository: the staged model repository.
        models: those to load.
        gpus: ``all``, ``none``, or indexes or UUIDs with commas between.
        ports: of 127.0.0.1, by service.
        locks_memory: whether it may lock all memory. An engine that is itself held to a limit,
            as one without root is, cannot grant that.
    """

    image: str
    token: str
    study: Path
    repository: Path
    models: Sequence[str]
    gpus: str
    ports: Mapping[str, int]
    locks_memory: bool = True

    def settings(self, engine: Engine) -> dict[str, Any]:
        """Return the arguments of the SDK's ``containers.create``."""
        return {
            "image": self.image,
            "command": self._command(engine),
            "name": self.token,
            "labels": {STUDY: str(self.study.resolve()), RUN: self.token},
            "environment": self._environment(engine),
            "mounts": self._mounts(),
            "device_requests": device_requests(self.gpus),
            "shm_size": _SHARED_MEMORY,
            "ulimits": self._limits(),
            # Readable afterwards, whatever the engine's own default is.
            "log_config": LogConfig(type=LogConfig.types.JSON),
            **run_as(engine),
            **self._network(engine),
        }

    def _limits(self) -> list[Ulimit]:
        memory = [Ulimit(name="memlock", soft=-1, hard=-1)] if self.locks_memory else []
        return [*memory, Ulimit(name="stack", soft=_STACK_BYTES, hard=_STACK_BYTES)]

    def _command(self, engine: Engine) -> list[str]:
        host = "127.0.0.1" if engine.shares_network else "0.0.0.0"  # noqa: S104 - the container's own network; published on 127.0.0.1
        ports = self.ports if engine.shares_network else INSIDE
        listen = [
            option
            for service, port in ports.items()
            for option in (f"--{service}-address={host}", f"--{service}-port={port}")
        ]
        return [
            "tritonserver",
            f"--model-repository={self.repository.absolute()}",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in self.models),
            f"--id={self.token}",
            # As on the embedded server; its adapter says why.
            "--disable-auto-complete-config",
            "--allow-gpu-metrics=false",
            "--exit-timeout-secs=1",
            *listen,
        ]

    def _environment(self, engine: Engine) -> dict[str, str]:
        passed_on = {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
        return {
            **marks(self.study, self.token),
            "HF_HOME": str(hub_cache()),
            "PYTHONDONTWRITEBYTECODE": "1",
            **home(engine),
            **passed_on,
        }

    def _mounts(self) -> list[Mount]:
        """Mount the repository and what it links to, read-only, and the cache of weights."""
        read_only = (self.repository.absolute(), *linked_from(self.repository))
        cache = hub_cache()
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(
                f"Cannot make the folder {cache} for downloaded weights: {error.strerror}. "
                "Name another one by HF_HOME."
            ) from error
        return [
            *(Mount(str(path), str(path), type="bind", read_only=True) for path in read_only),
            Mount(str(cache), str(cache), type="bind"),
        ]

    def _network(self, engine: Engine) -> dict[str, Any]:
        """Share this machine's network where that works: publishing costs a proxy's time."""
        if engine.shares_network:
            return {"network_mode": "host"}
        published = {f"{INSIDE[name]}/tcp": ("127.0.0.1", at) for name, at in self.ports.items()}
        return {"ports": published}


def run_as(engine: Engine) -> dict[str, Any]:
    """Return the settings that make a container run as this user, so that its files are theirs.

    Without root the engine's root is this user already.
    """
    if engine.is_rootless:
        return {}
    return {
        "user": f"{os.getuid()}:{os.getgid()}",
        "group_add": [str(group) for group in os.getgroups()],
    }


def home(engine: Engine) -> dict[str, str]:
    """Return variables for a user whom the image does not know: without a name or a folder."""
    return {} if engine.is_rootless else {"HOME": "/tmp", "USER": "tuner"}  # noqa: S108 - the container's own


def hub_cache() -> Path:
    """The folder where Hugging Face keeps what it downloads for this user."""
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").absolute()


def device_requests(gpus: str) -> Sequence[DeviceRequest]:
    """Return what to ask of the engine for ``all``, ``none`` or ``0,1``.

    Raises:
        UsageError: it is none of these.
    """
    match names_of(gpus):
        case ():
            return []
        case None:
            return [DeviceRequest(count=-1, capabilities=[["gpu"]])]
        case names:
            return [DeviceRequest(device_ids=list(names), capabilities=[["gpu"]])]
