"""The front of a study with two objectives: its points, as a table and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.judge.front import pareto_front
from tuner.judge.rank import violation
from tuner.judge.tails import with_tails
from tuner.judge.verdict import searched
from tuner.measure.metrics import METRICS
from tuner.measure.record import Measured
from tuner.report import describe
from tuner.report.numbers import cell, words
from tuner.report.tables import CONFIGURATION, Column, Row, Table, caveat_codes, for_load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.judge.front import Point
    from tuner.judge.goal import Objective
    from tuner.measure.record import TrialRecord
    from tuner.study.spec import StudyRecord, StudySpec

_LOAD = Column(header="Load (concurrency)", key="concurrency", help="The load of the point.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What two objectives leave to choose from.

    Attributes:
        title: what it is the front of.
        points: the best in the first objective first.
        table: the same.
        note: what is missing from it; may be empty.
    """

    title: str
    points: tuple[Point, ...]
    table: Table
    note: str


def front(study: StudyRecord, best: int | None) -> Front | None:
    """The front of a study; None where it has one objective.

    Args:
        study: the record.
        best: number of the winner's trial; None where there is none.
    """
    spec = study.header.spec
    if spec.front_of is None:
        return None
    records = searched(with_tails(study.trials))
    points = pareto_front(records, spec.front_of, spec.limits)
    names = " and ".join(objective.name for objective in spec.front_of)
    return Front(
        title=f"The front of {names}",
        points=points,
        table=_table(points, spec, best),
        note=_note(records, spec),
    )


def front_lines(study: StudyRecord, number: int) -> list[str]:
    """What a configuration has on the front, one line a point; none without a front."""
    found = front(study, None)
    spec = study.header.spec
    if found is None or spec.front_of is None:
        return []
    names = [objective.name for objective in spec.front_of]
    rows = zip(found.points, found.table.rows, strict=True)
    return [
        f"On the front of {names[0]} and {names[1]}: {row.cells[2].text} "
        f"{spec.front_of[0].row.unit} and {row.cells[3].text} {spec.front_of[1].row.unit} at "
        f"{describe.load_words(point.level.workload)}."
        for point, row in rows
        if point.record.number == number
    ]


def _table(points: Sequence[Point], spec: StudySpec, best: int | None) -> Table:
    objectives = spec.front_of or (spec.objective,)
    measured = tuple(Column(header=o.row.header, key=o.metric) for o in objectives)
    columns = (CONFIGURATION[0], _LOAD, *measured, *CONFIGURATION[1:])
    rows = tuple(_row(point, objectives, spec.model, best) for point in points)
    return Table(columns=for_load(columns, [point.level for point in points]), rows=rows)


def _row(point: Point, objectives: Sequence[Objective], model: str, best: int | None) -> Row:
    record, level = point.record, point.level
    mark = "default" if record.role == "baseline" else ""
    return Row(
        cells=(
            words(describe.config_name(model, record)),
            describe.load(level.workload),
            *(cell(METRICS[o.metric].read(level)) for o in objectives),
            describe.max_batch_size(record.params),
            describe.dynamic_batching(record.params),
            describe.queue_delay(record.params),
            describe.instances(record, level),
            caveat_codes((level,)),
        ),
        mark="best" if record.number == best else mark,
    )


def _note(records: Sequence[TrialRecord], spec: StudySpec) -> str:
    """Which objective is missing at how many levels, and what to do about it."""
    levels = [
        level
        for record in records
        if isinstance(record.outcome, Measured)
        for level in record.outcome.levels
        if violation(level, spec.limits) <= 0
    ]
    for objective in spec.front_of or ():
        missing = sum(objective.read(level) is None for level in levels)
        if missing:
            return (
                f"{missing} of {len(levels)} levels were too short to give a {objective.name} "
                "and cannot be on it: measure for longer (--window), or name a metric that needs "
                "fewer requests (--objective mean)."
            )
    return ""
