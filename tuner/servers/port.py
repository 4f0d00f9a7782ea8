"""The port: bring Triton up with one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server that is ready, with the model loaded.

    Attributes:
        http: ``127.0.0.1:PORT``.
        grpc: ``127.0.0.1:PORT``.
        metrics: ``127.0.0.1:PORT`` of /metrics, or None where it is not served.
        pid: the server's process on this host, or None where it cannot be seen.
    """

    http: str
    grpc: str
    metrics: str | None
    pid: int | None


class Server(Protocol):
    """A way to run Triton. Every adapter passes tests/contracts/test_server.py."""

    def serving(
        self, *, repository: Path, model: str, log: Path, deadline_s: float
    ) -> AbstractContextManager[Endpoint]:
        """Serve one model of a repository, from entry to exit.

        Entry returns once the model is ready. Exit, however it comes about, leaves no process,
        container or open port. The server's output is in ``log`` from its first line on.

        Args:
            repository: a model repository in Triton's layout, not written to.
            model: the folder in it to load.
            log: a file to create; its folder exists.
            deadline_s: seconds from entry until it has to be ready.

        Raises:
            ConfigurationRejected: the model did not load or was not ready in time; the end of
                the log is the evidence. Also raised at exit, in place of a TrialAborted, where
                the server has ended by itself: the configuration brought it down.
            TrialAborted: the server could not be run at all.
        """
        ...

    def describe(self) -> Mapping[str, str]:
        """Tell what numbers depend on: the kind of server and its versions.

        Raises:
            MachineError: a part is missing or unfit, with what to do about it.
        """
        ...

    def clean(self) -> int:
        """End what a killed run of the same study left behind; returns how many it ended."""
        ...


class ModelHost(Protocol):
    """A way to run Triton that serves several models at once, as `tune serve` wants."""

    def serving_all(
        self, *, repository: Path, models: Sequence[str], log: Path, deadline_s: float
    ) -> AbstractContextManager[Endpoint]:
        """Serve these models of a repository from entry to exit; else as `Server.serving`."""
        ...

    def describe(self) -> Mapping[str, str]:
        """See `Server`."""
        ...

    def clean(self) -> int:
        """See `Server`."""
        ...
