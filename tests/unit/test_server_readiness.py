from __future__ import annotations

import json
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tuner.servers.port import Endpoint
from tuner.servers.readiness import Readiness, read_metadata, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def answering(answers: dict[str, bytes]) -> Iterator[str]:
    """Answer these paths, and nothing else, over HTTP; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 400)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def wait(answers: dict[str, bytes], *, server_id: str = "mine", ended: bool = False) -> Readiness:
    with answering(answers) as address:
        return wait_until_ready(
            Endpoint(http=address, grpc=address, metrics=address, pid=None),
            model="toy",
            server_id=server_id,
            ended=lambda: ended,
            deadline=time.monotonic() + 0.2,
        )


METADATA = json.dumps({"name": "mine", "version": "2.51.0", "extensions": []}).encode()
ALL = {"/v2/models/toy/ready": b"", "/v2": METADATA, "/metrics": b""}


def test_a_server_with_its_model_and_metrics_is_ready() -> None:
    assert wait(ALL) == "ready"


@pytest.mark.parametrize("path", ALL)
def test_a_server_that_does_not_answer_one_of_them_is_late(path: str) -> None:
    assert wait({other: body for other, body in ALL.items() if other != path}) == "late"


def test_another_server_on_the_port_with_a_model_of_this_name_is_not_ready() -> None:
    assert wait(ALL, server_id="another") == "late"


def test_a_process_that_is_gone_has_ended_whatever_its_port_answers() -> None:
    assert wait(ALL, ended=True) == "ended"


def test_metadata_is_the_servers_name_and_version() -> None:
    with answering(ALL) as address:
        assert read_metadata(address) == {"name": "mine", "version": "2.51.0"}


def test_a_server_that_is_not_there_has_no_metadata() -> None:
    with answering({}) as address:
        pass
    assert read_metadata(address) == {}
