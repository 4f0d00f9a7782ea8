from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tuner.errors import ConfigSyntaxError, MachineError, UsageError
from tuner.model.repository import find_model, list_models, stage

if TYPE_CHECKING:
    from pathlib import Path


def _model(repository: Path, name: str, config: str | None = None) -> Path:
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text("# a model\n")
    (folder / "labels.txt").write_text("a\nb\n")
    text = f'name: "{name}"\nmax_batch_size: 4\n' if config is None else config
    (folder / "config.pbtxt").write_text(text)
    return folder


def _snapshot(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(p.relative_to(folder)): (
            p.lstat().st_mtime_ns,
            p.read_bytes() if p.is_file() else None,
        )
        for p in sorted(folder.rglob("*"))
    }


def test_a_model_is_found_by_its_name(tmp_path: Path) -> None:
    folder = _model(tmp_path, "falcon")
    found = find_model("falcon", tmp_path)
    assert (found.name, found.path, found.config.max_batch_size) == ("falcon", folder, 4)


def test_a_model_is_found_by_the_path_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _model(tmp_path / "mine", "falcon")
    nowhere = tmp_path / "nowhere"
    assert find_model(str(folder), nowhere).path == folder
    monkeypatch.chdir(folder / "1")
    assert find_model("..", nowhere).name == "falcon"
    assert find_model("../", nowhere).path == folder
    monkeypatch.chdir(tmp_path / "mine")
    assert find_model("falcon", nowhere).path == folder
    assert find_model("falcon/", nowhere).path == folder


def test_a_name_may_end_with_the_slash_that_a_shell_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    folder = _model(repository, "falcon")
    monkeypatch.chdir(tmp_path)
    assert find_model("falcon/", repository).path == folder
    here = _model(tmp_path, "falcon")
    assert find_model("falcon/", repository).path == here
    assert find_model("falcon", repository).path == folder


def test_a_linked_model_goes_by_the_links_name(tmp_path: Path) -> None:
    folder = _model(tmp_path / "elsewhere", "v3", "max_batch_size: 4")
    (tmp_path / "falcon").symlink_to(folder)
    assert find_model("falcon", tmp_path).name == "falcon"


def test_models_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        _model(tmp_path, name)
    (tmp_path / "not_a_model").mkdir()
    (tmp_path / "README").write_text("")
    assert list_models(tmp_path) == ("a", "b", "c")


def test_an_unknown_name_is_answered_with_the_nearest_ones(tmp_path: Path) -> None:
    _model(tmp_path, "falcon7b")
    _model(tmp_path, "opt125m")
    with pytest.raises(UsageError, match=r"no model `falcon7`.*Did you mean falcon7b\?"):
        find_model("falcon7", tmp_path)
    with pytest.raises(UsageError, match=r"It holds: falcon7b, opt125m\."):
        find_model("xyz", tmp_path)


@pytest.mark.parametrize("name", ["no/such/folder", "x" * 300])
def test_what_cannot_be_a_model_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        find_model(name, tmp_path)


def test_a_missing_repository_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot read the model repository"):
        find_model("falcon", tmp_path / "none")


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    (_model(tmp_path, "m") / "config.pbtxt").unlink()
    with pytest.raises(UsageError, match=r"has no config\.pbtxt"):
        find_model("m", tmp_path)


@pytest.mark.parametrize("version", ["0", "01", "v1", "-1"])
def test_a_folder_without_a_version_is_refused(tmp_path: Path, version: str) -> None:
    folder = _model(tmp_path, "m")
    (folder / "1").rename(folder / version)
    (folder / "2").write_text("a file is no version")
    with pytest.raises(UsageError, match="has no version"):
        find_model("m", tmp_path)


def test_a_configuration_with_another_name_than_its_folder_is_refused(tmp_path: Path) -> None:
    _model(tmp_path, "m", 'name: "other"')
    with pytest.raises(UsageError, match="names the model `other`"):
        find_model("m", tmp_path)


def test_a_configuration_may_leave_the_name_out(tmp_path: Path) -> None:
    _model(tmp_path, "m", "max_batch_size: 2")
    assert find_model("m", tmp_path).name == "m"


def test_a_configuration_that_is_not_utf8_is_a_syntax_error_at_the_byte(tmp_path: Path) -> None:
    (_model(tmp_path, "m") / "config.pbtxt").write_bytes(b"# ok\n# caf\xe9\n")
    with pytest.raises(ConfigSyntaxError, match=r"config\.pbtxt:2:6: .*UTF-8"):
        find_model("m", tmp_path)


