"""Find a perf_analyzer that runs.

Looked for in this order: the path that the user gave, ``PATH``, the ``perf-analyzer`` wheel, the
``tritonclient`` wheel, and at last elsewhere, in an image that brings one. Being there proves
nothing: on an older glibc pip installs an empty placeholder for the first wheel, and the program
of the second misses two libraries. So each candidate is asked for its version, first as it is,
then with those libraries linked.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import MachineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuner.load.runner import Elsewhere, Runner

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
        version: of its wheel, or what it said itself, such as ``2.51.0``; None where it comes
            with something that is not here yet.
        origin: where it was found, such as ``tritonclient wheel``.
        runner: runs it.
        libraries: a folder that has to be on its LD_LIBRARY_PATH, or None.
    """

    path: Path
    version: str | None
    origin: str
    runner: Runner
    libraries: Path | None = None

    def __str__(self) -> str:
        """Name the version and where it comes from."""
        if self.version is None:
            return f"not here yet; a run pulls the {self.origin}"
        return f"{self.version} ({self.origin})"

    def environment(self) -> dict[str, str]:
        """Return what it needs in its environment besides what is there."""
        return _environment(self.libraries)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A program that may be one; ``wheel_version`` where a wheel brought it.

    The program of the perf-analyzer wheel 2.60.0 calls itself 0.0.0.
    """

    path: Path
    origin: str
    wheel_version: str | None = None


def find_binary(
    explicit: Path | None, *, cache: Path, here: Runner, elsewhere: Elsewhere | None = None
) -> Binary:
    """Return the first perf_analyzer that runs.

    Args:
        explicit: the user's choice; nothing else is tried then.
        cache: a folder of ours for the links to its libraries; made when needed.
        here: runs programs of this machine.
        elsewhere: brings one where this machine has none; not asked where the user chose.

    Raises:
        UsageError: ``explicit`` is not a file.
        MachineError: none runs; the message lists what was tried and what to do.
    """
    if explicit is not None and not explicit.is_file():
        raise UsageError(f"There is no perf_analyzer at {explicit}. Check --perf-analyzer.")
    tried: list[str] = []
    candidates = _candidates(tried) if explicit is None else _given(explicit)
    for candidate in candidates:
        found = _prove(candidate, here, cache, tried)
        if found is not None:
            return found
    if explicit is None and elsewhere is not None:
        found = _prove_elsewhere(elsewhere, tried)
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
        yield _Candidate(path=Path(on_path).absolute(), origin="PATH")
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


def _prove(candidate: _Candidate, here: Runner, cache: Path, tried: list[str]) -> Binary | None:
    version, complaint = _ask_version(candidate.path, here, None)
    libraries: Path | None = None
    if version is None and (libraries := _linked_libraries(cache)) is not None:
        version, complaint = _ask_version(candidate.path, here, libraries)
    if version is None:
        tried.append(f"{candidate.origin} ({candidate.path}): {complaint}")
        return None
    return Binary(
        path=candidate.path,
        version=candidate.wheel_version or version,
        origin=candidate.origin,
        runner=here,
        libraries=libraries,
    )


def _prove_elsewhere(elsewhere: Elsewhere, tried: list[str]) -> Binary | None:
    path = Path(_NAME)
    version, complaint = None, ""
    try:
        if elsewhere.is_ready():
            version, complaint = _ask_version(path, elsewhere, None)
    except MachineError as error:
        complaint = str(error)
    if complaint:
        tried.append(f"{elsewhere.name}: {complaint}")
        return None
    return Binary(path=path, version=version, origin=elsewhere.name, runner=elsewhere)


def _ask_version(path: Path, runner: Runner, libraries: Path | None) -> tuple[str | None, str]:
    """Return its version, or None and its last words."""
    try:
        with tempfile.TemporaryDirectory(prefix="tuner-perf-analyzer-") as folder:
            log = Path(folder) / "version.log"
            done = runner.run(
                [str(path), "--version"],
                env=_environment(libraries),
                cwd=log.parent,
                log=log,
                deadline_s=_VERSION_DEADLINE_S,
            )
            text = log.read_text(encoding="utf-8", errors="replace")
    except (OSError, MachineError) as error:  # a TimeoutError is an OSError
        return None, str(error)
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
    if libraries is None:
        return {}
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(libraries), inherited]))}
