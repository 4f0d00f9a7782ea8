"""What the interpreter that the Python backend will use is, and what is installed in it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import MachineError
from tuner.process import inherited_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEADLINE_S = 60.0
# Versions come from the metadata: importing torch would take seconds. An interpreter may have
# libpython in its own folder, in its base installation's, or where the loader looks anyway.
_QUESTIONS = """
import ctypes, json, os, sys, sysconfig
from importlib import metadata
packages = {}
for name in ("numpy", "torch", "transformers"):
    try:
        packages[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
library = "libpython%d.%d.so.1.0" % sys.version_info[:2]
folders = [sysconfig.get_config_var("LIBDIR") or "", os.path.join(sys.base_prefix, "lib")]
found = [path for path in (os.path.join(f, library) for f in folders) if os.path.isfile(path)]
try:
    ctypes.CDLL(library)
    loadable = True
except OSError:
    loadable = False
print(json.dumps({"version": "%d.%d.%d" % sys.version_info[:3], "packages": packages,
                  "library": found[0] if found else None, "loadable": loadable}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python that serves models.

    Attributes:
        path: the interpreter, as given: in a virtual environment its path says which.
        version: such as ``3.11.7``.
        packages: versions of those of numpy, torch and transformers that it has.
        library: its libpython, or None where the system's loader finds it by itself.
    """

    path: Path
    version: str
    packages: Mapping[str, str]
    library: Path | None

    @property
    def minor(self) -> str:
        """The version by which stubs are named, such as ``3.11``."""
        return self.version.rpartition(".")[0]


def ask(path: Path) -> Interpreter:
    """Ask an interpreter what it is.

    Raises:
        MachineError: it does not run, has no libpython, or its folder has no ``python3``.
    """
    try:
        answer = subprocess.run(
            [path, "-c", _QUESTIONS],
            env=inherited_environment(),
            capture_output=True,
            check=False,
            text=True,
            timeout=_DEADLINE_S,
        )
    except OSError as error:
        raise _does_not_run(path, error.strerror) from error
    except subprocess.TimeoutExpired as error:
        raise _does_not_run(path, f"no answer after {_DEADLINE_S:g} s") from error
    if answer.returncode != 0:
        last_words = (answer.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise _does_not_run(path, last_words)
    told = json.loads(answer.stdout)
    version: str = told["version"]
    if not (path.parent / "python3").exists():
        raise MachineError(
            f"There is no python3 beside {path}, and that is how Triton finds the environment of "
            "its Python backend. Name an interpreter of a virtual environment by --server-python."
        )
    if told["library"] is None and not told["loadable"]:
        raise MachineError(
            f"{path} (Python {version}) comes without the library libpython, which Triton's "
            "Python backend loads. Install it (Debian and Ubuntu: libpython3.x), or name another "
            "interpreter by --server-python."
        )
    return Interpreter(
        path=path,
        version=version,
        packages=told["packages"],
        library=None if told["library"] is None else Path(told["library"]),
    )


def _does_not_run(path: Path, why: str | None) -> MachineError:
    return MachineError(
        f"The server's interpreter {path} does not run: {why}. "
        "Name a Python 3 by --server-python or SERVER_PYTHON."
    )
