"""A trial's ladder of load levels on one running server, and the numbers of each level."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tuner.judge.rank import may_beat, violation
from tuner.load.ladder import Level, next_concurrency
from tuner.measure import checks, stationarity, statistics
from tuner.measure.measurement import ClosedLoop, Measurement, Workload
from tuner.measure.warming import warming
from tuner.study.events import LevelMeasured, LevelStarted
from tuner.study.length import (
    CLOSELY,
    FOR_THE_TAIL,
    SCREENING,
    TAIL_DECIDES,
    Care,
    seconds,
    too_short,
    wanted_s,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tuner.judge.rank import Ranked
    from tuner.measure.trace import Trace
    from tuner.model.config import ModelConfig
    from tuner.servers.port import Endpoint
    from tuner.study.bench import Bench
    from tuner.study.events import Observer
    from tuner.study.stopwatch import Stopwatch
    from tuner.telemetry.port import Reading


_TAIL_METRIC = "latency_p99_ms"
_THROUGHPUT = "throughput_per_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Measures the levels of one trial.

    Attributes:
        bench: the parts and the lengths.
        endpoint: the running server.
        folder: where the evidence goes.
        watch: gets the seconds of warming up, measuring and reading back.
        observer: is told of each level.
        measured: what was measured so far; it outlives an exception.
        closely_s: how long a level has to be for a close look, from what was seen of it.
    """

    bench: Bench
    endpoint: Endpoint
    folder: Path
    watch: Stopwatch
    observer: Observer
    measured: list[Measurement]
    closely_s: dict[Workload, float] = field(default_factory=dict)

    def climb(self, config: ModelConfig, best: Ranked | None) -> None:
        """Measure level after level until more load tells nothing new.

        Every configuration is screened. One that may be the best is climbed thoroughly, and its
        best level is then measured closely; that run takes the place of the shorter one. Where
        requests come by the clock there is one level, theirs.

        Args:
            config: what is served.
            best: what is to be beaten; None while nothing is.

        Raises:
            ConfigurationRejected: requests are answered with errors.
            TrialAborted: the load could not be sent.
        """
        if self.bench.open_loop is not None:
            rows = self.bench.request_batch
            workload = Workload(load=self.bench.open_loop, request_batch=rows)
            self.measure(workload, self.close_look)
            return
        self._judge_by_ladder(config, best)
        if self._repeat_what_was_warming():
            self._judge_by_ladder(config, best)

    def _judge_by_ladder(self, config: ModelConfig, best: Ranked | None) -> None:
        self._ladder(config, best, thorough=False)
        top = self._top()
        if top is None:
            return
        if best is None or may_beat(top, best.level, self.bench.objective):
            self._ladder(config, best, thorough=True)
            self._look_closely()

    def _repeat_what_was_warming(self) -> bool:
        """Measure those levels again that the server was not yet ready for; whether there were."""
        slow = [(self.measured[place], caveat) for place, caveat in warming(self.measured).items()]
        for level, caveat in slow:
            self.measure(level.workload, self._care)
            again = self.measured[-1]
            self.measured[-1] = replace(again, caveats=(*again.caveats, caveat))
        return bool(slow)

    def _ladder(self, config: ModelConfig, best: Ranked | None, *, thorough: bool) -> None:
        bench = self.bench
        for_throughput = bench.objective.metric == _THROUGHPUT
        while True:
            concurrency = next_concurrency(
                [self._rung(level) for level in self.measured],
                busy=_busy(config, bench.request_batch),
                max_concurrency=bench.max_concurrency,
                thorough=thorough,
                best_so_far=best.level.throughput_per_s if best and for_throughput else None,
            )
            if concurrency is None:
                return
            self.measure(_closed(concurrency, bench), self._care)

    def measure(self, workload: Workload, care: Care) -> None:
        """Measure one level, again and longer where a window is too short for what it is to tell.

        Args:
            workload: the traffic.
            care: how closely to look.
        """
        bench = self.bench
        length_s = bench.window_s
        if care is not SCREENING:
            length_s = max(length_s, self.closely_s.get(workload, 0.0))
        while True:
            self.observer.on(LevelStarted(workload=workload, expected_s=length_s))
            trace, reading = self._run(workload, length_s)
            steady, discarded_s = stationarity.split_warm_up(trace)
            longer_s = too_short(steady, length_s)
            if longer_s is None:
                level = _numbers(workload, trace, steady, reading, discarded_s=discarded_s)
                longer_s = self._wanted_s(steady, level, care, length_s)
                if longer_s <= length_s:
                    break
            self.watch.add("warm up", seconds(trace))
            length_s = longer_s
        closely = self.close_look
        self.closely_s[workload] = self._wanted_s(steady, level, closely, length_s)
        self.watch.add("measure", level.duration_s)
        self.watch.add("warm up", seconds(trace) - level.duration_s)
        self.measured[:] = [*_others(self.measured, workload), level]
        self.observer.on(LevelMeasured(measurement=level))

    @property
    def close_look(self) -> Care:
        """The care for a level that may be the answer."""
        return FOR_THE_TAIL if self._needs_tail else CLOSELY

    def _wanted_s(self, steady: Trace, level: Measurement, care: Care, length_s: float) -> float:
        bench = self.bench
        return wanted_s(
            steady,
            level,
            objective=bench.objective,
            care=care,
            length_s=length_s,
            window_s=bench.window_s,
            precision=bench.precision,
        )

    def _top(self) -> Measurement | None:
        """The level that speaks for the configuration; None where none keeps the limits."""
        bench = self.bench
        keeping = [level for level in self.measured if violation(level, bench.limits) <= 0]
        scored = [(s, level) for level in keeping if (s := bench.objective.score(level))]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None

    def _look_closely(self) -> None:
        """Measure the best level again, where it was only screened."""
        top = self._top()
        if top is None or self._needs_tail:
            return
        short = top.duration_s < CLOSELY.rounds * top.latency.mean_ms.value / 1e3
        if short or top.latency.p99_ms is None:
            self.measure(top.workload, CLOSELY)

    def _run(self, workload: Workload, length_s: float) -> tuple[Trace, Reading]:
        """Send load for ``length_s`` and watch; what is not load is counted as reading back."""
        begun_s = time.monotonic()
        model, endpoint = self.bench.model.name, self.endpoint
        with self.bench.telemetry.sampling(
            http=endpoint.http, model=model, pid=endpoint.pid
        ) as read:
            trace = self.bench.load.run(
                grpc=endpoint.grpc,
                model=model,
                workload=workload,
                duration_s=length_s,
                folder=self.folder,
            )
            reading = read()
        idle_s = time.monotonic() - begun_s - seconds(trace)
        self.watch.add("start and read the load generator", idle_s)
        return trace, reading

    def _rung(self, level: Measurement) -> Level:
        match level.workload.load:
            case ClosedLoop(concurrency=concurrency):
                return Level(
                    concurrency=concurrency,
                    throughput=level.throughput_per_s,
                    keeps_limits=violation(level, self.bench.limits) <= 0,
                )
            case _:
                raise ValueError(f"a ladder has closed loops, but got {level.workload}")

    @property
    def _care(self) -> Care:
        """How closely each level of a ladder is looked at."""
        return TAIL_DECIDES if self._needs_tail else SCREENING

    @property
    def _needs_tail(self) -> bool:
        """Whether p99 decides anything, so that each level has to bound it."""
        bench = self.bench
        return _TAIL_METRIC in {bench.objective.metric, *(li.metric for li in bench.limits)}


