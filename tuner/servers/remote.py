"""A server that already runs: its model gets the trial's configuration, and its own back after."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.errors import ConfigurationRejected, MachineError, TrialAborted, UsageError
from tuner.process import is_left_behind, new_token
from tuner.servers import verdict
from tuner.servers.port import Endpoint
from tuner.servers.readiness import get
from tuner.servers.repository_api import Refused, RepositoryApi

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tuner.servers.port import Server

DEFAULT_URL = "127.0.0.1:8000"
_URL = re.compile(r"(?:http://)?(?P<host>[^/:,]+):(?P<ports>\d+(?:,\d+){0,2})/?")
_RESTORE_S = 600.0
_MARKER = ".remote.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server's three services are, each as ``host:port``."""

    http: str
    grpc: str
    metrics: str

    @property
    def url(self) -> str:
        """In the form that `parse_url` reads."""
        ports = (address.rpartition(":")[2] for address in (self.grpc, self.metrics))
        return ",".join([self.http, *ports])


def parse_url(url: str) -> Address:
    """``host:8000`` or ``host:8000,8001,8002``: ports of HTTP, gRPC and metrics.

    A port that is left out is the one before it plus one, as Triton's defaults are.

    Raises:
        UsageError: it is not of this form.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise UsageError(f"--url {url} is not host:port, or host:http,grpc,metrics with ports.")
    ports = [int(port) for port in match["ports"].split(",")]
    while len(ports) < 3:  # noqa: PLR2004 - HTTP, gRPC, metrics
        ports.append(ports[-1] + 1)
    # A name that has two addresses costs perf_analyzer's channels seconds each.
    host = "127.0.0.1" if match["host"] == "localhost" else match["host"]
    http, grpc, metrics = (f"{host}:{port}" for port in ports)
    return Address(http=http, grpc=grpc, metrics=metrics)


class RemoteServer:
    """Triton that somebody else started, with ``--model-control-mode=explicit``.

    The model's files are the server's own; only the configuration is the trial's, and all of it:
    the model is unloaded first, so that instance groups change too and two copies never share a
    GPU's memory. Nobody else should use the model meanwhile.

    Args:
        study: the study's folder; it remembers what has to be restored.
        url: see `parse_url`.
        restore_s: how long giving a model back may take.

    Raises:
        UsageError: the URL is not of this form.
    """

    def __init__(
        self, *, study: Path, url: str = DEFAULT_URL, restore_s: float = _RESTORE_S
    ) -> None:
        self._study = study
        self._restore_s = restore_s
        self._address = parse_url(url)
        self._api = RepositoryApi(address=self._address.http)

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine."""
        return self._address.http.startswith("127.")

    @contextmanager
    def serving(
        self, *, repository: Path, model: str, log: Path, deadline_s: float
    ) -> Iterator[Endpoint]:
        """Serve one model; see the port. The log holds the API's answers: it has no other words.

        At exit the model has its own configuration again, and is loaded if it was before.

        Raises:
            ConfigurationRejected: the model did not load or was not ready in time.
            TrialAborted: the server went away.
            MachineError: as `describe`; or the server does not know the model, or cannot be
                brought back to its own configuration.
        """
        deadline = time.monotonic() + deadline_s
        log.touch()
        config = config_as_json(repository / model / "config.pbtxt", model)
        with self._borrowed(model):
            self._load(model, config, log, deadline_s, deadline)
            with verdict.blamed_if_ended(lambda: not self._api.is_alive(), model, log):
                yield self._endpoint()

    def describe(self) -> Mapping[str, str]:
        """Tell the server's address and version.

        Raises:
            MachineError: no Triton answers there, models cannot be loaded, or tritonclient, which
                knows configurations, is not installed.
        """
        version = self._api.version()
        self._api.require_explicit()
        _require_tritonclient()
        self._endpoint()
        return {"server": "remote", "triton": version, "url": self._address.url}

    def clean(self) -> int:
        """Restore the models that a killed run of this study left with a trial's configuration."""
        left = [
            marker
            for marker in self._study.glob(f"tuner-*{_MARKER}")
            if is_left_behind(marker.name, self._study)
        ]
        for marker in left:
            told = json.loads(marker.read_text(encoding="utf-8"))
            if told["address"] == self._address.http:
                self._restore(told["model"], was_ready=told["was_ready"])
            marker.unlink(missing_ok=True)
        return len(left)

    @contextmanager
    def _borrowed(self, model: str) -> Iterator[None]:
        """Unload a model; afterwards it is as it was."""
        self._api.version()
        state = self._api.state(model)
        if state is None:
            raise MachineError(
                f"The server at {self._address.http} has no model {model} in its repository. "
                "Put the model's folder there, or name another server by --url."
            )
        was_ready = state == "ready"
        marker = self._study / f"{new_token(self._study)}{_MARKER}"
        told = {"address": self._address.http, "model": model, "was_ready": was_ready}
        marker.write_text(json.dumps(told), encoding="utf-8")
        try:
            if was_ready:
                self._unload(model)
            yield
        finally:
            # Where this fails the marker stays, and the next run of the study tries again.
            self._restore(model, was_ready=was_ready)
            marker.unlink()

    def _load(
        self, model: str, config: str, log: Path, deadline_s: float, deadline: float
    ) -> None:
        try:
            self._api.load(model, config, deadline - time.monotonic())
        except TimeoutError as error:
            raise verdict.late(model, log, deadline_s) from error
        except Refused as refused:
            log.write_text(f"{refused.why}\n", encoding="utf-8")
            raise ConfigurationRejected(
                f"{model} did not load: {_first_line(refused.why)}.", evidence=refused.why
            ) from refused
        log.write_text(f"loaded {model} with {config}\n", encoding="utf-8")

    def _restore(self, model: str, *, was_ready: bool) -> None:
        """Load a model as its folder says. A server that is gone starts with that by itself."""
        if not self._api.is_alive():
            return
        self._unload(model)
        if was_ready:
            try:
                self._api.load(model, None, self._restore_s)
            except (Refused, TimeoutError) as error:
                raise MachineError(
                    f"The server at {self._address.http} does not load {model} with its own "
                    f"configuration again: {error}. Look at its log and load the model by hand."
                ) from error

    def _unload(self, model: str) -> None:
        try:
            done = self._api.unload_and_wait(model, time.monotonic() + self._restore_s)
        except Refused as refused:
            self._api.require_explicit()
            raise TrialAborted(
                f"The server at {self._address.http} does not unload {model}: {refused.why}"
            ) from refused
        if not done:
            raise MachineError(
                f"The server at {self._address.http} has not unloaded {model} after "
                f"{self._restore_s:g} s; is it still loading? Start the server again."
            )

    def _endpoint(self) -> Endpoint:
        host, _, port = self._address.grpc.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise MachineError(
                f"Nothing listens at {self._address.grpc}, where the server's gRPC service was "
                "expected. Name its ports: --url host:http,grpc,metrics."
            ) from error
        has_metrics = get(self._address.metrics, "/metrics") is not None
        return Endpoint(
            http=self._address.http,
            grpc=self._address.grpc,
            metrics=self._address.metrics if has_metrics else None,
            pid=None,
        )


def config_as_json(path: Path, model: str) -> str:
    """Return a config.pbtxt as the JSON that Triton's load call takes.

    Raises:
        ConfigurationRejected: it does not parse, or has a field that is not known.
        MachineError: tritonclient is not installed.
    """
    _require_tritonclient()
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    config = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    except text_format.ParseError as error:
        raise ConfigurationRejected(
            f"{path.name} of {model} does not parse: {str(error).rstrip('.')}."
        ) from error
    config.name = config.name or model
    told: str = json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None)
    return told


def _require_tritonclient() -> None:
    if importlib.util.find_spec("tritonclient") is None:
        raise MachineError(
            "--server remote needs tritonclient, which knows Triton's configurations. Install it: "
            "pip install 'tuner[local]'"
        )


def _first_line(why: str) -> str:
    return why.strip().splitlines()[0].rstrip(" .;") if why.strip() else "it does not say why"


if TYPE_CHECKING:
    _: type[Server] = RemoteServer
