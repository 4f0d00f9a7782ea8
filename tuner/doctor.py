"""Every part that a run needs, found or not: what `tune doctor` tells."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tuner.errors import MachineError, TunerError, UsageError
from tuner.load.perf_analyzer import PerfAnalyzer
from tuner.model.repository import list_models
from tuner.server_choice import ServerKind, ServerOptions, sdk_container
from tuner.servers.installation import find
from tuner.servers.interpreter import ask
from tuner.servers.local import LocalServer
from tuner.telemetry.nvml import driver_version, gpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner.servers.installation import Installation
    from tuner.servers.interpreter import Interpreter

_PYTHONS: Final = ((3, 10), (3, 12))
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where Triton puts its own
_SHARED_MEMORY_BYTES: Final = 64 * 2**20
"""What two dozen instances of the Python backend take; more rows in flight take more."""
_DISK_BYTES: Final = 2**30
"""Timestamps, logs and pages of some thirty trials, many times over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a run.

    Attributes:
        name: what it is.
        needed: whether `tune MODEL` without options fails without it.
        found: whether it is there and fit.
        told: what was found; otherwise what is wrong and what to do about it.
    """

    name: str
    needed: bool
    found: bool
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where parts are looked for, as the options of `tune run` name them."""

    repository: Path
    studies: Path
    reports: Path
    triton_dir: Path | None
    server_python: Path | None
    perf_analyzer: Path | None
    sdk_image: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found.

    Attributes:
        server: what `--server auto` would serve with, ``docker`` or ``local``.
        parts: in the order in which a run needs them.
    """

    server: str
    parts: tuple[Part, ...]

    @property
    def works(self) -> bool:
        """Whether `tune MODEL` would find all that it needs."""
        return all(part.found for part in self.parts if part.needed)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "works": self.works,
            "server": self.server,
            "parts": [asdict(part) for part in self.parts],
        }


def diagnose(places: Places) -> Diagnosis:
    """Look at every part; start the server without a model to see that it runs."""
    server = ServerOptions(kind=ServerKind.AUTO).settled(lambda _reason: None)
    with tempfile.TemporaryDirectory(prefix="tuner-doctor-") as folder:
        parts = (
            _python(),
            *_embedded(places, Path(folder), needed=server is ServerKind.LOCAL),
            _part("perf_analyzer", lambda: _perf_analyzer(places, Path(folder))),
            _gpu(),
            *_docker(),
            _part("model repository", lambda: _models(places.repository)),
            _part("studies", lambda: _room(places.studies, "--studies")),
            _part("reports", lambda: _room(places.reports, "--reports")),
            _part("shared memory", _shared_memory),
        )
    return Diagnosis(server=server.value, parts=parts)


def _part(name: str, look: Callable[[], str], *, needed: bool = True) -> Part:
    try:
        return Part(name=name, needed=needed, found=True, told=look())
    except TunerError as error:
        return Part(name=name, needed=needed, found=False, told=str(error))


def _python() -> Part:
    lowest, highest = (".".join(map(str, version)) for version in _PYTHONS)
    version = ".".join(map(str, sys.version_info[:3]))
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return Part(name="Python", needed=True, found=True, told=f"{version}, {sys.executable}")
    advice = f"{version} runs tune, which is made for {lowest} to {highest}; install it for those."
    return Part(name="Python", needed=True, found=False, told=advice)


def _embedded(places: Places, folder: Path, *, needed: bool) -> Iterator[Part]:
    """Yield the embedded server's parts, and at last whether it runs.

    What cannot be looked at, because it is a part of what is missing, is left out.
    """
    # Not resolved: a virtual environment is known by the path of its link.
    python = Path(places.server_python or sys.executable).absolute()
    triton = _part("tritonserver", lambda: str(find(places.triton_dir).binary), needed=needed)
    yield triton
    try:
        interpreter = ask(python)
    except MachineError as error:
        yield Part(name="server's Python", needed=needed, found=False, told=str(error))
        return
    told = f"{interpreter.version}, {python}"
    yield Part(name="server's Python", needed=needed, found=True, told=told)
    for package in ("numpy", "torch", "transformers"):
        yield _part(f"its {package}", partial(_package, interpreter, package), needed=needed)
    if not triton.found:
        return
    installation = find(places.triton_dir)
    stub = _part("Triton's stub", lambda: _stub(installation, interpreter), needed=needed)
    yield stub
    if stub.found:
        server = LocalServer(
            study=folder, triton_dir=places.triton_dir, server_python=places.server_python
        )
        yield _part(
            "embedded server",
            lambda: f"Triton {server.describe()['triton']} starts",
            needed=needed,
        )


def _stub(installation: Installation, interpreter: Interpreter) -> str:
    installation.stub(interpreter)
    return f"for Python {interpreter.minor}"


def _package(interpreter: Interpreter, name: str) -> str:
    version = interpreter.packages.get(name)
    if version is None:
        raise MachineError(
            f"{interpreter.path} has no {name}, which the models import. Install it: "
            f"{interpreter.path} -m pip install {name}"
        )
    return version


def _perf_analyzer(places: Places, folder: Path) -> str:
    sdk = sdk_container(places.sdk_image, folder, lambda _words: None, provides=False)
    load = PerfAnalyzer(study=folder, cache=folder, explicit=places.perf_analyzer, elsewhere=sdk)
    return load.describe()["perf_analyzer"]


def _gpu() -> Part:
    driver, here = driver_version(), gpus()
    serving = ServerOptions(kind=ServerKind.LOCAL).serving_gpus()
    names = ", ".join(gpu.name for gpu in serving)
    if driver is None:
        told = "no NVIDIA driver answers; models run on the CPU. Install one to tune for a GPU"
    elif not here:
        told = f"driver {driver} shows no GPU; models run on the CPU. Look at it with nvidia-smi"
    else:
        told = f"{names or 'none'}, driver {driver}"
    if hidden := len(here) - len(serving):
        told += f"; CUDA_VISIBLE_DEVICES hides {hidden} of {len(here)} from the embedded server"
    return Part(name="GPU", needed=False, found=bool(names), told=told)


def _docker() -> Iterator[Part]:
    from tuner.servers.engine import connected

    try:
        with connected() as engine:
            version, has_nvidia = engine.version, engine.has_nvidia
    except TunerError as error:
        yield Part(name="Docker engine", needed=False, found=False, told=str(error))
        return
    yield Part(name="Docker engine", needed=False, found=True, told=version)
    told = (
        "known to the engine"
        if has_nvidia
        else "not known to the engine, so containers get no GPU. Install nvidia-container-toolkit "
        "and run: sudo nvidia-ctk runtime configure && sudo systemctl restart docker"
    )
    yield Part(name="NVIDIA runtime", needed=False, found=has_nvidia, told=told)


def _models(repository: Path) -> str:
    models = list_models(repository)
    if not models:
        raise UsageError(
            f"{repository} holds no model. Make one with tune new, or name another folder by "
            "--model-repository."
        )
    return f"{repository}: {', '.join(models)}"


def _room(folder: Path, option: str) -> str:
    """Look at the folder, or at the one that it would be made in; nothing is made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise UsageError(f"cannot write to {place}; name another folder with {option}.")
    free = shutil.disk_usage(place).free
    if free < _DISK_BYTES:
        raise MachineError(
            f"{place} has {_size(free)} left, and a long study may want {_size(_DISK_BYTES)}. "
            f"Free some, or name a folder on another disk with {option}."
        )
    return f"{folder}: {_size(free)} free"


def _shared_memory() -> str:
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError as error:
        raise MachineError(
            f"{_SHARED_MEMORY} cannot be looked at: {error.strerror}. Triton's Python backend "
            "passes all tensors through it; mount it as tmpfs."
        ) from error
    if free < _SHARED_MEMORY_BYTES:
        raise MachineError(
            f"{_SHARED_MEMORY} has {_size(free)} left; Triton's Python backend passes all tensors "
            f"through it and wants {_size(_SHARED_MEMORY_BYTES)} at least. Enlarge it (mount -o "
            f"remount,size=1G {_SHARED_MEMORY}; for a container: --shm-size=1G)."
        )
    return f"{_SHARED_MEMORY}: {_size(free)} free"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"  # noqa: PLR2004 - a billion