def _closed(concurrency: int, bench: Bench) -> Workload:
    return Workload(load=ClosedLoop(concurrency=concurrency), request_batch=bench.request_batch)


def _busy(config: ModelConfig, request_batch: int) -> int:
    """Requests that the configuration can execute at once."""
    joined = config.max_batch_size // request_batch if config.dynamic_batching else 1
    return max(joined, 1) * config.instance_count


def _numbers(
    workload: Workload, whole: Trace, steady: Trace, reading: Reading, *, discarded_s: float
) -> Measurement:
    """What the steady part of a run and the telemetry beside it come to."""
    latency = statistics.latency(steady)
    return Measurement(
        workload=workload,
        throughput_per_s=statistics.throughput(steady, workload.request_batch),
        latency=latency,
        server=reading.server,
        batches=reading.batches,
        gpus=reading.gpus,
        host=reading.host,
        requests=int((~steady.failed).sum()),
        errors=int(steady.failed.sum()),
        duration_s=seconds(steady),
        discarded_s=discarded_s,
        caveats=checks.caveats(steady, workload=workload, latency=latency, whole=whole)
        + reading.caveats,
    )


def _others(levels: Iterable[Measurement], workload: Workload) -> list[Measurement]:
    return [level for level in levels if level.workload != workload]
