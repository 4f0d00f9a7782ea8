"""A trial's ladder of load levels: screened, climbed where it may win, and its top looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner.judge.rank import may_beat, violation
from tuner.load.ladder import Level, next_concurrency, room
from tuner.measure.measurement import ClosedLoop, Measurement, Workload
from tuner.measure.warming import warming

if TYPE_CHECKING:
    from tuner.judge.rank import Ranked
    from tuner.measure.saturation import Saturation
    from tuner.model.config import ModelConfig
    from tuner.study.bench import Bench
    from tuner.study.level import Levels

_THROUGHPUT = "throughput_per_s"


def climb(
    levels: Levels, config: ModelConfig, *, best: Ranked | None, start: Saturation | None = None
) -> None:
    """Measure level after level until more load tells nothing new.

    Every configuration is screened. One that may be the best is climbed thoroughly, and its
    best level is then measured closely; that run takes the place of the shorter one. Where
    requests come by the clock there is one level, theirs.

    Args:
        levels: measures each.
        config: what is served.
        best: what is to be beaten; None while nothing is.
        start: where it is expected to yield what it can; None where nobody knows. It is of use
            where throughput is the objective.

    Raises:
        ConfigurationRejected: requests are answered with errors.
        TrialAborted: the load could not be sent.
    """
    bench = levels.bench
    if bench.open_loop is not None:
        workload = Workload(load=bench.open_loop, request_batch=bench.request_batch)
        levels.measure(workload, levels.close_look)
        return
    if bench.objective.metric != _THROUGHPUT:
        start = None
    ladder = _Ladder(levels=levels, config=config, best=best, start=start)
    ladder.judge()
    if _repeat_what_was_warming(levels):
        ladder.judge()


def _repeat_what_was_warming(levels: Levels) -> bool:
    """Measure those levels again that the server was not yet ready for; whether there were."""
    measured = levels.measured
    slow = [(measured[place], caveat) for place, caveat in warming(measured).items()]
    for level, caveat in slow:
        levels.measure(level.workload, levels.ladder_look)
        again = measured[-1]
        measured[-1] = replace(again, caveats=(*again.caveats, caveat))
    return bool(slow)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ladder:
    levels: Levels
    config: ModelConfig
    best: Ranked | None
    start: Saturation | None

    def judge(self) -> None:
        """Climb as far as it takes to know what the configuration yields, if it may win."""
        self._climb(thorough=False)
        top = _top(self.levels)
        if top is None:
            return
        best, objective = self.best, self.levels.bench.objective
        if best is None or may_beat(top, best.level, objective):
            self._climb(thorough=True)
            _look_closely(self.levels)

    def _climb(self, *, thorough: bool) -> None:
        bench = self.levels.bench
        rows, best = bench.request_batch, None
        if self.best is not None and bench.objective.metric == _THROUGHPUT:
            best = self.best.level.throughput_per_s
        while True:
            concurrency = next_concurrency(
                [self._rung(level) for level in self.levels.measured],
                busy=_largest(self.config, rows) // rows * self.config.instance_count,
                max_concurrency=bench.max_concurrency,
                thorough=thorough,
                best_so_far=best,
                start=None if self.start is None else self.start.concurrency,
                limited=bool(bench.limits),
            )
            if concurrency is None:
                return
            workload = Workload(load=ClosedLoop(concurrency=concurrency), request_batch=rows)
            self.levels.measure(workload, self.levels.ladder_look)

    def _rung(self, level: Measurement) -> Level:
        bench, config = self.levels.bench, self.config
        throughput_per_s = level.throughput_per_s.value
        match level.workload.load:
            case ClosedLoop(concurrency=concurrency):
                left = room(
                    throughput_per_s,
                    level.batches,
                    instances=config.instance_count,
                    largest=_largest(config, bench.request_batch),
                )
                if self.start is not None:
                    left = min(left, self.start.room_at(concurrency, throughput_per_s))
                return Level(
                    concurrency=concurrency,
                    throughput=level.throughput_per_s,
                    keeps_limits=violation(level, bench.limits) <= 0,
                    room=left,
                )
            case _:
                raise ValueError(f"a ladder has closed loops, but got {level.workload}")


def _top(levels: Levels) -> Measurement | None:
    """The level that speaks for the configuration; None where none keeps the limits."""
    bench: Bench = levels.bench
    keeping = [level for level in levels.measured if violation(level, bench.limits) <= 0]
    scored = [(s, level) for level in keeping if (s := bench.objective.score(level))]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def _look_closely(levels: Levels) -> None:
    """Measure the best level again, where it was only screened and that was not enough.

    Where it then breaks a limit another level is the best, and gets the same.
    """
    while (top := _top(levels)) is not None and levels.was_screened(top.workload):
        levels.measure(top.workload, levels.top_look)
        if violation(levels.measured[-1], levels.bench.limits) <= 0:
            return


def _largest(config: ModelConfig, request_batch: int) -> int:
    """Rows in the largest batch that requests are joined to."""
    joined = config.max_batch_size // request_batch if config.dynamic_batching else 1
    return max(joined, 1) * request_batch
