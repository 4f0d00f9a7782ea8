"""The two tables of a study: all configurations ranked, and each one level by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.judge.rank import missed
from tuner.measure.measurement import OpenLoop
from tuner.measure.metrics import METRICS
from tuner.measure.record import Measured
from tuner.report import describe
from tuner.report.numbers import EMPTY, MISSING, Cell, cell, gain, point, share, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.judge.goal import Limit
    from tuner.judge.rank import Ranked
    from tuner.measure.estimate import Estimate
    from tuner.measure.measurement import Measurement
    from tuner.measure.record import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        header: as it is shown; the first eight of the summary are those of Model Analyzer.
        key: its name for programs, with the unit.
        help: what it holds, one sentence.
        numeric: whether its values are numbers.
        always: whether it is shown even when nothing was measured for it.
    """

    header: str
    key: str
    help: str = ""
    numeric: bool = True
    always: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        cells: one a column.
        mark: what is special about it: ``best``, ``default``, ``misses`` (a limit) or nothing.
    """

    cells: tuple[Cell, ...]
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns and rows."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def shown(self) -> tuple[int, ...]:
        """Indices of the columns that a reader needs: not the optional ones that are empty."""
        return tuple(
            i
            for i, column in enumerate(self.columns)
            if column.always or any(row.cells[i].value is not None for row in self.rows)
        )


def _metric(key: str, explained: str = "", *, always: bool = True) -> Column:
    return Column(header=METRICS[key].header, key=key, help=explained, always=always)


_P99 = _metric(
    "latency_p99_ms", "99 of 100 requests were answered within this time, seen from the client."
)
_THROUGHPUT = _metric(
    "throughput_per_s",
    "Answered inferences per second; a request of several rows counts several times.",
)
_GPU_MEMORY = _metric("gpu_memory_peak_mb", "Peak, summed over the GPUs.")
_GPU_USE = _metric("gpu_utilization_pct", "Mean over time and over the GPUs.")
_SPENT = (
    _metric("gpu_power_w", "Mean over time, of all GPUs together.", always=False),
    _metric("cpu_pct", "Mean over the server's processes; 100 is one whole core.", always=False),
    _metric(
        "host_memory_peak_mb",
        "Peak of the memory that the server's processes alone hold.",
        always=False,
    ),
)
_CAVEATS = Column(
    header="Caveats",
    key="caveats",
    help="Reasons to doubt the numbers of this row, explained under «How sure is this?».",
    numeric=False,
)
_DECIMALS = {
    "gpu_memory_peak_mb": 0,
    "host_memory_peak_mb": 0,
    "gpu_utilization_pct": 1,
    "gpu_power_w": 0,
    "cpu_pct": 0,
}
_LOAD = "The load at which the configuration was at its best within the limits."

_NAME = Column(header="Model Config Name", key="config", numeric=False)
_BATCH = Column(header="Max Batch Size", key="max_batch_size")
_BATCHING = Column(header="Dynamic Batching", key="dynamic_batching", numeric=False)
_INSTANCES = Column(header="Total Instance Count", key="instances", numeric=False)
_DELAY = Column(
    header="Max Queue Delay (µs)",
    key="max_queue_delay_microseconds",
    help="How long a request may wait for others to join its batch.",
)
_MISSED = Column(
    header="Limits Missed",
    key="missed",
    help="Which limits the configuration does not keep at that load, and by how much.",
    numeric=False,
    always=False,
)

CONFIGURATION = (_NAME, _BATCH, _BATCHING, _DELAY, _INSTANCES, _CAVEATS)
"""Columns that say which configuration it is."""

SUMMARY = (
    _NAME,
    _BATCH,
    _BATCHING,
    _INSTANCES,
    _P99,
    _THROUGHPUT,
    _GPU_MEMORY,
    _GPU_USE,
    Column(
        header="Gain over default",
        key="gain",
        help="The objective against your own configuration's; for programs, 0.38 is 38 % more.",
    ),
    Column(header="Load (concurrency)", key="concurrency", help=_LOAD),
    _DELAY,
    _CAVEATS,
    *_SPENT,
    _MISSED,
)
"""Columns of the summary. The load's changes its name where requests come by the clock."""

DETAIL = (
    Column(header="Request Concurrency", key="concurrency"),
    _P99,
    _metric("latency_mean_ms", "Mean time from sending a request to having its whole answer."),
    _metric(
        "queue_ms", "Mean time that a request waited in Triton for an instance or for its batch."
    ),
    _metric("compute_input_ms"),
    _metric("compute_infer_ms"),
    _THROUGHPUT,
    _GPU_MEMORY,
    _GPU_USE,
    _CAVEATS,
    _metric("latency_p50_ms", always=False),
    *_SPENT,
    Column(header="Requests", key="requests", help="Answered in the measured part."),
    Column(header="Errors", key="errors", help="Requests that failed in that part."),
)
"""Columns of the table of one configuration. The first changes with the kind of load."""


