"""Copy the serving code into a model's version folder, and see where copies differ."""

from __future__ import annotations

import sys
from pathlib import Path

ARCHITECTURE = "architecture.json"
"""Beside the code: the network's shapes, as ``loading.py`` reads them for dummy weights."""

SOURCE = Path(__file__).parent / "serving"
# The canonical folder's own note is not part of what Triton loads.
FILES = tuple(sorted(path for path in SOURCE.glob("*.py") if path.name != "__init__.py"))


def copy_serving_code(version_folder: Path) -> None:
    """Write the serving code into ``MODEL/1``, over what is there."""
    version_folder.mkdir(parents=True, exist_ok=True)
    for source in FILES:
        (version_folder / source.name).write_bytes(source.read_bytes())


def version_folders(repository: Path) -> list[Path]:
    """Return the version folders of all models in ``repository``, in order."""
    return sorted(config.parent / "1" for config in repository.glob("*/config.pbtxt"))


def differing(repository: Path) -> list[Path]:
    """Return every file of a copy in ``repository`` that is missing, changed or not ours."""
    names = {source.name for source in FILES}
    found = [
        folder / source.name
        for folder in version_folders(repository)
        for source in FILES
        if not (folder / source.name).is_file()
        or (folder / source.name).read_bytes() != source.read_bytes()
    ]
    strangers = [
        path
        for folder in version_folders(repository)
        for path in folder.glob("*.py")
        if path.name not in names
    ]
    return sorted([*found, *strangers])


def main(repository: Path) -> None:
    """Bring every model's copy in ``repository`` up to date."""
    for folder in version_folders(repository):
        copy_serving_code(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
