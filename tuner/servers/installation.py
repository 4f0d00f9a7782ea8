"""Where Triton lies on this machine, and the folder of links that its Python backend needs."""

from __future__ import annotations

import importlib.util
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import MachineError

if TYPE_CHECKING:
    from tuner.servers.interpreter import Interpreter

_STUB = "triton_python_backend_stub"
_BACKEND_PARTS = ("libtriton_python.so", "triton_python_backend_utils.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A folder laid out like NGC's /opt/tritonserver, or like the one in the wheel.

    Attributes:
        folder: it holds ``bin/tritonserver`` and ``backends/python``.
        stubs: Python version, such as ``3.11``, → the stub built for it. The wheel has several;
            NGC has one, beside the backend, for the Python of its image.
    """

    folder: Path
    stubs: dict[str, Path]

    @property
    def binary(self) -> Path:
        """The server."""
        return self.folder / "bin" / "tritonserver"

    def stub(self, interpreter: Interpreter) -> Path:
        """Return the stub for an interpreter.

        Raises:
            MachineError: there is none; the message names those that exist.
        """
        stub = self.stubs.get(interpreter.minor)
        if stub is None:
            raise MachineError(
                f"The Triton in {self.folder} serves models on Python "
                f"{', '.join(sorted(self.stubs, key=_numeric))}, but {interpreter.path} is Python "
                f"{interpreter.version}. Name one of those by --server-python or SERVER_PYTHON."
            )
        return stub

    def link_into(self, folder: Path, interpreter: Interpreter) -> None:
        """Lay out ``backends/python`` and ``lib`` for one interpreter, as links, in a folder.

        The backend takes the stub that lies beside it, so each version needs a folder of its own;
        and libpython gets one to itself, so that nothing else of the folder it comes from is
        put before the server's own libraries.
        """
        backend = folder / "backends" / "python"
        backend.mkdir(parents=True)
        for part in _BACKEND_PARTS:
            (backend / part).symlink_to(self.folder / "backends" / "python" / part)
        (backend / _STUB).symlink_to(self.stub(interpreter))
        (folder / "lib").mkdir()
        if interpreter.library is not None:
            (folder / "lib" / interpreter.library.name).symlink_to(interpreter.library)


def find(triton_dir: Path | None) -> Installation:
    """Find Triton: in the folder named, else in this environment's ``nvidia-pytriton``.

    Raises:
        MachineError: it is not there, incomplete, or built for another kind of machine.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise MachineError(
            f"The embedded server runs on Linux x86_64, but this is {platform.system()} "
            f"{platform.machine()}. Use --server docker or --server remote."
        )
    folder = _wheel() if triton_dir is None else triton_dir.resolve()
    backend = folder / "backends" / "python"
    needed = [folder / "bin" / "tritonserver", *(backend / part for part in _BACKEND_PARTS)]
    for part in needed:
        if not part.is_file():
            raise MachineError(
                f"{folder} is no Triton folder: {part.relative_to(folder)} is missing. Name one "
                "laid out like /opt/tritonserver by --triton-dir or TRITON_DIR."
            )
    found = [*folder.glob(f"python_backend_stubs/*/{_STUB}"), *backend.glob(_STUB)]
    stubs = {version: stub for stub in found if (version := _python_of(stub)) is not None}
    if not stubs:
        raise MachineError(
            f"The Triton in {folder} has no {_STUB}, so it cannot serve Python models. "
            "Name a complete one by --triton-dir or TRITON_DIR."
        )
    return Installation(folder=folder, stubs=stubs)


def _wheel() -> Path:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise MachineError(
            "There is no tritonserver here. Install one with pip install 'tuner[local]', or name "
            "its folder by --triton-dir or TRITON_DIR."
        )
    return Path(spec.submodule_search_locations[0]) / "tritonserver"


def _python_of(stub: Path) -> str | None:
    """Return the Python version that a stub is linked to: the name of its libpython tells."""
    linked = re.search(rb"libpython(3\.\d+)(-[0-9a-f]+)?\.so", stub.read_bytes())
    return None if linked is None else linked[1].decode()


def _numeric(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
