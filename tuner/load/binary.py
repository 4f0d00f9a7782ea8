"""Find a perf_analyzer that runs on this machine.

Looked for in this order: the path that the user gave, ``PATH``, the ``perf-analyzer`` wheel, the
``tritonclient`` wheel. Being there proves nothing: on an older glibc pip installs an empty
placeholder for the first wheel, and the program of the second misses two libraries. So each
candidate is asked for its version, first as it is, then with those libraries linked.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner import process
from tuner.errors import MachineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAME = "perf_analyzer"
_VERSION = re.compile(r"Perf Analyzer Version (\S+)")
_VERSION_DEADLINE_S = 20.0
# What the program of the tritonclient wheel is linked against → what the nvidia-pytriton wheel
# calls the same library (auditwheel puts a hash into the names).
_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A perf_analyzer that answered.

    Attributes:
        path: the program.
        version: of its wheel, or what it said itself, such as ``2.51.0``.
        origin: where it was found, such as ``tritonclient wheel``.
        libraries: a folder that has to be on its LD_LIBRARY_PATH, or None.
    """

    path: Path
    version: str
    origin: str
    libraries: Path | None

    def environment(self) -> dict[str, str]:
        """Return the whole environment for a process of it."""
        return _environment(self.libraries)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A program that may be one; ``wheel_version`` where a wheel brought it.

    The program of the perf-analyzer wheel 2.60.0 calls itself 0.0.0.
    """

    path: Path
    origin: str
    wheel_version: str | None = None


def find_binary(explicit: Path | None, *, cache: Path) -> Binary:
    """Return the first perf_analyzer that runs.

    Args:
        explicit: the user's choice; nothing else is tried then.
        cache: a folder of ours for the links to its libraries; made when needed.

    Raises:
        UsageError: ``explicit`` is not a file.
        MachineError: none runs; the message lists what was tried and what to do.
    """
    if explicit is not None and not explicit.is_file():
        raise UsageError(f"There is no perf_analyzer at {explicit}. Check --perf-analyzer.")
    tried: list[str] = []
    candidates = _candidates(tried) if explicit is None else _given(explicit)
    for candidate in candidates:
        found = _prove(candidate, cache, tried)
        if found is not None:
            return found
    lines = "".join(f"\n  {line}" for line in tried)
    raise MachineError(
        f"No perf_analyzer runs on this machine. Tried:{lines}\n"
        "Install one with `pip install 'tuner[local]'` (Linux x86-64, glibc 2.35 or later), "
        "or name one with --perf-analyzer PATH."
    )


def _given(path: Path) -> Iterator[_Candidate]:
    yield _Candidate(path=path.resolve(), origin="--perf-analyzer")


def _candidates(tried: list[str]) -> Iterator[_Candidate]:
    """Yield what is there, and note in ``tried`` what is not."""
    on_path = shutil.which(_NAME)
    wheels = {name: _wheel_program(name) for name in ("perf-analyzer", "tritonclient")}
    if on_path is None:
        tried.append("PATH: not there")
    elif Path(on_path).resolve() not in wheels.values():  # else it comes below, by its name
        yield _Candidate(path=Path(on_path), origin="PATH")
    for name, program in wheels.items():
        if program is not None:
            version = importlib.metadata.version(name)
            yield _Candidate(path=program, origin=f"{name} wheel", wheel_version=version)
        else:
            tried.append(f"{name} wheel: {_why_missing(name)}")


def _wheel_program(distribution: str) -> Path | None:
    """Return the program that a wheel installed, in its package or beside the interpreter."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate())).resolve()
        # The perf-analyzer wheel also has a script of that name, which would start this one.
        if path.name == _NAME and path.parent.name == "bin" and _is_elf(path):
            return path
    return None


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _why_missing(distribution: str) -> str:
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
    return f"version {version} is without the program"


def _prove(candidate: _Candidate, cache: Path, tried: list[str]) -> Binary | None:
    version, complaint = _ask_version(candidate.path, None)
    libraries: Path | None = None
    if version is None and (libraries := _linked_libraries(cache)) is not None:
        version, complaint = _ask_version(candidate.path, libraries)
    if version is None:
        tried.append(f"{candidate.origin} ({candidate.path}): {complaint}")
        return None
    return Binary(
        path=candidate.path,
        version=candidate.wheel_version or version,
        origin=candidate.origin,
        libraries=libraries,
    )


def _ask_version(path: Path, libraries: Path | None) -> tuple[str | None, str]:
    """Return its version, or None and its last words."""
    try:
        done = subprocess.run(
            [str(path), "--version"],
            env=_environment(libraries),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_VERSION_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    text = done.stdout.decode(errors="replace")
    match = _VERSION.search(text)
    if done.returncode == 0 and match is not None:
        return match[1], ""
    last = text.strip().splitlines()[-1:] or [f"exit code {done.returncode}, no word"]
    return None, last[0]


def _linked_libraries(cache: Path) -> Path | None:
    """Return a folder in which the libraries have the names that the program looks for.

    None where the nvidia-pytriton wheel is not installed or lacks them. The folder's name tells
    which files it links to, so that two environments never share one.

    Raises:
        MachineError: the folder cannot be written.
    """
    targets = _pytriton_libraries()
    if targets is None:
        return None
    key = hashlib.sha256("\n".join(map(str, targets.values())).encode()).hexdigest()[:12]
    folder = cache / f"perf_analyzer-{key}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, target in targets.items():
            link = folder / name
            if not link.is_symlink():
                _link(link, target)
    except OSError as error:
        raise MachineError(
            f"Cannot link the libraries of perf_analyzer in {folder}: {error}. "
            "Make the folder writable."
        ) from error
    return folder


def _link(link: Path, target: Path) -> None:
    """Make a symbolic link in one step: another `tune` may be doing the same."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def _pytriton_libraries() -> Mapping[str, Path] | None:
    try:
        files = importlib.metadata.files("nvidia-pytriton") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    targets = {
        name: Path(str(file.locate())).resolve()
        for name, pattern in _LIBRARIES.items()
        for file in files
        if file.match(pattern)
    }
    return targets if targets.keys() == _LIBRARIES.keys() else None


def _environment(libraries: Path | None) -> dict[str, str]:
    environment = process.inherited_environment()
    if libraries is not None:
        inherited = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(libraries), inherited]))
    return environment
