"""The tables as CSV: Model Analyzer's headers as they are shown, then every number unrounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from tuner.report import numbers

if TYPE_CHECKING:
    from tuner.report.front import Front
    from tuner.report.numbers import Cell
    from tuner.report.tables import Column, Row, Table
    from tuner.report.view import Report


def summary_csv(report: Report) -> str:
    """One line a configuration, best first."""
    return _csv([_fields(report.summary, row) for row in report.summary.rows])


def front_csv(front: Front) -> str:
    """One line a point, the best in the first objective first."""
    return _csv([_fields(front.table, row) for row in front.table.rows])


def detail_csv(report: Report) -> str:
    """One line a level of every configuration."""
    lines = []
    for configuration in report.configurations:
        name = {"Model Config Name": configuration.name}
        detail = configuration.detail
        lines += [{**name, **_fields(detail, row)} for row in detail.rows]
    return _csv(lines)


def trials_csv(report: Report) -> str:
    """One line a trial, in the order of time."""
    objective = report.metric.key
    return _csv(
        [
            {
                "trial": step.number,
                "config": step.name,
                "status": step.status,
                "configuration": step.knobs,
                "proposal": step.proposal,
                **_ends(objective, numbers.cell(step.value)),
                f"best_{objective}": step.best,
                "seconds": round(step.seconds, 3),
                "reason": step.reason,
            }
            for step in report.steps
        ]
    )


def _fields(table: Table, row: Row) -> dict[str, object]:
    """As shown, by header; then whole, by key, with both ends of the interval."""
    pairs: list[tuple[Column, Cell]] = list(zip(table.columns, row.cells, strict=True))
    shown = {c.header: None if cell.value is None else cell.text for c, cell in pairs}
    whole: dict[str, object] = {}
    for column, cell in pairs:
        if column.numeric:
            whole |= _ends(column.key, cell)
    return {**shown, **whole}


def _ends(key: str, cell: Cell) -> dict[str, object]:
    ends: dict[str, object] = {key: cell.value}
    if cell.low is not None:
        ends |= {f"{key}_low": cell.low, f"{key}_high": cell.high}
    return ends


def _csv(lines: list[dict[str, object]]) -> str:
    return str(pd.DataFrame(lines, dtype=object).to_csv(index=False, lineterminator="\n"))
