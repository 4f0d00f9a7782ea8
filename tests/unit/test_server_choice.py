from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tuner.errors import UsageError
from tuner.server_choice import ServerKind, ServerOptions, docker_server

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.mark.parametrize("kind", [kind for kind in ServerKind if kind is not ServerKind.AUTO])
def test_a_server_that_was_named_is_taken_without_a_word(
    kind: ServerKind, said: list[str]
) -> None:
    assert ServerOptions(kind=kind).settled(said.append) is kind
    assert said == []


def test_a_server_that_was_not_named_is_told_with_the_reason(said: list[str]) -> None:
    kind = ServerOptions(kind=ServerKind.AUTO).settled(said.append)
    assert kind in {ServerKind.DOCKER, ServerKind.LOCAL}
    (line,) = said
    assert f"--server {kind.value}" in line


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (ServerOptions(kind=ServerKind.AUTO, url="127.0.0.1:8000"), ServerKind.REMOTE),
        (ServerOptions(kind=ServerKind.AUTO, image="mine"), ServerKind.DOCKER),
        (ServerOptions(kind=ServerKind.AUTO, build_args=("RELEASE=25.01",)), ServerKind.DOCKER),
    ],
    ids=["url", "image", "build-arg"],
)
def test_an_option_of_one_server_chooses_it(
    options: ServerOptions, kind: ServerKind, said: list[str]
) -> None:
    assert options.settled(said.append) is kind
    assert len(said) == 1


@pytest.mark.parametrize(
    "options",
    [
        ServerOptions(kind=ServerKind.REMOTE, gpus="all"),
        ServerOptions(kind=ServerKind.SIM, gpus="0"),
        ServerOptions(kind=ServerKind.DOCKER, url="127.0.0.1:8000"),
        ServerOptions(kind=ServerKind.SIM, image="mine"),
        ServerOptions(kind=ServerKind.AUTO, url="127.0.0.1:8000", gpus="all"),
    ],
    ids=["gpus of remote", "gpus of sim", "url of docker", "image of sim", "two kinds"],
)
def test_an_option_of_another_server_is_refused(options: ServerOptions, said: list[str]) -> None:
    with pytest.raises(UsageError, match="belong"):
        options.settled(said.append)


def test_a_build_argument_has_a_name_and_a_value(tmp_path: Path, said: list[str]) -> None:
    options = ServerOptions(kind=ServerKind.DOCKER, build_args=("RELEASE",))
    with pytest.raises(UsageError, match="NAME=VALUE"):
        docker_server(options, tmp_path, said.append)


def test_a_gpu_that_is_not_here_is_refused_before_anything_starts() -> None:
    with pytest.raises(UsageError, match="there is no GPU 99 here"):
        ServerOptions(kind=ServerKind.LOCAL, gpus="99").serving_gpus()


def test_serving_without_gpus_can_be_asked_for_on_every_machine() -> None:
    assert ServerOptions(kind=ServerKind.LOCAL, gpus="none").serving_gpus() == ()
