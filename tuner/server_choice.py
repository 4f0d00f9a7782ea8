"""Which server a command serves with: the one that was asked for, or the best that is here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from tuner.errors import TunerError, UsageError
from tuner.gpus import Chosen, Gpu, choose, left_by_cuda
from tuner.servers.local import LocalServer, free_ports
from tuner.telemetry.nvml import gpus as installed_gpus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tuner.servers.docker import DockerServer
    from tuner.servers.port import ModelHost
    from tuner.servers.remote import RemoteServer
    from tuner.servers.sdk_container import SdkContainer


class ServerKind(str, Enum):
    """What serves."""

    AUTO = "auto"
    DOCKER = "docker"
    LOCAL = "local"
    REMOTE = "remote"
    SIM = "sim"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What was typed about the server.

    Attributes:
        kind: what serves.
        image: of the container; None for ours.
        gpus: of this machine, ``all``, ``none`` or ``0,1``; None for all, without those that
            ``CUDA_VISIBLE_DEVICES`` hides from the embedded server.
        build_args: ``NAME=VALUE`` for our image, where it is built.
        url: of a server that runs already; None for the usual one.
        triton_dir: folder of the embedded server; None for the wheel's.
        server_python: interpreter of its models; None for this one.
    """

    kind: ServerKind
    image: str | None = None
    gpus: str | None = None
    build_args: tuple[str, ...] = ()
    url: str | None = None
    triton_dir: Path | None = None
    server_python: Path | None = None

    def settled(self, say: Callable[[str], None]) -> ServerKind:
        """Return the kind that serves, never ``auto``; says which and why where it was.

        Docker needs an engine, its NVIDIA runtime and a GPU to be the better choice.

        Raises:
            UsageError: an option belongs to another kind of server.
        """
        kind = self._settled(say)
        if self.gpus is not None and kind in {ServerKind.REMOTE, ServerKind.SIM}:
            raise UsageError(f"--gpus belongs to --server docker or local, not {kind.value}.")
        return kind

    def _settled(self, say: Callable[[str], None]) -> ServerKind:
        needed_by = self._needed_by()
        for option, kind in needed_by.items():
            if kind is not self.kind is not ServerKind.AUTO:
                raise UsageError(
                    f"{option} belongs to --server {kind.value}, not {self.kind.value}."
                )
        if self.kind is not ServerKind.AUTO:
            return self.kind
        if len(set(needed_by.values())) > 1:
            raise UsageError(f"{' and '.join(needed_by)} belong to different kinds of server.")
        for option, kind in needed_by.items():
            say(f"Serving with --server {kind.value}, which {option} belongs to.")
            return kind
        lacks = _docker_lacks()
        if lacks is None:
            say("Serving with --server docker: an engine, its NVIDIA runtime and a GPU are here.")
            return ServerKind.DOCKER
        say(f"Serving with --server local. Not docker: {lacks}")
        return ServerKind.LOCAL

    def container_gpus(self) -> str:
        """GPUs of a container."""
        return self.gpus or ("all" if installed_gpus() else "none")

    def chosen_gpus(self) -> Chosen | None:
        """The GPUs that serve, where not all of this machine do; the kind is settled.

        Raises:
            UsageError: one that was typed is not here.
        """
        here = installed_gpus()
        if self.gpus is not None:
            if self.kind is ServerKind.DOCKER and not here:
                return None  # the engine may have some all the same
            return choose(self.gpus, here)
        if self.kind is not ServerKind.LOCAL:
            return None  # a container is given all, whatever CUDA was told here
        by_bus = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
        return left_by_cuda(os.environ.get("CUDA_VISIBLE_DEVICES"), here, by_bus=by_bus)

    def serving_gpus(self) -> tuple[Gpu, ...]:
        """All GPUs of this machine that serve; the kind is settled.

        Raises:
            UsageError: one that was typed is not here.
        """
        chosen = self.chosen_gpus()
        return installed_gpus() if chosen is None else chosen.gpus

    def _needed_by(self) -> dict[str, ServerKind]:
        given = {
            "--image": (self.image, ServerKind.DOCKER),
            "--build-arg": (self.build_args or None, ServerKind.DOCKER),
            "--url": (self.url, ServerKind.REMOTE),
        }
        return {option: kind for option, (value, kind) in given.items() if value is not None}


