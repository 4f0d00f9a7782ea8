"""Where perf_analyzer runs: on this machine, or elsewhere with its files and network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tuner import process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


class Runner(Protocol):
    """A place where programs run to their end."""

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        deadline_s: float,
        done: Callable[[], bool] | None = None,
    ) -> process.Completed:
        """Run a program; whatever happens, Ctrl-C too, nothing of it is left afterwards.

        Args:
            argv: the program and its arguments; paths are those of this machine.
            env: what its environment has besides that of the place.
            cwd: its working folder, which it may write to.
            log: a file to create, for what it writes to stdout and stderr.
            deadline_s: seconds until it has to be done.
            done: tells that all that is wanted of it is there, though it still runs: it is ended
                then, and counts as ended well.

        Raises:
            TimeoutError: it was not done in time.
            OSError: it cannot be started or the log cannot be written.
            MachineError: the place is not to be had.
            TrialAborted: the place failed.
        """
        ...


class Elsewhere(Runner, Protocol):
    """A place that brings a perf_analyzer of its own, under that name."""

    @property
    def name(self) -> str:
        """What it is, such as ``SDK image NAME``."""
        ...

    def is_ready(self) -> bool:
        """Tell whether it runs programs now; False where it may not be fetched yet.

        Raises:
            MachineError: it is not to be had on this machine.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This machine.

    Attributes:
        study: the study's folder; marks what is started.
    """

    study: Path

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        deadline_s: float,
        done: Callable[[], bool] | None = None,
    ) -> process.Completed:
        """See Runner."""
        whole = {**process.inherited_environment(), **env}
        return process.run(
            argv,
            env=whole,
            cwd=cwd,
            log=log,
            deadline_s=deadline_s,
            study=self.study,
            done=done,
        )
