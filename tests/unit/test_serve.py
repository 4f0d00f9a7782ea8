from __future__ import annotations

import shutil
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tuner.errors import TrialAborted, UsageError
from tuner.model.repository import find_model
from tuner.serve import PortChoice, distinct, wait_until_gone
from tuner.servers import verdict
from tuner.servers.failure import failed_model
from tuner.servers.port import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLAMES_B = "E1122 a.cc:1] \"failed to load 'b' version 1: Internal: boom\"\n"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_ports_that_were_asked_for_are_taken_and_the_others_are_free(free_port: int) -> None:
    chosen = PortChoice(asked=(None, free_port, None)).choose(3)
    assert chosen[1] == free_port
    assert len(set(chosen)) == 3
    with ExitStack() as stack:
        for port in chosen:
            each = stack.enter_context(socket.socket())
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", port))


def test_a_usual_port_is_used_where_it_is_free_and_nobody_asked_for_it(
    free_port: int, taken_port: int
) -> None:
    usual = (free_port, taken_port, taken_port)
    nobody = PortChoice(asked=(None, None, None), usual=usual).choose(3)
    assert nobody[0] == free_port
    assert taken_port not in nobody
    another = PortChoice(asked=(None, free_port, None), usual=usual).choose(3)
    assert another[1] == free_port
    assert len({*another, taken_port}) == 4


def test_a_port_that_was_asked_for_and_is_taken_is_refused(taken_port: int) -> None:
    with pytest.raises(UsageError, match=f"port {taken_port} .* is taken"):
        PortChoice(asked=(None, None, taken_port)).choose(3)


def test_one_port_for_two_services_is_refused(free_port: int) -> None:
    with pytest.raises(UsageError, match="is taken"):
        PortChoice(asked=(free_port, free_port, None)).choose(3)


def test_a_model_that_is_named_twice_is_served_once(repository: Path) -> None:
    by_name, by_path = (
        find_model("light", repository),
        find_model(f"{repository}/light", repository),
    )
    assert distinct([by_name, by_path]) == [by_name]


def test_two_models_of_one_name_are_refused(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path / "other")
    models = [find_model("light", repository), find_model("light", tmp_path / "other")]
    with pytest.raises(UsageError, match="both named light"):
        distinct(models)


def test_a_server_that_is_gone_ends_the_waiting(free_port: int) -> None:
    address = f"127.0.0.1:{free_port}"
    with pytest.raises(TrialAborted, match=address):
        wait_until_gone(Endpoint(http=address, grpc=address, metrics=None, pid=None))


def test_a_crash_after_a_failed_load_does_not_hide_why_the_load_failed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(BLAMES_B, encoding="utf-8")
    assert verdict.ended("b", log, signal=11).reason == "b did not load: boom."
    assert "ended by signal 11 while a loaded" in verdict.ended("a", log, signal=11).reason


def test_of_several_models_the_one_that_the_log_blames_is_at_fault() -> None:
    log = "E1122 a.cc:1] \"failed to load 'b' version 1: Internal: boom\"\n"
    assert failed_model(log, ["a", "b"]) == "b"
    assert failed_model("", ["a", "b"]) == "a, b"