def local_server(
    options: ServerOptions, study: Path, choose_ports: Callable[[int], Sequence[int]] = free_ports
) -> LocalServer:
    """Make the embedded server; its kind is settled.

    Raises:
        UsageError: a GPU that was typed is not here.
    """
    return LocalServer(
        study=study,
        triton_dir=options.triton_dir,
        server_python=options.server_python,
        gpus=options.chosen_gpus(),
        choose_ports=choose_ports,
    )


def docker_server(
    options: ServerOptions,
    study: Path,
    say: Callable[[str], None],
    *,
    provides: bool = True,
    choose_ports: Callable[[int], Sequence[int]] = free_ports,
) -> DockerServer:
    """Make the container server; ``provides`` lets it build or pull an image to describe it.

    Raises:
        UsageError: ``gpus`` or ``build_args`` are not of their forms.
    """
    from tuner.servers.docker import DockerServer
    from tuner.servers.image import OUR_IMAGE

    for argument in options.build_args:
        if not argument.partition("=")[1]:
            raise UsageError(f"--build-arg {argument} is not NAME=VALUE.")
    return DockerServer(
        study=study,
        image=options.image or OUR_IMAGE,
        gpus=options.container_gpus(),
        build_args=dict(argument.split("=", 1) for argument in options.build_args),
        provides=provides,
        say=say,
        choose_ports=choose_ports,
    )


def remote_server(options: ServerOptions, study: Path) -> RemoteServer:
    """Make what uses a server that runs already.

    Raises:
        UsageError: the URL is not of its form.
    """
    from tuner.servers.remote import DEFAULT_URL, RemoteServer

    return RemoteServer(study=study, url=options.url or DEFAULT_URL)


def sdk_container(
    image: str | None,
    study: Path,
    say: Callable[[str], None],
    *,
    reads: tuple[Path, ...] = (),
    provides: bool = True,
) -> SdkContainer:
    """Make what runs perf_analyzer where this machine has none.

    Args:
        image: name of the image; None for NVIDIA's of our release.
        study: its folder marks what is started.
        say: is told what takes long.
        reads: files outside of its working folder that perf_analyzer reads.
        provides: lets it pull the image.
    """
    from tuner.servers.image import sdk_image
    from tuner.servers.sdk_container import SdkContainer

    return SdkContainer(
        study=study, image=image or sdk_image(), reads=reads, provides=provides, say=say
    )


def model_host(
    options: ServerOptions,
    owner: Path,
    say: Callable[[str], None],
    *,
    choose_ports: Callable[[int], Sequence[int]],
) -> ModelHost:
    """Make what `tune serve` serves with.

    Args:
        options: what was typed about the server.
        owner: marks what it starts, as a study's folder does.
        say: is told which kind serves, where it was not named.
        choose_ports: returns so many free ports.

    Raises:
        UsageError: that kind of server answers no requests, or runs already.
    """
    match options.settled(say):
        case ServerKind.SIM:
            raise UsageError("--server sim answers no requests; leave it out to serve.")
        case ServerKind.REMOTE:
            raise UsageError("a remote server serves already; ask it with: tune query --url")
        case ServerKind.DOCKER:
            return docker_server(options, owner, say, choose_ports=choose_ports)
        case ServerKind.AUTO | ServerKind.LOCAL:
            return local_server(options, owner, choose_ports)


def _docker_lacks() -> str | None:
    """Tell what is missing for containers with GPUs; None where nothing is."""
    if not installed_gpus():
        return "this machine has no NVIDIA GPU that its driver knows."
    from tuner.servers.engine import connected

    try:
        with connected() as engine:
            if not engine.has_nvidia:
                return "the Docker engine has no NVIDIA runtime; tune doctor says what to do."
    except TunerError as error:
        return str(error)
    return None
