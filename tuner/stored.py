"""Studies that are kept, by name: each has a folder of its own with a database in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.study.folder import set_aside
from tuner.study.storage import StudyStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tuner.study.spec import StudyRecord, StudySpec

_DATABASE = "study.db"


def stored_names(studies: Path) -> list[str]:
    """Names of the studies in a folder."""
    return sorted(path.parent.name for path in studies.glob(f"*/{_DATABASE}"))


def stored(studies: Path, name: str) -> StudyRecord:
    """The record of a study.

    Raises:
        UsageError: there is none of that name.
    """
    found = stored_names(studies)
    if name not in found:
        known = ", ".join(found) or "none yet"
        raise UsageError(f"there is no study {name!r} in {studies}; studies there: {known}.")
    store = load_store(studies / name, name)
    if store is None:
        raise UsageError(f"study {name!r} in {studies} has no trial yet; run: tune {name}")
    return store.record()


def load_store(folder: Path, name: str) -> StudyStore | None:
    """Open the study of a folder; None where it has none."""
    return StudyStore.load(_url(folder), name)


def open_store(folder: Path, spec: StudySpec, environment: Mapping[str, str]) -> StudyStore:
    """Open the study of a folder to go on with it, or begin one there.

    Raises:
        UsageError: that study was made under other terms.
    """
    store = comparable_store(folder, spec, environment)
    if store is None:
        set_aside(folder)  # what a run left that was killed in its first trial, if any
        return StudyStore.create(_url(folder), spec, environment)
    return store


def comparable_store(
    folder: Path, spec: StudySpec, environment: Mapping[str, str]
) -> StudyStore | None:
    """Open the study of a folder to go on with it; None where nothing was measured yet.

    Raises:
        UsageError: that study was made under other terms.
    """
    store = load_store(folder, spec.name) if (folder / _DATABASE).exists() else None
    if store is None or not store.records():
        return None
    if differences := store.differences(spec, environment):
        raise UsageError(
            f"study {spec.name} was made under other terms, and numbers of different terms are "
            "not ranked together. Name a new one with --study, or start over with --fresh, which "
            "sets the old one aside. What differs:\n  " + "\n  ".join(differences)
        )
    return store


def _url(folder: Path) -> str:
    """Where Optuna keeps the study of a folder."""
    return f"sqlite:///{folder.absolute() / _DATABASE}"
