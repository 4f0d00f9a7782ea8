"""Which files of this machine a staged model repository needs beside itself."""

from __future__ import annotations

import os
from pathlib import Path


def linked_from(repository: Path) -> tuple[Path, ...]:
    """Find everything that a repository's symbolic links lead to, outside of it.

    Staging links to the user's files by absolute paths, so a container needs them at the same
    paths. Only what is linked is named, never the folder around it. A linked folder is searched
    for links in its turn; a linked file that is itself a link is resolved by the mount.

    Returns:
        Absolute paths that exist, none inside another or inside the repository; sorted.
    """
    found: list[Path] = []
    waiting = [repository.absolute()]
    while waiting:
        folder = waiting.pop()
        if any(folder.is_relative_to(other) for other in found):
            continue
        found.append(folder)
        if folder.is_dir():
            waiting.extend(_targets(folder))
    outermost = [
        path for path in found if not any(path != o and path.is_relative_to(o) for o in found)
    ]
    return tuple(sorted(path for path in outermost if path != repository.absolute()))


def _targets(folder: Path) -> list[Path]:
    """Where the links in a folder lead; links to nothing are left to Triton to complain about."""
    entries = (
        Path(where, name)
        for where, folders, files in os.walk(folder)
        for name in (*folders, *files)
    )
    # Not resolve(): the path as written is the one that is opened in the container.
    return [
        Path(os.path.normpath(path.parent / path.readlink()))
        for path in entries
        if path.is_symlink() and path.exists()
    ]
