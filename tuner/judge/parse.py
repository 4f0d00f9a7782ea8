"""Objectives and limits as users type them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tuner.errors import UsageError
from tuner.judge.goal import Limit, Objective
from tuner.measure.metrics import metric

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_OBJECTIVES: Final = 2
_UNITS: Final = {
    "ms": {"": 1.0, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3},
    "MB": {"": 1.0, "mb": 1.0, "gb": 1e3, "mib": 1.048576, "gib": 1073.741824},
    "infer/sec": {"": 1.0, "/s": 1.0, "infer/s": 1.0, "infer/sec": 1.0},
}
_SECONDS: Final = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_QUANTITY: Final = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([^\s\d]*)\s*")
_LIMIT: Final = re.compile(r"\s*([\w ]+?)\s*(<=|>=)\s*(.+)")


def parse_objective(text: str) -> Objective:
    """Read a metric's key or one of its short names, such as ``throughput`` or ``p99``.

    Raises:
        UsageError: there is no such metric.
    """
    return Objective(metric=metric(text).key)


def parse_bound(name: str, text: str) -> Limit:
    """Read the bound of a metric, such as ``200ms`` or ``0.2 s`` for ``p99``.

    Raises:
        UsageError: no such metric, no number, or a unit that the metric does not have.
    """
    row = metric(name)
    units = _UNITS.get(row.unit, {"": 1.0, row.unit.lower(): 1.0})
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in units:
        known = ", ".join(unit for unit in units if unit) or "no unit"
        raise UsageError(
            f"{text!r} is not a bound for {row.key}: write a number, such as 200, in {row.unit} "
            f"or with its unit ({known})."
        )
    bound = float(match[1]) * units[match[2].lower()]
    if bound == 0 and row.goal == "maximize":
        raise UsageError(f"a limit of {text} on {row.key} is always kept; it must be above 0.")
    if bound == 0 and not row.may_be_zero:
        raise UsageError(f"a limit of {text} on {row.key} cannot be kept; it must be above 0.")
    return Limit(metric=row.key, bound=bound)


def parse_objectives(texts: Sequence[str]) -> tuple[Objective, ...]:
    """Read one objective or two; the first one decides.

    Raises:
        UsageError: there is no such metric, one comes twice, or there are more than two.
    """
    objectives = tuple(map(parse_objective, texts))
    if len(set(objectives)) < len(objectives):
        twice = next(o for o in objectives if objectives.count(o) > 1)
        raise UsageError(f"--objective names {twice.metric} twice; leave one out.")
    if len(objectives) > _MOST_OBJECTIVES:
        raise UsageError(
            f"there are {len(objectives)} objectives, and a front has two: leave some out, or "
            "make limits of them (--limit)."
        )
    return objectives


def parse_time(text: str) -> float:
    """Read a length of time, such as ``15m``, ``90s`` or ``1.5h``; return seconds.

    Raises:
        UsageError: it is none, or has no unit.
    """
    match = _QUANTITY.fullmatch(text)
    seconds = 0.0
    if match is not None:
        seconds = float(match[1]) * _SECONDS.get(match[2].lower(), 0.0)
    if seconds <= 0:
        raise UsageError(f"{text!r} is no length of time; write it with its unit: 90s, 15m, 2h.")
    return seconds


def parse_share(text: str) -> float:
    """Read a share between 0 and 1, such as ``5%`` or ``0.05``.

    Raises:
        UsageError: it is none.
    """
    match = _QUANTITY.fullmatch(text)
    share = -1.0
    if match is not None and match[2] in {"", "%"}:
        share = float(match[1]) / (100 if match[2] else 1)
    if not 0 < share < 1:
        raise UsageError(f"{text!r} is not a share; write one between 0 and 100 %, such as 5%.")
    return share


def parse_limit(text: str) -> Limit:
    """Read ``METRIC<=BOUND`` or ``METRIC>=BOUND``, such as ``p99<=200ms``.

    Raises:
        UsageError: not of that form, or the sign is against the metric's direction.
    """
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a limit: write METRIC<=BOUND, such as 'p99<=200ms'.")
    limit = parse_bound(match[1], match[3])
    sign = "<=" if metric(match[1]).goal == "minimize" else ">="
    if match[2] != sign:
        better = "smaller" if sign == "<=" else "larger"
        raise UsageError(
            f"{text!r}: {better} is better for {limit.metric}, so write its limit with {sign}."
        )
    return limit
