"""NVIDIA's SDK image: runs its programs in containers, as if they were installed here."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from docker.errors import APIError
from docker.types import LogConfig, Mount

from tuner.errors import MachineError, TunerError
from tuner.process import Completed, cpu_s, marks, new_token
from tuner.servers.container import RUN, STUDY, home, run_as
from tuner.servers.container_life import follow, remove_left_behind, removed_afterwards
from tuner.servers.engine import connected, said
from tuner.servers.image import is_here, pull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tuner.servers.engine import Engine

_INSTEAD = "install perf_analyzer on this machine"
_POLL_S = 0.02
_LAST_WORDS_S = 10.0
_SIGNALLED = 128
"""Exit codes above are 128 and the number of a signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SdkContainer:
    """Runs a program of an image on this machine's network and files, as this user.

    Attributes:
        study: the study's folder; what is made is labelled with it.
        image: name of the image; pulled where it is missing.
        reads: files outside of its working folder that a program reads, once they are there.
        provides: whether a missing image may be pulled.
        say: is told what takes long.
    """

    study: Path
    image: str
    reads: tuple[Path, ...]
    provides: bool
    say: Callable[[str], None]

    @property
    def name(self) -> str:
        """What it is, as the record names it."""
        return f"SDK image {self.image}"

    def is_ready(self) -> bool:
        """Tell whether it can run something now: False where the image may not be pulled yet.

        Raises:
            MachineError: no engine answers, or it does not share this machine's network.
        """
        with connected(instead=_INSTEAD) as engine:
            _require_network(engine)
            return self.provides or is_here(engine, self.image)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        deadline_s: float,
        done: Callable[[], bool] | None = None,
    ) -> Completed:
        """Run a program to its end; see `tuner.load.runner.Runner`.

        Raises:
            TimeoutError: it was not done in time.
            OSError: the log cannot be written.
            MachineError: no engine, no image, or no such program in it.
            TrialAborted: the engine fails.
        """
        with connected(instead=_INSTEAD) as engine:
            _require_network(engine)
            if not is_here(engine, self.image):
                pull(engine, self.image, self.say, instead="name another by --sdk-image")
            begun = time.monotonic()
            with self._started(engine, argv, env, cwd, log) as (container, follower):
                used_s, code = None, None
                while follower.is_alive():  # its words end when it does
                    used_s = _cpu_s(container.attrs["State"]["Pid"], argv) or used_s
                    if done is not None and done():
                        code = 0
                        break
                    if time.monotonic() - begun > deadline_s:
                        raise TimeoutError(f"{argv[0]} was not done after {deadline_s:g} s.")
                    follower.join(_POLL_S)
                wall_s = time.monotonic() - begun
                if code is None:
                    code = int(container.wait(timeout=_LAST_WORDS_S)["StatusCode"])
        returncode = _SIGNALLED - code if code > _SIGNALLED else code
        return Completed(returncode=returncode, cpu_s=used_s, wall_s=wall_s)

    def clean(self) -> int:
        """Remove what a killed run of this study left, where an engine answers.

        A study that needs none is not to fail by one that is broken; one that does fails later.
        """
        try:
            with connected(instead=_INSTEAD) as engine:
                return remove_left_behind(engine, self.study)
        except TunerError:
            return 0

    @contextmanager
    def _started(
        self, engine: Engine, argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path
    ) -> Iterator[tuple[Any, Thread]]:
        """Run a container; afterwards it is not there any more, and the log is complete."""
        token = new_token(self.study)
        log.touch()
        with removed_afterwards(engine, token) as followers:
            container = engine.client.containers.create(
                **self._settings(engine, token, argv, env, cwd)
            )
            self._start(container, argv[0])
            follower = Thread(target=follow, args=(container, log), daemon=True)
            follower.start()
            followers.append(follower)
            container.reload()
            yield container, follower

    def _settings(
        self, engine: Engine, token: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path
    ) -> dict[str, Any]:
        read = (path.resolve() for path in self.reads if path.exists())
        return {
            "image": self.image,
            # Instead of the image's own, which writes a page about licences first.
            "entrypoint": [argv[0]],
            "command": list(argv[1:]),
            "name": token,
            "labels": {STUDY: str(self.study.resolve()), RUN: token},
            "environment": {**home(engine), **env, **marks(self.study, token)},
            "mounts": [
                Mount(str(cwd), str(cwd), type="bind"),
                *(Mount(str(path), str(path), type="bind", read_only=True) for path in read),
            ],
            "working_dir": str(cwd),
            "network_mode": "host",
            "log_config": LogConfig(type=LogConfig.types.JSON),
            **run_as(engine),
        }

    def _start(self, container: Any, program: str) -> None:  # noqa: ANN401 - the SDK has no types
        try:
            container.start()
        except APIError as error:
            if "executable file not found" in said(error):
                raise MachineError(
                    f"The image {self.image} has no {program} on its PATH. Name one of NGC's, "
                    "tritonserver:…-py3-sdk, by --sdk-image."
                ) from error
            raise


def _require_network(engine: Engine) -> None:
    if not engine.shares_network:
        raise MachineError(
            "The Docker engine runs without root or in a virtual machine, so that its containers "
            "do not reach 127.0.0.1 of this machine. Use one of the system's by DOCKER_HOST."
        )


def _cpu_s(pid: int, argv: Sequence[str]) -> float | None:
    """Return the CPU time so far of the container's program, if this machine shows it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        return cpu_s(pid) if words == [word.encode() for word in argv] else None
    except OSError:
        return None
