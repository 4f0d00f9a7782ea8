"""How long a level is measured: as long as it takes to tell what is asked, up to a cap.

A run that turns out too short is thrown away and made again, so its length is guessed as well as
can be beforehand (`first_run`), one that nearly does is accepted, and after two that did not the
third is as long as the cap allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tuner.measure import statistics
from tuner.measure.estimate import Estimate
from tuner.measure.measurement import ClosedLoop, OpenLoop

if TYPE_CHECKING:
    from tuner.judge.goal import Objective
    from tuner.measure.measurement import Measurement, Workload
    from tuner.measure.trace import Trace
    from tuner.study.experience import Wait


ROUNDS = 5
"""Answers that each client has to get: the first round is cut off, and of the last one nobody
knows how much was done. With four, bursts of several instances push the value up by 20 %."""

_SLOW_ROUNDS = 8
"""Where so many rounds fill a window, rounds are measured instead of windows."""


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


SCREENING = Care(rounds=ROUNDS, tail="no", precise=False, windows=3)
"""For a level that may turn out not to matter."""

CLOSELY = Care(rounds=12, tail="within reach", precise=True, windows=5)
"""For a level that may be the answer."""

TAIL_DECIDES = Care(rounds=12, tail="within reach", precise=True, windows=15)
"""For a level of a ladder in which a p99 is an objective, and for a proof that has to keep one."""

FOR_THE_TAIL = Care(rounds=12, tail="needed", precise=True, windows=15)
"""For a level that may be the answer where a p99 is an objective."""

SLOWLY = Care(rounds=6, tail="no", precise=False, windows=5)
"""The close look at a level whose requests take so long that `_SLOW_ROUNDS` fill a window."""

FROM_AFAR = Care(rounds=12, tail="no", precise=False, windows=5)
"""For a level whose configuration is so far from the best that a rough number tells as much."""

_SHORTER = (CLOSELY, FROM_AFAR)
"""Looks that become `SLOWLY` where requests take so long."""

_MARGIN = 1.4
"""A run that is made longer to hold enough is made this much longer than just enough."""

_ENOUGH = 1.2
"""A run is not made again for less than a fifth of its length: a tenth of an interval's width."""

_NEAR_CAP = 1.5
"""Nor for less than a half of its length if all that the cap allows is too short all the same."""

_LONGER = 2.0
"""By so much a run is made longer that was too short for any number at all, or not steady."""

_TAIL = 0.99

_WINDOW_ROUNDS = 3.75
"""Waits that have to fit into a run that ends by the clock: perf_analyzer measures three windows,
and each needs an answer."""

_SPARE = 1.1
"""A wait that is known may be so much longer the next time."""

_STRAGGLERS = 0.9
"""Share of a round that counts as one: else the last of them would hold up the run's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How long to send load.

    Attributes:
        length_s: so long, if ``requests`` is None.
        requests: until so many were answered; None goes by the clock.
    """

    length_s: float
    requests: int | None = None


def first_run(
    workload: Workload, wait: Wait | None, *, care: Care, known_s: float, window_s: float
) -> Run:
    """The first run of a level, which is meant to be the only one.

    It goes by the clock where answers are known to come in time. Else it goes by their number,
    which needs no guess, but ends only at a whole second.

    Args:
        workload: the traffic.
        wait: what is expected of it; None where nothing was seen.
        care: how closely to look.
        known_s: how long such a level had to be before; 0 where none was measured.
        window_s: of the bench.
    """
    longest_s = care.windows * window_s
    length_s = max(window_s, min(known_s, longest_s))
    match workload.load:
        case ClosedLoop(concurrency=concurrency) if wait is not None:
            if wait.sure:
                slow = is_slow(wait.seconds, window_s)
                rounds = SLOWLY.rounds if slow and care in _SHORTER else care.rounds
                rounds_s = rounds / ROUNDS * fewest_s(wait)
                return Run(length_s=max(length_s, min(rounds_s, longest_s), fewest_s(wait)))
            if _WINDOW_ROUNDS * wait.seconds > length_s:
                rounds = ROUNDS if care is SCREENING else SLOWLY.rounds
                answers = math.ceil(_STRAGGLERS * rounds * concurrency)
                return Run(length_s=length_s, requests=answers)
    return Run(length_s=length_s)


def is_slow(wait_s: float, window_s: float) -> bool:
    """Whether so few rounds fit into a window that they are what is counted."""
    return _SLOW_ROUNDS * wait_s > window_s


def fewest_s(wait: Wait) -> float:
    """Seconds in which each client gets answers enough, by a wait that is known."""
    return _SPARE * ROUNDS * wait.seconds


def wanted_s(
    steady: Trace,
    level: Measurement,
    *,
    objective: Objective,
    care: Care,
    length_s: float,
    window_s: float,
    precision: float,
    run: int = 1,
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
        run: 1 for the first run of the level. One that is not steady is made again only once.
    """
    if isinstance(level.workload.load, OpenLoop) and not carries(level):
        # Its latency grows for as long as one looks; once more, lest it was only cold.
        return _LONGER * window_s
    wait = wait_s(steady, level)
    slow = is_slow(wait, window_s)
    care = SLOWLY if slow and care in _SHORTER else care
    longest_s = care.windows * window_s
    steady_s = seconds(steady)
    tail_s = _tail_s(steady, care, longest_s)
    wanted = max(care.rounds * wait, tail_s)
    if run == 1 and any(caveat.code == "unstable" for caveat in level.caveats):
        wanted = max(wanted, _LONGER * length_s)
    value = objective.row.read(level)
    if care.precise and isinstance(value, Estimate) and value.value:
        share = (value.high - value.low) / 2 / abs(value.value)
        if share > precision:
            wanted = max(wanted, length_s - steady_s + steady_s * (share / precision) ** 2)
    near_cap = wanted >= longest_s and longest_s <= _NEAR_CAP * length_s
    # A p99 is there or not: it has no «nearly».
    if tail_s <= length_s and (near_cap or wanted <= _ENOUGH * length_s):
        return length_s
    return min((_SPARE if slow else _MARGIN) * wanted, longest_s) if run == 1 else longest_s


def _tail_s(steady: Trace, care: Care, longest_s: float) -> float:
    """How long it takes to bound the p99; 0 where that is not asked for, or out of reach."""
    if care.tail == "no":
        return 0.0
    tail_s = seconds(steady) * statistics.requests_needed(steady, _TAIL) / steady.sent_ns.size
    return tail_s if _MARGIN * tail_s <= longest_s or care.tail == "needed" else 0.0


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


def wait_s(steady: Trace, level: Measurement) -> float:
    """How long a client waits for an answer, in s.

    In a short run only the quickest answers have come yet. The throughput tells of the slow ones:
    by Little's law as many as are not answered are in flight.
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
