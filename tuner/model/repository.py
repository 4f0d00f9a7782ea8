"""Model folders: find one in a model repository, and stage a copy of it for a trial.

The user's folder is never written to. A staged model is a folder of its own config.pbtxt and
symbolic links to everything else. Version folders are real ones of links: Python writes its
``__pycache__`` beside a model.py as it was found, which through a linked folder is the user's.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tuner.errors import MachineError, UsageError
from tuner.model.config import ModelConfig

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG: Final = "config.pbtxt"
_CACHE: Final = "__pycache__"
_VERSION: Final = re.compile(r"[1-9][0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A model that Triton could load.

    Attributes:
        name: the model's name, which is the folder's.
        path: the folder, absolute.
        config: its config.pbtxt.
    """

    name: str
    path: Path
    config: ModelConfig


def list_models(repository: Path) -> tuple[str, ...]:
    """Names of the folders in a repository that hold a config.pbtxt, sorted.

    Raises:
        UsageError: the repository is not there or cannot be read.
    """
    try:
        return tuple(sorted(p.name for p in repository.iterdir() if (p / CONFIG).is_file()))
    except OSError as error:
        raise UsageError(
            f"Cannot read the model repository {repository}: {error.strerror}. Name the folder "
            "that holds the models' folders."
        ) from error


def find_model(name_or_path: str, repository: Path) -> ModelFolder:
    """Find a model and check that it can be tuned.

    Args:
        name_or_path: name of a folder in the repository, or path of a model's folder.
        repository: where a name is looked for first.

    Raises:
        UsageError: there is no such model, or its folder lacks a config.pbtxt or a version, or
            the configuration has another name than the folder.
        ConfigSyntaxError: its config.pbtxt does not parse.
    """
    try:
        path = _locate(name_or_path, repository)
        has_config = (path / CONFIG).is_file()
        versions = [p for p in path.iterdir() if _VERSION.fullmatch(p.name) and p.is_dir()]
    except OSError as error:
        raise UsageError(
            f"Cannot read the model `{name_or_path}`: {error}. Check its name and permissions."
        ) from error
    if not has_config:
        raise UsageError(
            f"{path} has no {CONFIG}. Write one: tuning starts from the model's own configuration."
        )
    if not versions:
        raise UsageError(
            f"{path} has no version: no folder in it is named 1, 2 or another positive number. "
            f"Put the model's files into {path / '1'}."
        )
    config = ModelConfig.read(path / CONFIG)
    if config.name not in {None, path.name}:
        raise UsageError(
            f"{path / CONFIG} names the model `{config.name}`, and its folder is `{path.name}`. "
            "Triton wants them equal: rename one, or take the name out of the file."
        )
    return ModelFolder(name=path.name, path=path, config=config)


def _locate(name_or_path: str, repository: Path) -> Path:
    bare = name_or_path.rstrip("/")
    is_name = Path(bare).name == bare and bare not in {"", ".."}
    places = [Path(name_or_path), *([repository / bare] if is_name else [])]
    if bare == name_or_path:
        places.reverse()  # a shell puts a slash behind a folder that is here
    for path in places:
        if path.is_dir():
            # resolve() would give a link's target, and Triton goes by the link's name.
            return Path(os.path.abspath(path))  # noqa: PTH100
    if not is_name:
        raise UsageError(f"There is no folder {name_or_path}. Check the path.")
    known = list_models(repository)
    near = difflib.get_close_matches(bare, known)
    if near:
        advice = f"Did you mean {' or '.join(near)}?"
    elif known:
        advice = f"It holds: {', '.join(known)}."
    else:
        advice = "It holds no model; name another repository."
    raise UsageError(f"There is no model `{name_or_path}` in {repository}. {advice}")


def stage(folder: ModelFolder, config: ModelConfig, into: Path) -> Path:
    """Make a model repository that holds the model with another configuration.

    Everything but config.pbtxt and the version folders, with what is in them, is an absolute
    symbolic link to the user's file or folder. The models that an ensemble calls are linked
    beside it, from the repository that it is in. Models that a model calls from its own code
    (BLS) cannot be known and are not linked. Staging again into the same place replaces what was
    staged there.

    Args:
        folder: the user's model.
        config: the configuration to stage.
        into: the repository; made where it is not there.

    Returns:
        ``into``.

    Raises:
        MachineError: the place cannot be written to.
        UsageError: the place is or holds the user's own folder, or files that staging did not
            make; or a model that an ensemble calls is not there.
    """
    target = into / folder.name
    source = folder.path.resolve()
    if target.resolve() == source or source in target.resolve().parents:
        raise UsageError(
            f"{target} is the model's own folder or in it; a trial never writes there. "
            "Choose another folder for the study."
        )
    called = _called_models(folder, config)
    try:
        _clear(target)
        _mirror(folder.path, target, is_real=_VERSION.fullmatch)
        (target / CONFIG).write_bytes(config.text.encode())
        for path in called:
            link = into / path.name
            if link.is_symlink():
                link.unlink()
            link.symlink_to(path.absolute())
    except OSError as error:
        raise MachineError(
            f"Cannot stage the model in {target}: {error.strerror}. "
            "Make the folder writable, free space, or choose another one for the study."
        ) from error
    return into


def _mirror(source: Path, target: Path, *, is_real: Callable[[str], object]) -> None:
    """Link all that is in a folder, save config.pbtxt; real subfolders are mirrored whole."""
    target.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name in {CONFIG, _CACHE}:
            continue
        if entry.is_dir() and not entry.is_symlink() and is_real(entry.name):
            _mirror(entry, target / entry.name, is_real=bool)
        else:
            (target / entry.name).symlink_to(entry)


def _clear(target: Path) -> None:
    """Remove what an earlier staging made, and what Python has put beside it."""
    for folder, _, files in os.walk(target):
        for path in (Path(folder, name) for name in files):
            if not (path.is_symlink() or path.name == CONFIG or path.parent.name == _CACHE):
                raise UsageError(
                    f"{path} was not staged by a trial. Move it away, then run again."
                )
    if target.exists():
        shutil.rmtree(target)


def _called_models(folder: ModelFolder, config: ModelConfig) -> tuple[Path, ...]:
    """Folders of the models that an ensemble calls, and of those that they call in turn."""
    found: dict[str, Path] = {}
    waiting = list(config.ensemble_models)
    while waiting:
        name = waiting.pop()
        if name in found or name == folder.name:
            continue
        path = folder.path.parent / name
        if not (path / CONFIG).is_file():
            raise UsageError(
                f"The ensemble {folder.path} calls `{name}`, and {path / CONFIG} is not there. "
                "Put that model beside the ensemble."
            )
        found[name] = path
        waiting.extend(ModelConfig.read(path / CONFIG).ensemble_models)
    return tuple(found.values())
