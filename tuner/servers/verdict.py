"""What to blame when a server is late, ends, or does not survive its load."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuner.errors import ConfigurationRejected, TrialAborted
from tuner.servers.failure import blames, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def read_log(log: Path) -> str:
    """Return what a server has written so far."""
    return log.read_text(encoding="utf-8", errors="replace")


def late(model: str, log: Path, deadline_s: float) -> ConfigurationRejected:
    """Blame the configuration for a model that was not ready in time."""
    return ConfigurationRejected(
        f"{model} was not ready after {deadline_s:g} s.",
        evidence=explain(read_log(log), model).evidence,
    )


def ended(model: str, log: Path, *, signal: int | None) -> ConfigurationRejected:
    """Blame the configuration for a server that ended before its model was ready.

    Args:
        model: what it was to serve.
        log: what it said.
        signal: the signal that ended it, or None where it ended by itself.
    """
    words = read_log(log)
    failure = explain(words, model)
    # After a failed load Triton may crash on its way out, which is not why it ended.
    if signal is not None and not blames(words, model):
        return ConfigurationRejected(
            f"tritonserver was ended by signal {signal} while {model} loaded; signal 9 is "
            "what a machine sends that runs out of memory.",
            evidence=failure.evidence,
        )
    return ConfigurationRejected(
        f"{model} did not load: {failure.reason}.", evidence=failure.evidence
    )


@contextmanager
def blamed_if_ended(has_ended: Callable[[], bool], model: str, log: Path) -> Iterator[None]:
    """Blame the configuration for a failure under load that the server did not survive."""
    try:
        yield
    except TrialAborted as aborted:
        if not has_ended():
            raise
        raise ConfigurationRejected(
            f"tritonserver ended by itself while it served {model}: {aborted}",
            evidence=explain(read_log(log), model).evidence,
        ) from aborted
