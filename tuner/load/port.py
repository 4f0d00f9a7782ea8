"""The ports: send traffic and say when each request left and was answered; ask for answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tuner.measure.answers import Answer
    from tuner.measure.measurement import Workload
    from tuner.measure.trace import Trace


class LoadGenerator(Protocol):
    """A way to send traffic."""

    def run(
        self,
        *,
        grpc: str,
        model: str,
        workload: Workload,
        duration_s: float,
        folder: Path,
        requests: int | None = None,
        deadline_s: float = 3600.0,
    ) -> Trace:
        """Send traffic for a while and tell what was answered in it.

        The load is full from the first to the last moment of the trace: what was still on its
        way at the end is not in it. In an open loop ``sent_ns`` of the trace is when a request
        was due, not when it left: a late generator does not shorten the wait.

        Args:
            grpc: ``host:port`` of the server.
            model: the model's name.
            workload: how the requests arrive.
            duration_s: how long; longer where nothing would be answered in it.
            folder: where the generator's own files go, kept as evidence; it exists.
            requests: send for as long as it takes until so many were answered, instead of for
                ``duration_s``; for requests that may take as long as a whole run.
            deadline_s: seconds until it has to be done.

        Raises:
            ConfigurationRejected: the server answered a request with an error, and this
                generator cannot go on after one. One that can marks it in ``failed``.
            TrialAborted: the generator failed, found no server any more, or was not done in
                time; its last words are in the message.
        """
        ...

    def describe(self) -> Mapping[str, str]:
        """Tell what numbers depend on: the generator and its version.

        Raises:
            MachineError: it is missing or does not run here, with what to do about it.
        """
        ...


class Asker(Protocol):
    """A way to ask a model and read what it answers."""

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The texts in each of the requests that can be asked."""
        ...

    def ask(self, *, http: str, model: str, numbers: Sequence[int]) -> tuple[Answer, ...]:
        """Send requests at the same moment; return their answers in the same order.

        Args:
            http: ``host:port`` of the server.
            model: the model's name.
            numbers: which of the requests, as they lie in `texts`.

        Raises:
            ConfigurationRejected: the model answers one with an error.
            TrialAborted: no answer came.
        """
        ...
