"""Limits in words: which there are, how far one is missed, and how sure it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.judge.rank import missed
from tuner.measure.metrics import METRICS
from tuner.report import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.judge.goal import Limit
    from tuner.measure.measurement import Measurement

_TEN_FOLD = 10
"""From here on a miss reads better as a multiple of the limit than in per cent."""


def named(limits: Sequence[Limit]) -> str:
    """All of them, such as ``p99 Latency (ms) <= 200``."""
    return " and ".join(limit.describe() for limit in limits) or "the limits"


def beyond(level: Measurement, limits: Sequence[Limit]) -> str:
    """How far a level is from each limit that it does not keep, with a comma before each."""
    said = []
    for limit, miss in missed(level, limits):
        row = METRICS[limit.metric]
        about = "about " if limit.is_rough(level) else ""
        what = "the limit" if len(limits) == 1 else limit.describe()
        if miss is None:
            said.append(f"its {row.header} unknown there")
        elif limit.bound == 0:
            said.append(f"with {numbers.number(row.value(level), row.unit)}")
        elif row.goal == "maximize":
            said.append(f"{numbers.share(miss)} short of {what}")
        elif 1 + miss >= _TEN_FOLD:
            said.append(f"{about}{1 + miss:.0f} times {what}")
        else:
            said.append(f"{about}{numbers.share(miss)} beyond {what}")
    return "".join(f", {one}" for one in said)


def roughly_kept(level: Measurement, limits: Sequence[Limit]) -> str:
    """What is to be said of limits that a level was judged by a rough value for; else empty."""
    return "".join(
        f" That it keeps {limit.describe()} is likely, not sure: it came to "
        f"{numbers.plain(rough)} in {level.requests} requests, too few to bound it (--window "
        "measures for longer)."
        for limit in limits
        if (rough := METRICS[limit.metric].rough(level)) is not None
    )