def summary(
    ranked: Sequence[Ranked],
    gains: Sequence[Estimate | None],
    *,
    limits: Sequence[Limit] = (),
    model: str,
    best: int | None,
) -> Table:
    """All measured configurations in the order given.

    Args:
        ranked: best first.
        gains: of each over the default; None where it cannot be told.
        limits: what was to be kept.
        model: whose configurations they are.
        best: number of the winner's trial; None where there is none.
    """
    rows = []
    for entry, ratio in zip(ranked, gains, strict=True):
        record, level = entry.record, entry.level
        cells = (
            words(describe.config_name(model, record)),
            describe.max_batch_size(record.params),
            describe.dynamic_batching(record.params),
            describe.instances(record, level),
            p99(level),
            *_read(level, "throughput_per_s", "gpu_memory_peak_mb", "gpu_utilization_pct"),
            _gain(ratio, record),
            describe.load(level.workload),
            describe.queue_delay(record.params),
            caveat_codes((level,)),
            *_read(level, "gpu_power_w", "cpu_pct", "host_memory_peak_mb"),
            _missed(level, limits),
        )
        rows.append(Row(cells=cells, mark=_mark(entry, best)))
    columns = for_load(SUMMARY, [entry.level for entry in ranked])
    return Table(columns=columns, rows=tuple(rows))


def detail(record: TrialRecord, best: Measurement | None) -> Table:
    """Every level of one configuration, highest load first; ``best`` is marked."""
    levels = record.outcome.levels if isinstance(record.outcome, Measured) else ()
    ordered = sorted(levels, key=lambda lv: describe.load(lv.workload).value or 0, reverse=True)
    rows = tuple(
        Row(cells=_detail_cells(level), mark="best" if level is best else "") for level in ordered
    )
    return Table(columns=for_load(DETAIL, ordered), rows=rows)


def p99(level: Measurement) -> Cell:
    """The 99th percentile; where it was refused, the highest that the run can bound."""
    latency = level.latency
    if latency.p99_ms is not None:
        return cell(latency.p99_ms)
    why = (f"{c.message} {c.advice}" for c in level.caveats if "p99" in c.message)
    note = next(why, "too few requests")
    bounded = (("p95", latency.p95_ms), ("p90", latency.p90_ms), ("p50", latency.p50_ms))
    instead = next((f" ({name} {point(low)})" for name, low in bounded if low is not None), "")
    return Cell(text=f"{MISSING}{instead}", note=note)


def caveat_codes(levels: Sequence[Measurement]) -> Cell:
    """The codes of the caveats, each once; a refused percentile speaks for itself in its cell."""
    found = (c.code for level in levels for c in level.caveats)
    codes = [code for code in dict.fromkeys(found) if code != "few_samples"]
    return words(", ".join(codes)) if codes else EMPTY


def _read(level: Measurement, *keys: str) -> tuple[Cell, ...]:
    """Metrics of a level by their keys in METRICS."""
    return tuple(cell(METRICS[k].read(level), decimals=_DECIMALS.get(k)) for k in keys)


def _detail_cells(level: Measurement) -> tuple[Cell, ...]:
    return (
        describe.load(level.workload),
        p99(level),
        *_read(level, *(column.key for column in DETAIL[2:9])),
        caveat_codes((level,)),
        *_read(level, "latency_p50_ms", "gpu_power_w", "cpu_pct", "host_memory_peak_mb"),
        cell(level.requests),
        cell(level.errors),
    )


def _missed(level: Measurement, limits: Sequence[Limit]) -> Cell:
    """Every limit that is not kept, such as ``p99 Latency (ms) by 20 %``."""
    said = [
        f"{METRICS[limit.metric].header} "
        + (
            "not measured"
            if miss is None
            else f"by {'about ' * limit.is_rough(level)}{share(miss)}"
        )
        for limit, miss in missed(level, limits)
    ]
    return words(", ".join(said)) if said else EMPTY


def _gain(ratio: Estimate | None, record: TrialRecord) -> Cell:
    if record.role == "baseline":
        return Cell(text="default")
    return EMPTY if ratio is None else gain(ratio)


def _mark(entry: Ranked, best: int | None) -> str:
    if entry.record.number == best:
        return "best"
    if entry.record.role == "baseline":
        return "default"
    return "" if entry.feasible else "misses"


def for_load(columns: tuple[Column, ...], levels: Sequence[Measurement]) -> tuple[Column, ...]:
    """The same columns, with the load's named for requests by the clock where they come so."""
    if not any(isinstance(level.workload.load, OpenLoop) for level in levels):
        return columns
    clocked = Column(header="Load (requests/sec)", key="request_rate_per_s", help=_LOAD)
    return tuple(clocked if column.key == "concurrency" else column for column in columns)
