"""Serve models until someone ends it: what `tune serve` does."""

from __future__ import annotations

import http.client
import socket
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import TrialAborted, UsageError
from tuner.model.repository import stage
from tuner.model.weights import with_weights
from tuner.process import new_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.model.repository import ModelFolder
    from tuner.model.weights import Weights
    from tuner.servers.port import Endpoint, ModelHost

_HOST = "127.0.0.1"
_POLL_S = 0.5
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PortChoice:
    """Ports of HTTP, gRPC and metrics.

    Attributes:
        asked: those that the user named, in this order; None leaves one to us.
        usual: taken for those that were not named, where they are free.
    """

    asked: tuple[int | None, int | None, int | None]
    usual: tuple[int, int, int] = (8000, 8001, 8002)

    def choose(self, count: int) -> list[int]:
        """Return ports that are free now, at most three.

        Raises:
            UsageError: one that was asked for is taken.
        """
        chosen: list[int] = []
        for named, usual in list(zip(self.asked, self.usual, strict=True))[:count]:
            if named is not None:
                if named in chosen or not _is_free(named):
                    raise UsageError(f"port {named} of {_HOST} is taken; name another one.")
                chosen.append(named)
            elif usual not in {*chosen, *self.asked} and _is_free(usual):
                chosen.append(usual)
            else:
                chosen.append(_any())
        return chosen


def distinct(models: Sequence[ModelFolder]) -> list[ModelFolder]:
    """Return each model once.

    Raises:
        UsageError: two of one name; a server tells its models apart by their names.
    """
    by_name: dict[str, ModelFolder] = {}
    for model in models:
        if by_name.setdefault(model.name, model).path != model.path:
            raise UsageError(
                f"{by_name[model.name].path} and {model.path} are both named {model.name}; "
                "a server takes one of them. Copy one to another name."
            )
    return list(by_name.values())


@contextmanager
def serving(
    host: ModelHost,
    models: Sequence[ModelFolder],
    *,
    weights: Weights | None,
    owner: Path,
    log: Path | None,
    deadline_s: float,
) -> Iterator[Endpoint]:
    """Serve staged copies of models from entry to exit, and leave nothing behind.

    Args:
        host: what serves.
        models: of different names.
        weights: which ones; None for those that each configuration names.
        owner: what the host was made for; marks what is left if this process is killed.
        log: file for the server's log; None keeps it only while it serves.
        deadline_s: seconds that all models may take to load.

    Raises:
        UsageError: a model cannot be served with these weights.
        MachineError: a part is missing.
        ConfigurationRejected: a model does not load.
        TrialAborted: the server could not be run at all.
    """
    configs = [with_weights(model, weights) for model in models]
    host.describe()  # refuses what the machine lacks, before anything is started
    host.clean()
    with tempfile.TemporaryDirectory(prefix=f"{new_token(owner)}-serve-") as folder:
        repository = Path(folder, "models")
        for model, config in zip(models, configs, strict=True):
            stage(model, config, repository)
        with host.serving_all(
            repository=repository,
            models=[model.name for model in models],
            log=Path(folder, "server.log") if log is None else log.absolute(),
            deadline_s=deadline_s,
        ) as endpoint:
            yield endpoint


def wait_until_gone(endpoint: Endpoint) -> None:
    """Return never while the server answers.

    Raises:
        TrialAborted: it no longer does.
    """
    while _is_listening(endpoint.http):
        time.sleep(_POLL_S)
    raise TrialAborted(f"nobody listens at {endpoint.http} any more")


def _is_listening(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=_ANSWER_S)
    try:
        connection.connect()
    except TimeoutError:
        return True  # busy, not gone
    except OSError:
        return False
    finally:
        connection.close()
    return True


def _is_free(port: int) -> bool:
    """Tell whether a server could listen there; connections of an older one do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _any() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    return port
