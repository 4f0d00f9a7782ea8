"""The load levels of a trial on one running server, and the numbers of each."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from tuner.measure import checks, stationarity, statistics
from tuner.measure.measurement import ClosedLoop, Measurement, Workload
from tuner.study.events import LevelMeasured, LevelStarted
from tuner.study.experience import Configuration, expected_wait
from tuner.study.length import (
    CLOSELY,
    FOR_THE_TAIL,
    FROM_AFAR,
    SCREENING,
    TAIL_DECIDES,
    Care,
    Run,
    fewest_s,
    first_run,
    is_slow,
    seconds,
    too_short,
    wait_s,
    wanted_s,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tuner.measure.trace import Trace
    from tuner.servers.port import Endpoint
    from tuner.study.bench import Bench
    from tuner.study.events import Observer
    from tuner.study.experience import Wait
    from tuner.study.stopwatch import Stopwatch
    from tuner.telemetry.port import Reading


_TAIL_METRIC = "latency_p99_ms"

MADE_AGAIN = "runs made again"
"""The phase of the runs that turned out too short; nothing of them is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Measures the levels of one trial.

    Attributes:
        bench: the parts and the lengths.
        endpoint: the running server.
        folder: where the evidence goes.
        watch: gets the seconds by phase.
        observer: is told of each level.
        measured: what was measured so far; it outlives an exception.
        seen: what was seen of the configuration so far, here and in other trials.
        looked: loads whose present numbers are as sure as a close look asks for.
    """

    bench: Bench
    endpoint: Endpoint
    folder: Path
    watch: Stopwatch
    observer: Observer
    measured: list[Measurement]
    seen: Configuration = field(default_factory=Configuration)
    looked: set[Workload] = field(default_factory=set)

    def measure(self, workload: Workload, care: Care) -> None:
        """Measure one level, again and longer where a window is too short for what it is to tell.

        Args:
            workload: the traffic.
            care: how closely to look.
        """
        run = self._first_run(workload, care)
        for number in count(1):
            expected_s = run.length_s if run.requests is None else None
            self.observer.on(LevelStarted(workload=workload, expected_s=expected_s))
            trace, reading, load_s = self._run(workload, run)
            steady, discarded_s = stationarity.split_warm_up(trace)
            length_s = run.length_s if run.requests is None else seconds(trace)
            longer_s = too_short(steady, length_s)
            if longer_s is None:
                level = _numbers(workload, trace, steady, reading, discarded_s=discarded_s)
                self._learn(workload, steady, level, length_s)
                longer_s = self._wanted_s(steady, level, care, length_s, number)
                if longer_s <= length_s:
                    break
            self.watch.add(MADE_AGAIN, load_s)
            run = self._next_run(workload, run, longer_s)
        measured_s = load_s * level.duration_s / seconds(trace)
        self.watch.add("measure", measured_s)
        self.watch.add("warm up", load_s - measured_s)
        self.measured[:] = [*_others(self.measured, workload), level]
        self.observer.on(LevelMeasured(measurement=level))

    def _first_run(self, workload: Workload, care: Care) -> Run:
        known_s = 0.0
        if care not in (SCREENING, FROM_AFAR) and self.seen.closely_s:
            # Loads of one configuration need about as long: a batch counts, not its requests.
            known_s = self.seen.closely_s.get(workload, min(self.seen.closely_s.values()))
        return first_run(
            workload,
            self._expected_wait(workload),
            care=care,
            known_s=known_s,
            window_s=self.bench.window_s,
        )

    def _next_run(self, workload: Workload, run: Run, longer_s: float) -> Run:
        """A longer run; by the clock if it is known now how long an answer takes."""
        wait = self._expected_wait(workload)
        if wait is not None and wait.sure:
            return Run(length_s=max(longer_s, fewest_s(wait)))
        requests = None if run.requests is None else 2 * run.requests
        return Run(length_s=longer_s, requests=requests)

    def _expected_wait(self, workload: Workload) -> Wait | None:
        match workload.load:
            case ClosedLoop(concurrency=concurrency):
                alone_s = self.bench.experience.alone_s
                return expected_wait(concurrency, self.seen.waits_s, alone_s)
            case _:
                return None

    def _learn(
        self, workload: Workload, steady: Trace, level: Measurement, length_s: float
    ) -> None:
        """Keep what helps to guess how long the next level has to be."""
        wait = wait_s(steady, level)
        match workload.load:
            case ClosedLoop(concurrency=concurrency):
                self.seen.waits_s[concurrency] = wait
                if concurrency == 1:
                    self.bench.experience.alone_s = wait
            case _:
                pass
        needed_s = self._wanted_s(steady, level, self.top_look, length_s)
        self.seen.closely_s[workload] = needed_s
        self.looked.discard(workload)
        # A level without a p99 is measured again even if that is out of reach: a server that was
        # warming up all the while shows it later. For a slow one that would double the trial.
        seen_enough = needed_s <= length_s and level.latency.p99_ms is not None
        if seen_enough or is_slow(wait, self.bench.window_s):
            self.looked.add(workload)

    @property
    def ladder_look(self) -> Care:
        """The care for each level of a ladder.

        An objective that cannot be bounded is no number. A limit is judged by a rough p99, too.
        """
        return TAIL_DECIDES if self._aims_at_tail else SCREENING

    @property
    def top_look(self) -> Care:
        """The care for the level at which a ladder's configuration is at its best."""
        return FOR_THE_TAIL if self._aims_at_tail else CLOSELY

    @property
    def close_look(self) -> Care:
        """The care for a level that is the answer, if it comes to as much again."""
        if self._aims_at_tail:
            return FOR_THE_TAIL
        limited = any(limit.metric == _TAIL_METRIC for limit in self.bench.limits)
        return TAIL_DECIDES if limited else CLOSELY

    @property
    def far_look(self) -> Care:
        """The care for a level whose configuration is far from the best."""
        return FOR_THE_TAIL if self._aims_at_tail else FROM_AFAR

    def was_screened(self, workload: Workload) -> bool:
        """Whether a close look would tell more of a level than its numbers do now."""
        return not self._aims_at_tail and workload not in self.looked

    def _wanted_s(
        self, steady: Trace, level: Measurement, care: Care, length_s: float, run: int = 1
    ) -> float:
        bench = self.bench
        return wanted_s(
            steady,
            level,
            objective=bench.objective,
            care=care,
            length_s=length_s,
            window_s=bench.window_s,
            precision=bench.precision,
            run=run,
        )

    def _run(self, workload: Workload, run: Run) -> tuple[Trace, Reading, float]:
        """Send load and watch; what is not load is counted as reading back.

        Returns:
            The requests, the telemetry beside them, and the wall clock's seconds under load. A
            simulated run is over before the seconds that it simulates: it was load throughout.
        """
        begun_s = time.monotonic()
        model, endpoint = self.bench.model.name, self.endpoint
        with self.bench.telemetry.sampling(
            http=endpoint.http, model=model, pid=endpoint.pid
        ) as read:
            trace = self.bench.load.run(
                grpc=endpoint.grpc,
                model=model,
                workload=workload,
                duration_s=run.length_s,
                requests=run.requests,
                folder=self.folder,
            )
            reading = read()
        took_s = time.monotonic() - begun_s
        load_s = min(seconds(trace), took_s)
        self.watch.add("start and read the load generator", took_s - load_s)
        return trace, reading, load_s

    @property
    def _aims_at_tail(self) -> bool:
        """Whether a p99 is to be improved, so that each level has to bound it."""
        objectives = (self.bench.objective, self.bench.second)
        return any(one is not None and one.metric == _TAIL_METRIC for one in objectives)


def _numbers(
    workload: Workload, whole: Trace, steady: Trace, reading: Reading, *, discarded_s: float
) -> Measurement:
    """What the steady part of a run and the telemetry beside it come to."""
    latency = statistics.latency(steady)
    caveats = checks.caveats(steady, workload=workload, latency=latency, whole=whole)
    in_flight = None
    match workload.load:
        case ClosedLoop(concurrency=concurrency):
            stalled = any(caveat.code in {"littles_law", "errors"} for caveat in caveats)
            in_flight = None if stalled else concurrency
        case _:
            pass
    return Measurement(
        workload=workload,
        throughput_per_s=statistics.throughput(
            steady, workload.request_batch, in_flight=in_flight
        ),
        latency=latency,
        server=reading.server,
        batches=reading.batches,
        gpus=reading.gpus,
        host=reading.host,
        requests=int((~steady.failed).sum()),
        errors=int(steady.failed.sum()),
        duration_s=seconds(steady),
        discarded_s=discarded_s,
        caveats=caveats + reading.caveats,
    )


def _others(levels: Iterable[Measurement], workload: Workload) -> list[Measurement]:
    return [level for level in levels if level.workload != workload]
