"""The embedded server: tritonserver as a process of this machine, from the wheel or a folder."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import MachineError, TrialAborted
from tuner.process import (
    Child,
    end_marked,
    inherited_environment,
    is_left_behind,
    new_token,
    started,
)
from tuner.servers import verdict
from tuner.servers.failure import explain, failed_model, is_port_taken
from tuner.servers.installation import Installation, find
from tuner.servers.interpreter import Interpreter, ask
from tuner.servers.port import Endpoint
from tuner.servers.readiness import read_metadata, wait_until_all_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from tuner.gpus import Chosen
    from tuner.servers.port import ModelHost, Server

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Triton puts its own; names carry our token
_PORT_ATTEMPTS = 3
_EMPTY_START_S = 30.0
_POLL_S = 0.02
_LOADS_NUMPY_2 = (2, 53)
"""Triton's Python backend reads NumPy 2's arrays from this version on: python_backend #384."""


def free_ports(count: int) -> list[int]:
    """Choose free ports of 127.0.0.1.

    Another process may take one before the server does: then it is started again on others.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class LocalServer:
    """Triton as a process on this machine.

    Args:
        study: the study's folder; what it starts is marked with it.
        triton_dir: a folder laid out like NGC's /opt/tritonserver; None for the
            ``nvidia-pytriton`` wheel of this environment.
        server_python: the interpreter that serves Python models; None for this one.
        gpus: those that serve; None for all that CUDA shows.
        choose_ports: returns so many free ports.
    """

    def __init__(
        self,
        *,
        study: Path,
        triton_dir: Path | None = None,
        server_python: Path | None = None,
        gpus: Chosen | None = None,
        choose_ports: Callable[[int], Sequence[int]] = free_ports,
    ) -> None:
        self._study = study
        self._choose_ports = choose_ports
        self._triton_dir = triton_dir
        self._gpus = gpus
        # Not resolved: a virtual environment is known by the path of its link.
        self._server_python = Path(
            sys.executable if server_python is None else server_python
        ).absolute()

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

        At exit the server is killed, not asked to stop: it would take 2 to 3 s, mostly sleeping,
        and it holds nothing to save. A model's ``finalize`` is therefore not called.

        Raises:
            ConfigurationRejected: a model did not load or was not ready in time.
            TrialAborted: the server could not be run at all.
            MachineError: as `describe`.
        """
        deadline = time.monotonic() + deadline_s
        options = (
            f"--model-repository={repository.absolute()}",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in models),
        )
        for _ in range(_PORT_ATTEMPTS):
            with self._started(options, log) as running:
                outcome, model = wait_until_all_ready(
                    running.endpoint,
                    models=models,
                    server_id=running.token,
                    ended=running.ended,
                    deadline=deadline,
                )
                match outcome:
                    case "ready":
                        with verdict.blamed_if_ended(running.ended, ", ".join(models), log):
                            yield running.endpoint
                        return
                    case "late":
                        raise verdict.late(model, log, deadline_s)
                    case "ended":
                        words = verdict.read_log(log)
                        if not is_port_taken(words):
                            at_fault = failed_model(words, models)
                            raise verdict.ended(at_fault, log, signal=running.signal())
        raise TrialAborted(
            f"Other processes took the server's ports {_PORT_ATTEMPTS} times in a row; its last "
            f"words are in {log}. Is another program opening ports without end?"
        )

    def describe(self) -> Mapping[str, str]:
        """Tell the versions of Triton, of the interpreter, and of what models import; which GPUs.

        Raises:
            MachineError: a part is missing or unfit, with what to do about it.
        """
        interpreter = self._interpreter
        self._installation.stub(interpreter)
        numpy = interpreter.packages.get("numpy")
        if numpy is None:
            raise MachineError(
                f"{interpreter.path} has no NumPy, which Triton's Python backend needs. Install "
                f"it: {interpreter.path} -m pip install 'numpy<2'"
            )
        triton = self._triton_version
        if _numbers(numpy) >= (2,) and _numbers(triton) < _LOADS_NUMPY_2:
            raise MachineError(
                f"{interpreter.path} has NumPy {numpy}, but Triton {triton} hands arrays over in "
                f"the layout of NumPy 1. Run {interpreter.path} -m pip install 'numpy<2', or name "
                "another interpreter by --server-python."
            )
        return {
            "server": "local",
            "triton": triton,
            "server_python": interpreter.version,
            **interpreter.packages,
            **self._told_gpus(),
        }

    def _told_gpus(self) -> dict[str, str]:
        """What was typed, where it leaves some of this machine's GPUs out."""
        chosen = self._gpus
        if chosen is None or chosen.typed is None or len(chosen.gpus) == chosen.of:
            return {}
        return {"gpus": chosen.typed}

    def clean(self) -> int:
        """End what a killed run of this study left, and remove its shared memory and links."""
        ended = end_marked(self._study)
        for folder in (_SHARED_MEMORY, Path(tempfile.gettempdir())):
            for left in folder.glob("tuner-*"):
                if is_left_behind(left.name, self._study):
                    _remove(left)
        return ended

    @cached_property
    def _installation(self) -> Installation:
        return find(self._triton_dir)

    @cached_property
    def _interpreter(self) -> Interpreter:
        return ask(self._server_python)

    @cached_property
    def _triton_version(self) -> str:
        """Ask a server without models: no file tells its version, and this shows that it runs."""
        with tempfile.TemporaryDirectory(prefix=new_token(self._study)) as folder:
            log = Path(folder, "server.log")
            options = (f"--model-repository={folder}", "--model-control-mode=explicit")
            deadline = time.monotonic() + _EMPTY_START_S
            with self._started(options, log) as running:
                while not running.ended() and time.monotonic() < deadline:
                    told = read_metadata(running.endpoint.http)
                    if told.get("name") == running.token:
                        return told["version"]
                    time.sleep(_POLL_S)
            reason = explain(verdict.read_log(log), model="").reason
        raise MachineError(
            f"{self._installation.binary} does not run on this machine: {reason}. "
            "Name another Triton by --triton-dir, or use --server docker."
        )

    @contextmanager
    def _started(self, options: Sequence[str], log: Path) -> Iterator[_Running]:
        """Run tritonserver; afterwards neither it nor its links and shared memory are left."""
        token = new_token(self._study)
        http, grpc, metrics = (f"127.0.0.1:{port}" for port in self._choose_ports(3))
        with tempfile.TemporaryDirectory(prefix=f"{token}-") as name:
            links = Path(name)
            self._installation.link_into(links, self._interpreter)
            argv = [
                str(self._installation.binary),
                *options,
                f"--id={token}",
                f"--backend-directory={links / 'backends'}",
                f"--backend-config=python,shm-region-prefix-name={token}-",
                # A complete configuration is served as it is; completing it would load the model
                # a second time.
                "--disable-auto-complete-config",
                # The GPUs of this machine are read by NVML; DCGM costs seconds at the start.
                "--allow-gpu-metrics=false",
                # Only for a start that fails: the end is by SIGKILL.
                "--exit-timeout-secs=1",
                *_listen("http", http),
                *_listen("grpc", grpc),
                *_listen("metrics", metrics),
            ]
            env = self._environment(links)
            try:
                with started(
                    argv, token=token, study=self._study, env=env, log=log, cwd=links
                ) as child:
                    endpoint = Endpoint(http=http, grpc=grpc, metrics=metrics, pid=child.pid)
                    yield _Running(token=token, endpoint=endpoint, child=child)
            finally:
                for left in _SHARED_MEMORY.glob(f"{token}-*"):
                    _remove(left)

    def _environment(self, links: Path) -> dict[str, str]:
        """Return ours, with the server's interpreter first, its libpython and its GPUs."""
        env = inherited_environment()
        bin_folder = self._interpreter.path.parent
        env["PATH"] = os.pathsep.join(filter(None, (str(bin_folder), env.get("PATH"))))
        libraries = (str(links / "lib"), env.get("LD_LIBRARY_PATH"))
        env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
        if self._gpus is not None and self._gpus.typed is not None:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(self._gpus.uuids)
        return env


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    token: str
    endpoint: Endpoint
    child: Child

    def ended(self) -> bool:
        return self.child.returncode() is not None

    def signal(self) -> int | None:
        returncode = self.child.returncode()
        return -returncode if returncode is not None and returncode < 0 else None


def _listen(service: str, address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return f"--{service}-address={host}", f"--{service}-port={port}"


def _remove(path: Path) -> None:
    # Several workers may clean up after the same dead one.
    with suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


if TYPE_CHECKING:
    _: type[Server] = LocalServer
    __: type[ModelHost] = LocalServer
