"""How long a level is measured: as long as it takes to tell what is asked, up to a cap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tuner.measure import statistics
from tuner.measure.estimate import Estimate
from tuner.measure.measurement import ClosedLoop, OpenLoop

if TYPE_CHECKING:
    from tuner.judge.goal import Objective
    from tuner.measure.measurement import Measurement
    from tuner.measure.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How closely to look at a level. A run that was too short is made again, longer.

    Attributes:
        rounds: how often each client has to be answered.
        tail: whether the p99 is to be bounded: not for its own sake, if it is within reach, or
            as far as the cap allows.
        precise: whether the objective's interval is to be as narrow as was asked for.
        windows: the longest run, in windows of the bench.
    """

    rounds: int
    tail: Literal["no", "within reach", "needed"]
    precise: bool
    windows: int


SCREENING = Care(rounds=3, tail="no", precise=False, windows=3)
"""For a level that may turn out not to matter."""

CLOSELY = Care(rounds=12, tail="within reach", precise=True, windows=5)
"""For a level that may be the answer."""

TAIL_DECIDES = Care(rounds=12, tail="within reach", precise=True, windows=15)
"""For a level of a ladder in which a p99 is an objective or a limit."""

FOR_THE_TAIL = Care(rounds=12, tail="needed", precise=True, windows=15)
"""For a level that may be the answer where a p99 is an objective or a limit."""

_MARGIN = 1.4
"""A run that is made longer to hold enough is made this much longer than just enough."""

_LONGER = 2.0
"""By so much a run is made longer that was too short for any number at all, or not steady."""

_TAIL = 0.99


def wanted_s(
    steady: Trace,
    level: Measurement,
    *,
    objective: Objective,
    care: Care,
    length_s: float,
    window_s: float,
    precision: float,
) -> float:
    """How long a run like this one has to be; ``length_s`` or less where it was long enough.

    An interval's width falls with the root of the run's length. The precision is followed as far
    as the cap allows. A p99 that is out of reach is let go where it is not needed.

    Args:
        steady: the steady part of the run; any number can be made of it (`too_short`).
        level: what it came to.
        objective: whose interval is to be narrow.
        care: how closely to look.
        length_s: how long the run was.
        window_s: of the bench.
        precision: half the interval's width that is asked for, as a share of the value.
    """
    if isinstance(level.workload.load, OpenLoop) and not carries(level):
        # Its latency grows for as long as one looks; once more, lest it was only cold.
        return _LONGER * window_s
    longest_s = care.windows * window_s
    steady_s = seconds(steady)
    wanted = care.rounds * _round_s(steady, level)
    if care.tail != "no":
        requests = statistics.requests_needed(steady, _TAIL)
        tail_s = steady_s * requests / steady.sent_ns.size
        if _MARGIN * tail_s <= longest_s or care.tail == "needed":
            wanted = max(wanted, tail_s)
    if any(caveat.code == "unstable" for caveat in level.caveats):
        wanted = max(wanted, _LONGER * length_s)
    value = objective.row.read(level)
    if care.precise and isinstance(value, Estimate) and value.value:
        share = (value.high - value.low) / 2 / abs(value.value)
        if share > precision:
            wanted = max(wanted, length_s - steady_s + steady_s * (share / precision) ** 2)
    return min(_MARGIN * wanted, longest_s) if wanted > length_s else length_s


def carried_per_s(load: OpenLoop) -> float:
    """Answered requests per second from which a load counts as carried.

    Random arrivals alone vary by a tenth within a few seconds. Nothing is lost by a wide margin:
    what falls behind even a little has a latency that grows without end.
    """
    return (0.8 if load.poisson else 0.95) * load.rate_per_s


def carries(level: Measurement) -> bool:
    """Whether requests that come by the clock are answered as fast as they come."""
    match level.workload.load:
        case OpenLoop() as load:
            answered = level.throughput_per_s.value / level.workload.request_batch
            return answered >= carried_per_s(load)
        case _:
            return False


def _round_s(steady: Trace, level: Measurement) -> float:
    """How long a client waits for an answer, in s.

    In a short run only the quickest answers have come yet. Little's law tells of the slow ones:
    they are in flight and not answered.
    """
    mean_s = float(steady.latency_ms.mean()) / 1e3
    match level.workload.load:
        case ClosedLoop(concurrency=concurrency):
            requests_per_s = level.throughput_per_s.value / level.workload.request_batch
            return max(mean_s, concurrency / requests_per_s)
        case OpenLoop():
            return mean_s


def too_short(steady: Trace, length_s: float) -> float | None:
    """How long a run has to be to make any number of it; None where this one will do.

    No cap holds here: a service that takes seconds for a request has to be waited for.
    """
    return None if statistics.bears_numbers(steady) else _LONGER * length_s


def seconds(trace: Trace) -> float:
    """From the first request's start to the last one's answer."""
    return float(trace.done_ns.max() - trace.sent_ns.min()) / 1e9
