"""A study's folder: one `tune` at a time, and nothing measured is thrown away."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK = "lock"
_ASIDE = "before-"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Be the only `tune` that works in a study's folder; the kernel lifts it with the process.

    Raises:
        UsageError: another one is at work there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("a+")
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror}; name another folder with --studies."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UsageError(
                f"another tune (process {lock.read().strip() or 'unknown'}) is at work on "
                f"{folder}; wait for it, or give this one a --study name of its own."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def require_writable(folder: Path, option: str) -> None:
    """Check that files can be made in a folder, before any time is spent.

    Args:
        folder: made where it is missing.
        option: that names another one, for the message.

    Raises:
        UsageError: they cannot.
    """
    probe = folder / f".{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror}; name another folder with {option}."
        ) from error


def require_makeable(folder: Path, option: str) -> None:
    """Check as `require_writable` does, and make nothing.

    Raises:
        UsageError: files could not be made there.
    """
    whole = folder.absolute()
    nearest = next(place for place in (whole, *whole.parents) if os.access(place, os.F_OK))
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise UsageError(
            f"cannot write to {folder}: {nearest} is no folder that may be written to; name "
            f"another one with {option}."
        )


def require_name(name: str) -> None:
    """Check that a study's name can be the name of its folder and its page.

    Raises:
        UsageError: it leads elsewhere, or is one that folders of studies or pages use themselves.
    """
    taken = {"", ".", "..", "index"}
    if name in taken or "/" in name or "\0" in name or name.startswith(_ASIDE):
        raise UsageError(
            f"a study cannot be named {name!r}: its folder and page go by the name, and index and "
            f"{_ASIDE}… are taken; give another one with --study."
        )


def set_aside(folder: Path) -> Path | None:
    """Move a study's record and evidence to a subfolder of its own; None where there is none."""
    held = [entry for entry in folder.iterdir() if entry.name != _LOCK and not _is_aside(entry)]
    if not held:
        return None
    number = 1 + sum(map(_is_aside, folder.iterdir()))
    aside = folder / f"{_ASIDE}{number}"
    aside.mkdir()
    for entry in held:
        entry.rename(aside / entry.name)
    return aside


def _is_aside(entry: Path) -> bool:
    return entry.name.startswith(_ASIDE)
