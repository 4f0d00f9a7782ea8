"""The summary for programs."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from tuner.judge.rank import missed
from tuner.measure.metrics import METRICS
from tuner.report import numbers
from tuner.report.describe import load

if TYPE_CHECKING:
    from tuner.measure.estimate import Estimate
    from tuner.report.numbers import Cell
    from tuner.report.tables import Row, Table
    from tuner.report.view import Report

SCHEMA = 1
"""Version of this form. 1: the first (0.1.0)."""


def as_json(report: Report) -> str:
    """The answer, the ranked table with unrounded numbers, what was rejected, and the time.

    A number that was not measured is null; an interval is ``[low, high]``.
    """
    found = report.found
    proof = found.proof
    chosen = report.chosen
    content = {
        "schema": SCHEMA,
        "study": report.name,
        "model": report.model,
        "created_at_utc": report.created_at_utc,
        "objective": report.metric.key,
        "objectives": list(report.objectives),
        "limits": [limit.describe() for limit in report.limits],
        "answer": found.kind,
        "verdict": found.verdict,
        "headline": " ".join(part for part in (report.headline, report.verdict_line) if part),
        "config": None if chosen is None else chosen.name,
        "trial": None if chosen is None else chosen.number,
        "gain": _ratio(found.gain),
        "proved_gain": None if proof is None else _ratio(proof.gain),
        "instead_of": None if found.spared is None else found.spared.entry.record.number,
        "trials": found.trials,
        "search_ended": report.search_ended or None,
        "started_from": list(report.started_from),
        "nearest_miss": _nearest_miss(report) if found.kind == "misses" else None,
        "summary": _rows(report.summary),
        "front": None if report.front is None else _rows(report.front.table),
        "rejected": [
            {"config": s.name, "trial": s.number, "reason": s.reason} for s in report.refused
        ],
        "seconds": {phase.name: round(phase.seconds, 3) for phase in report.spent.phases},
        "wall_clock_s": round(report.spent.total_s, 3),
        "environment": dict(report.environment),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _nearest_miss(report: Report) -> dict[str, object]:
    """What comes nearest to the limits, and how far it is from each that it does not keep."""
    nearest = report.found.ranked[0]
    return {
        "config": None if report.chosen is None else report.chosen.name,
        "trial": nearest.record.number,
        "load": load(nearest.level.workload).value,
        "missed": [
            {
                "limit": limit.describe(),
                "metric": limit.metric,
                "bound": limit.bound,
                "value": METRICS[limit.metric].value(nearest.level),
                "beyond": miss,
            }
            for limit, miss in missed(nearest.level, report.limits)
        ],
    }


def _ratio(ratio: Estimate | None) -> dict[str, object] | None:
    return None if ratio is None else _cell(numbers.gain(ratio))


def _rows(table: Table) -> list[dict[str, object]]:
    return [_row(table, row) for row in table.rows]


def _row(table: Table, row: Row) -> dict[str, object]:
    cells = zip(table.columns, row.cells, strict=True)
    return {"mark": row.mark, **{column.key: _plain(cell) for column, cell in cells}}


def _plain(cell: Cell) -> object:
    return _cell(cell) if cell.low is not None else cell.value


def _cell(cell: Cell) -> dict[str, object]:
    return {"value": cell.value, "interval": [_finite(cell.low), _finite(cell.high)]}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
