"""What a user sees while a study runs: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tuner.measure.duration import duration
from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload
from tuner.measure.record import Aborted, Measured, Params, Rejected
from tuner.outlook import Outlook
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
    ProofStarted,
    ProofSure,
    SearchEnded,
    StudyOpened,
    TrialEnded,
    TrialStarted,
)

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from tuner.judge.goal import Objective
    from tuner.judge.rank import Ranked
    from tuner.measure.measurement import Measurement

_WHOLE = 1000
"""From here on decimals are more than a glance takes in."""


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
        self._outlook = Outlook()
        self._position = 0
        self._trials = 0
        self._best = ""
        self._objective: Objective | None = None

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
        self._outlook.note(event)
        match event:
            case Cleaned():
                self._say(f"ended {event.processes} processes that a killed run had left behind")
            case StudyOpened():
                self._open(event)
            case TrialStarted():
                self._start(event)
            case PhaseStarted():
                self._status(event.phase)
            case LevelStarted():
                self._status(f"measuring at {describe_load(event.workload)}")
            case LevelMeasured() | ProofStarted():
                pass
            case TrialEnded():
                self._end(event)
            case SearchEnded():
                self._say(event.reason)
            case ProofSure():
                self._say(f"The gain is plain after {event.rounds} of {event.of} rounds of proof.")

    def _open(self, event: StudyOpened) -> None:
        self._trials = event.trials
        self._objective = event.objective
        self._progress.update(self._task, total=event.trials, completed=event.done)
        if event.done:
            done = f"{event.done} trial{'' if event.done == 1 else 's'}"
            self._say(f"study {event.name} goes on: {done} done")

    def _start(self, event: TrialStarted) -> None:
        self._position = event.position
        self._progress.update(
            self._task, completed=event.position - 1, trial=f"trial {event.position}"
        )
        what = f"trial {event.position}/{self._trials}: {describe_params(event.params)}"
        if event.role == "proof":
            what = f"again: {describe_params(event.params)}"
        self._say(f"{what}  ({event.why})")

    def _end(self, event: TrialEnded) -> None:
        match event.record.outcome:
            case Measured():
                shown = "measured"
                if self._objective is not None:
                    self._best = describe_best(event.best, event.baseline, self._objective)
                    shown = describe_level(event.spoken, self._objective)
                self._say(f"  {shown}{self._ahead(event)}")
                self._progress.update(self._task, completed=self._position)
            case Rejected():
                self._say(f"  rejected: {event.record.outcome.reason}{self._ahead(event)}")
                self._progress.update(self._task, completed=self._position)
            case Aborted():
                self._say(f"  lost: {event.record.outcome.cause}")

    def _ahead(self, event: TrialEnded) -> str:
        parts = [self._best] if self._best else []
        left_s = self._outlook.left_s(event.best, event.baseline)
        if left_s is not None and round(left_s):
            parts.append(f"about {duration(round(left_s))} left")
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


def describe_level(spoken: Ranked | None, objective: Objective) -> str:
    """Such as ``812 infer/s at concurrency 16, p99 12.3 ms``: the objective comes first."""
    if spoken is None:
        return "no level was measured"
    level = spoken.level
    parts = [f"{_value(level, objective)} at {describe_load(level.workload)}"]
    if objective.metric != "throughput_per_s":
        parts.append(f"{_number(level.throughput_per_s.value)} infer/s")
    if objective.metric != "latency_p99_ms" and level.latency.p99_ms is not None:
        parts.append(f"p99 {_number(level.latency.p99_ms.value)} ms")
    if spoken.violation > 0:
        parts.append("misses the limits")
    return ", ".join(parts)


def describe_best(best: Ranked | None, baseline: Ranked | None, objective: Objective) -> str:
    """Such as ``best so far p99 12.3 ms (2.00x better than yours)``.

    No ratio where the user's own misses the limits: what may not be run is no measure.
    """
    if best is None:
        if baseline is not None and baseline.violation <= 0:
            return f"no run could bound a {objective.name.removesuffix(' Latency')} yet"
        return "nothing keeps the limits yet"
    text = f"best so far {_value(best.level, objective)}"
    if baseline is None or best.record.number == baseline.record.number or not baseline.feasible:
        return text
    mine, own = objective.read(best.level), objective.read(baseline.level)
    if not mine or not own:
        return text
    if objective.row.goal == "minimize":
        return f"{text} ({own / mine:.2f}x better than yours)"
    return f"{text} ({mine / own:.2f}x yours)"


def _value(level: Measurement, objective: Objective) -> str:
    """The objective with its name, which a throughput does not need."""
    value = objective.read(level)
    if objective.metric == "throughput_per_s":
        return f"{_number(level.throughput_per_s.value)} infer/s"
    name = objective.row.header.partition(" (")[0].removesuffix(" Latency")
    return f"{name} unknown" if value is None else f"{name} {_number(value)} {objective.row.unit}"


def _number(value: float) -> str:
    """Four significant digits, and no exponent for a large number."""
    return f"{value:.0f}" if value >= _WHOLE else f"{value:.4g}"
