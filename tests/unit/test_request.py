"""What `tune verify` asks for: the study as it was served, but for what was typed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import report_studies as studies

from tuner.errors import UsageError
from tuner.request import asked_again
from tuner.server_choice import ServerKind, ServerOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL = {"server": "local", "gpus": "1"}
DOCKER = {"server": "docker", "image": "mine", "gpus": "0,1"}
REMOTE = {"server": "remote", "url": "127.0.0.1:8000"}


def served_again(then: Mapping[str, str], typed: ServerOptions) -> ServerOptions:
    """What serves a study of that environment again."""
    study = studies.cpu_study()
    header = replace(study.header, environment=dict(then))
    return asked_again(
        replace(study, header=header),
        repository=Path("models"),
        studies=Path("studies"),
        load_deadline_s=600.0,
        server=typed,
        input_data=None,
        perf_analyzer=None,
        sdk_image=None,
    ).server


@pytest.mark.parametrize("then", [LOCAL, DOCKER, REMOTE], ids=["local", "docker", "remote"])
@pytest.mark.parametrize("named", [False, True], ids=["not named", "named"])
def test_it_is_served_as_it_was_whether_or_not_that_kind_of_server_is_named(
    then: Mapping[str, str],
    named: bool,  # noqa: FBT001 - a row of the table
) -> None:
    kind = ServerKind(then["server"])
    again = served_again(then, ServerOptions(kind=kind if named else ServerKind.AUTO))
    assert again == ServerOptions(
        kind=kind, image=then.get("image"), gpus=then.get("gpus"), url=then.get("url")
    )


def test_gpus_that_are_typed_take_the_place_of_those_of_then() -> None:
    assert served_again(LOCAL, ServerOptions(kind=ServerKind.AUTO, gpus="0")).gpus == "0"


def test_another_kind_of_server_takes_nothing_over() -> None:
    typed = ServerOptions(kind=ServerKind.LOCAL)
    assert served_again(DOCKER, typed) == typed


def test_a_simulated_study_is_simulated_again() -> None:
    again = served_again({"server": "simulated, version 2"}, ServerOptions(kind=ServerKind.AUTO))
    assert again.kind is ServerKind.SIM


def test_the_simulator_verifies_no_study_of_a_real_server() -> None:
    with pytest.raises(UsageError, match="was measured on a real server"):
        served_again(LOCAL, ServerOptions(kind=ServerKind.SIM))