def test_a_staged_model_has_the_new_configuration_and_links_to_all_else(tmp_path: Path) -> None:
    folder = _model(tmp_path / "models", "m")
    before = _snapshot(folder)
    model = find_model("m", tmp_path / "models")
    config = model.config.with_params({"max_batch_size": 16}, kind=None)

    staged = stage(model, config, tmp_path / "trials" / "0001")

    assert staged == tmp_path / "trials" / "0001"
    assert (staged / "m" / "config.pbtxt").read_bytes() == config.text.encode()
    assert not (staged / "m" / "config.pbtxt").is_symlink()
    assert {p.name for p in (staged / "m").iterdir()} == {"1", "labels.txt", "config.pbtxt"}
    for name in ("1/model.py", "labels.txt"):
        assert (staged / "m" / name).readlink() == folder / name
    assert _snapshot(folder) == before
    assert find_model("m", staged).config.max_batch_size == 16


def test_what_python_writes_beside_a_staged_model_stays_out_of_the_users_folder(
    tmp_path: Path,
) -> None:
    folder = _model(tmp_path / "models", "m")
    (folder / "1" / "package").mkdir()
    (folder / "1" / "package" / "part.py").write_text("")
    before = _snapshot(folder)
    model = find_model("m", tmp_path / "models")
    into = stage(model, model.config, tmp_path / "trial")
    for place in ("1", "1/package"):
        (into / "m" / place / "__pycache__").mkdir()
        (into / "m" / place / "__pycache__" / "part.pyc").write_text("")
    assert _snapshot(folder) == before
    stage(model, model.config, into)
    assert not list(into.rglob("*.pyc"))
    assert _snapshot(folder) == before


def test_staging_again_replaces_what_was_staged(tmp_path: Path) -> None:
    folder = _model(tmp_path / "models", "m")
    model = find_model("m", tmp_path / "models")
    into = tmp_path / "trial"
    stage(model, model.config, into)
    (folder / "labels.txt").unlink()
    stage(model, model.config.with_params({"max_batch_size": 2}, kind=None), into)
    assert {p.name for p in (into / "m").iterdir()} == {"1", "config.pbtxt"}
    assert find_model("m", into).config.max_batch_size == 2


@pytest.mark.parametrize("into", ["models", "models/m", "link"])
def test_the_users_own_folder_is_never_staged_into(tmp_path: Path, into: str) -> None:
    folder = _model(tmp_path / "models", "m")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "m").symlink_to(folder)
    before = _snapshot(tmp_path)
    model = find_model("m", tmp_path / "models")
    with pytest.raises(UsageError, match="the model's own folder"):
        stage(model, model.config, tmp_path / into)
    assert _snapshot(tmp_path) == before


def test_a_file_that_was_not_staged_is_never_removed(tmp_path: Path) -> None:
    _model(tmp_path / "models", "m")
    theirs = _model(tmp_path / "other", "m") / "labels.txt"
    model = find_model("m", tmp_path / "models")
    with pytest.raises(UsageError, match="was not staged"):
        stage(model, model.config, tmp_path / "other")
    assert theirs.read_text() == "a\nb\n"
    assert (theirs.parent / "config.pbtxt").is_file()


def test_a_place_that_cannot_be_written_is_a_machine_error(tmp_path: Path) -> None:
    _model(tmp_path / "models", "m")
    model = find_model("m", tmp_path / "models")
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"Cannot stage the model in .*file/m: Not a directory"):
        stage(model, model.config, tmp_path / "file")


def test_an_ensemble_is_staged_with_the_models_that_it_calls(tmp_path: Path) -> None:
    for name in ("tokenizer", "encoder", "unrelated"):
        _model(tmp_path / "models", name)
    _model(
        tmp_path / "models",
        "inner",
        'platform: "ensemble" ensemble_scheduling { step { model_name: "encoder" } }',
    )
    _model(
        tmp_path / "models",
        "whole",
        'platform: "ensemble" ensemble_scheduling {'
        ' step [ { model_name: "tokenizer" }, { model_name: "inner" } ] }',
    )
    model = find_model("whole", tmp_path / "models")
    into = tmp_path / "trial"
    for _ in range(2):
        stage(model, model.config, into)
        assert sorted(p.name for p in into.iterdir()) == ["encoder", "inner", "tokenizer", "whole"]
    assert (into / "encoder").readlink() == tmp_path / "models" / "encoder"


def test_an_ensemble_that_calls_a_missing_model_is_refused(tmp_path: Path) -> None:
    _model(tmp_path, "e", 'ensemble_scheduling { step { model_name: "gone" } }')
    model = find_model("e", tmp_path)
    with pytest.raises(UsageError, match="calls `gone`"):
        stage(model, model.config, tmp_path / "trial")
