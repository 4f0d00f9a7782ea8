"""What a user sees while a study runs: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tuner.judge.sure import looks_plain
from tuner.measure.duration import duration
from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload
from tuner.measure.record import Aborted, Measured, Params, Rejected
from tuner.space.triton import (
    DYNAMIC_BATCHING,
    INSTANCE_COUNT,
    MAX_BATCH_SIZE,
    MAX_QUEUE_DELAY_US,
)
from tuner.study.budget import proof_trial_s, took_s
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
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from tuner.judge.goal import Objective
    from tuner.judge.rank import Ranked
    from tuner.measure.measurement import Measurement

_WHOLE = 1000
"""From here on decimals are more than a glance takes in."""


class Display:
    """An Observer that writes to stderr. Enter it for the time of the study.

    Args:
        console: to write to; stderr where it is not given.
        clock: tells the time in seconds, from whenever.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
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
        self._searched_s: list[float] = []
        self._proved_s: list[float] = []
        self._begun_s = 0.0
        self._ends_at_s = math.inf
        self._position = 0
        self._trials = 0
        self._proofs_left = self._proofs_spared = 0
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
            case LevelMeasured():
                pass
            case TrialEnded():
                self._end(event)
            case SearchEnded():
                self._trials = self._position = 0  # none of the search is left
                self._say(event.reason)
            case ProofStarted() | ProofSure():
                self._prove(event)

    def _prove(self, event: ProofStarted | ProofSure) -> None:
        match event:
            case ProofStarted():
                self._proofs_left = event.trials
                self._proofs_spared = event.trials - event.trials_if_plain
            case ProofSure():
                self._proofs_left = 0
                self._say(f"The gain is plain after {event.rounds} of {event.of} rounds of proof.")

    def _open(self, event: StudyOpened) -> None:
        self._trials = event.trials
        self._proofs_left = event.proofs
        self._proofs_spared = event.proofs - event.proofs_if_plain
        if event.time_left_s is not None:
            self._ends_at_s = self._clock() + max(event.time_left_s, 0.0)
        self._objective = event.objective
        self._progress.update(self._task, total=event.trials, completed=event.done)
        if event.done:
            done = f"{event.done} trial{'' if event.done == 1 else 's'}"
            self._say(f"study {event.name} goes on: {done} done")

    def _start(self, event: TrialStarted) -> None:
        self._begun_s = self._clock()
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
        self._note_length(event)
        match event.record.outcome:
            case Measured():
                shown = "measured"
                if self._objective is not None:
                    self._best = describe_best(event.best, event.baseline, self._objective)
                    shown = describe_level(event.spoken, self._objective)
                self._say(f"  {shown}{self._outlook(event)}")
                self._progress.update(self._task, completed=self._position)
            case Rejected():
                self._say(f"  rejected: {event.record.outcome.reason}{self._outlook(event)}")
                self._progress.update(self._task, completed=self._position)
            case Aborted():
                self._say(f"  lost: {event.record.outcome.cause}")

    def _note_length(self, event: TrialEnded) -> None:
        """Remember how long trials take: those of the search, and those that measure again.

        The user's own is measured at more levels than what is compared with it, and tells of
        neither.
        """
        length_s = self._clock() - self._begun_s
        match event.record.role:
            case "baseline":
                return
            case "search":
                self._searched_s.append(length_s)
            case "proof":
                self._proved_s.append(length_s)

    def _outlook(self, event: TrialEnded) -> str:
        parts = [self._best] if self._best else []
        left_s = self.left_s(event.best, event.baseline)
        if left_s is not None and round(left_s):
            parts.append(f"about {duration(round(left_s))} left")
        return "; " + ", ".join(parts) if parts else ""

    def left_s(self, best: Ranked | None, baseline: Ranked | None) -> float | None:
        """Time to the end, as it looks; None while too little is known."""
        trials = max(self._trials - self._position, 0)
        trial_s = _recent(self._searched_s)
        if trial_s is None and trials:
            return None
        proof_s = _recent(self._proved_s)
        if proof_s is None and trial_s is not None and best is not None:
            share = proof_trial_s((), best) / max(took_s(best.record), 1e-9)
            proof_s = trial_s * min(share, 1.0)
        if proof_s is None:
            proof_s = trial_s
        if proof_s is None:
            return None
        proofs = self._proofs_ahead(best, baseline)
        left_s = trials * (trial_s or 0.0) + proofs * proof_s
        return min(left_s, max(self._ends_at_s - self._clock(), 0.0)) if trials else left_s

    def _proofs_ahead(self, best: Ranked | None, baseline: Ranked | None) -> int:
        """So many as a plain gain takes, as long as it looks plain and these are not over."""
        ahead = self._proofs_left - self._proofs_spared
        if ahead < 0 or best is None or baseline is None or self._objective is None:
            return self._proofs_left
        plain = looks_plain(best, baseline, self._objective)
        return ahead if plain else self._proofs_left

    def _status(self, text: str) -> None:
        best = f" · {self._best}" if self._best else ""
        self._progress.update(self._task, description=f"{text}{best}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def _recent(lengths_s: list[float]) -> float | None:
    return fmean(lengths_s[-5:]) if lengths_s else None


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
