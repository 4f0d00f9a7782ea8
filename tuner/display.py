"""What a user sees while a study runs: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload
from tuner.measure.record import Aborted, Measured, Params, Rejected
from tuner.space.triton import (
    DYNAMIC_BATCHING,
    INSTANCE_COUNT,
    MAX_BATCH_SIZE,
    MAX_QUEUE_DELAY_US,
)
from tuner.study.events import (
    Cleaned,
    Event,
    LevelMeasured,
    LevelStarted,
    PhaseStarted,
    SearchEnded,
    StudyOpened,
    TrialEnded,
    TrialStarted,
)

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from tuner.judge.rank import Ranked


class Display:
    """An Observer that writes to stderr. Enter it for the time of the study."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, emoji=False)
        self._progress = Progress(
            TextColumn("{task.fields[trial]}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.description}", table_column=None),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, trial="", start=False)
        self._live = self._console.is_terminal
        self._lengths_s: list[float] = []
        self._begun_s = 0.0
        self._position = 0
        self._trials = 0
        self._proofs_left = 0
        self._best = ""

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def on(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Cleaned():
                self._say(f"ended {event.processes} processes that a killed run had left behind")
            case StudyOpened():
                self._trials = event.trials
                self._proofs_left = event.proofs
                self._progress.update(self._task, total=event.trials, completed=event.done)
                if event.done:
                    done = f"{event.done} trial{'' if event.done == 1 else 's'}"
                    self._say(f"study {event.name} goes on: {done} done")
            case TrialStarted():
                self._start(event)
            case PhaseStarted():
                self._status(event.phase)
            case LevelStarted():
                self._status(f"measuring at {describe_load(event.workload)}")
            case LevelMeasured():
                pass
            case TrialEnded():
                self._end(event)
            case SearchEnded():
                self._say(event.reason)

    def _start(self, event: TrialStarted) -> None:
        self._begun_s = time.monotonic()
        self._position = event.position
        self._progress.update(
            self._task, completed=event.position - 1, trial=f"trial {event.position}"
        )
        what = f"trial {event.position}/{self._trials}: {describe_params(event.params)}"
        if event.role == "proof":
            self._proofs_left = max(self._proofs_left - 1, 0)
            what = f"again: {describe_params(event.params)}"
        self._say(f"{what}  ({event.why})")

    def _end(self, event: TrialEnded) -> None:
        self._lengths_s.append(time.monotonic() - self._begun_s)
        match event.record.outcome:
            case Measured():
                self._best = _describe_best(event.best, event.baseline)
                self._say(f"  {_describe_levels(event.record.outcome)}{self._outlook()}")
                self._progress.update(self._task, completed=self._position)
            case Rejected():
                self._say(f"  rejected: {event.record.outcome.reason}{self._outlook()}")
                self._progress.update(self._task, completed=self._position)
            case Aborted():
                self._say(f"  lost: {event.record.outcome.cause}")

    def _outlook(self) -> str:
        parts = [self._best] if self._best else []
        left = max(self._trials - self._position, 0) + self._proofs_left
        if left > 0 and self._lengths_s:
            recent = self._lengths_s[-5:]
            parts.append(f"about {duration(left * sum(recent) / len(recent))} left")
        return "; " + ", ".join(parts) if parts else ""

    def _status(self, text: str) -> None:
        best = f" · {self._best}" if self._best else ""
        self._progress.update(self._task, description=f"{text}{best}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def describe_params(params: Params) -> str:
    """Such as ``max batch 16, dynamic batching (delay 100 µs), 2 instances``."""
    parts = []
    if INSTANCE_COUNT in params:
        count = params[INSTANCE_COUNT]
        parts = [f"{count} instance{'' if count == 1 else 's'}"]
    if MAX_BATCH_SIZE in params:
        batching = (
            f"dynamic batching, delay {params[MAX_QUEUE_DELAY_US]} µs"
            if params[DYNAMIC_BATCHING]
            else "no dynamic batching"
        )
        parts = [f"max batch {params[MAX_BATCH_SIZE]}", batching, *parts]
    return ", ".join(parts)


def describe_load(workload: Workload) -> str:
    """Such as ``concurrency 16``."""
    match workload.load:
        case ClosedLoop():
            return f"concurrency {workload.load.concurrency}"
        case OpenLoop():
            return f"{workload.load.rate_per_s:g} requests/s"


def duration(seconds: float) -> str:
    """Such as ``45 s``, ``3 min 10 s`` or ``2 h 5 min``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def _describe_levels(outcome: Measured) -> str:
    """The level of the highest throughput, in a few words."""
    top = max(outcome.levels, key=lambda level: level.throughput_per_s.value)
    p99 = top.latency.p99_ms
    tail = f", p99 {p99.value:.3g} ms" if p99 else ""
    rate = top.throughput_per_s.value
    return f"{rate:.4g} infer/s at {describe_load(top.workload)}{tail}"


def _describe_best(best: Ranked | None, baseline: Ranked | None) -> str:
    if best is None:
        return "nothing keeps the limits yet"
    rate = best.level.throughput_per_s.value
    text = f"best so far {rate:.4g} infer/s"
    if baseline is not None and best.record.number != baseline.record.number:
        text += f" ({rate / baseline.level.throughput_per_s.value:.2f}x yours)"
    return text
