"""The summary on a terminal: all columns where there is room, the most telling ones where not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich import box
from rich.cells import cell_len
from rich.table import Table as RichTable
from rich.text import Text

from tuner.report import numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from tuner.report.front import Front
    from tuner.report.numbers import Cell
    from tuner.report.tables import Table
    from tuner.report.view import Report

_GIVEN_UP = (
    "missed",
    "host_memory_peak_mb",
    "cpu_pct",
    "errors",
    "requests",
    "latency_p50_ms",
    "gpu_power_w",
    "gpu_utilization_pct",
    "gpu_memory_peak_mb",
    "compute_input_ms",
    "caveats",
    "max_queue_delay_microseconds",
    "concurrency",
    "dynamic_batching",
)
"""Columns that a narrow terminal goes without, the first one first."""

_GIVEN_UP_ON_A_FRONT = (
    "caveats",
    "max_queue_delay_microseconds",
    "dynamic_batching",
    "instances",
    "max_batch_size",
)
"""The same for points of a front, where the load says which point it is."""

_STYLES = {"best": "bold green", "default": "cyan", "misses": "dim"}
_GAP = 2
_NARROWEST_NAME = 12


def print_summary(report: Report, console: Console) -> None:
    """The answer and the ranked table.

    Colour follows the console, which knows NO_COLOR and whether a terminal is there.
    """
    console.print(Text(report.headline, style="bold"))
    if report.verdict:
        console.print(Text(report.verdict_line))
    if report.summary.rows:
        console.print()
        _print(report.summary, console)
    if report.lead:
        console.print(Text(report.lead))
    if report.front is not None:
        _print_front(report.front, report.name, console)
    for step in report.refused:
        console.print(Text(f"{step.name} was rejected: {step.reason}", style="yellow"))


def _print_front(front: Front, study: str, console: Console) -> None:
    """What two objectives leave to choose from."""
    console.print()
    if front.table.rows:
        told = f"tune export {study} --trial N gives the configuration of any of these."
        console.print(Text(f"{front.title}, point by point. {told}", style="bold"))
        _print(front.table, console, _GIVEN_UP_ON_A_FRONT)
    else:
        console.print(Text(f"{front.title} has no point.", style="bold"))
    if front.note:
        console.print(Text(front.note))


def print_studies(reports: Sequence[Report], console: Console) -> None:
    """One line a study: its name, its model, how many trials, and the answer."""
    rich = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for header in ("Study", "Model", "Trials", "Answer"):
        rich.add_column(header, overflow="fold")
    for report in reports:
        trials = str(report.found.trials)
        rich.add_row(Text(report.name), Text(report.model), trials, Text(report.headline))
    console.print(rich)


def print_detail(report: Report, name: str, console: Console) -> None:
    """The levels of one configuration, named as in the summary."""
    for configuration in report.configurations:
        if configuration.name == name:
            console.print(Text(f"{name}: {configuration.knobs}", style="bold"))
            _print(configuration.detail, console)


def _print(table: Table, console: Console, given_up: Sequence[str] = _GIVEN_UP) -> None:
    show = numbers.both
    shown = list(table.shown())
    if _needed(table, shown, show) > console.width:
        show = numbers.brief
        room = console.width - (_GAP if any(_doubts(table, ())) else 0)  # for the asterisks
        shown = _fitting(table, shown, room, given_up)
        if _needed(table, shown, show) > room:
            show = numbers.briefest
    name, *others = shown
    rest = _needed(table, others, show) + _GAP
    rich = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i in shown:
        width = _width(table, i, show)
        if i == name:
            width = max(min(width + _GAP, console.width - rest), _NARROWEST_NAME)
        column = table.columns[i]
        side: Literal["left", "right"] = "right" if column.numeric else "left"
        rich.add_column(Text(column.header), justify=side, overflow="fold", width=width)
    doubts = _doubts(table, shown)
    for row, doubt in zip(table.rows, doubts, strict=True):
        cells = [Text(show(row.cells[i])) for i in shown]
        if doubt:
            cells[0].append(" *")
        rich.add_row(*cells, style=_STYLES.get(row.mark, ""))
    console.print(rich)
    if any(doubts):
        found = (code for doubt in doubts for code in doubt.split(", ") if code)
        codes = ", ".join(dict.fromkeys(found))
        console.print(Text(f"* with caveats ({codes}): the page says what to do."))
    hidden = [table.columns[i].header for i in table.shown() if i not in shown]
    if hidden:
        left_out = f"A wider terminal also shows {', '.join(hidden)}."
        console.print(Text(left_out, style="dim"))


def _doubts(table: Table, shown: Sequence[int]) -> list[str]:
    """The caveats of each row where their column is not shown, so that none goes unseen."""
    column = next(i for i, column in enumerate(table.columns) if column.key == "caveats")
    cells = (row.cells[column] for row in table.rows)
    return ["" if column in shown or c.value is None else c.text for c in cells]


def _fitting(table: Table, shown: list[int], width: int, given_up: Sequence[str]) -> list[int]:
    """Columns that fit: first those go that are empty, then in the order given."""
    empty = [i for i in shown if all(row.cells[i] == numbers.EMPTY for row in table.rows)]
    by_key = {table.columns[i].key: i for i in shown}
    others = [by_key[key] for key in given_up if key in by_key]
    kept = list(shown)
    for i in dict.fromkeys([*empty, *others]):
        if _needed(table, kept, numbers.brief) <= width:
            break
        kept.remove(i)
    return kept


def _needed(table: Table, shown: Sequence[int], show: Callable[[Cell], str]) -> int:
    """Width of a table of these columns."""
    return sum(_width(table, i, show) + _GAP for i in shown)


def _width(table: Table, i: int, show: Callable[[Cell], str]) -> int:
    """The widest cell or the longest word of the header."""
    words = [cell_len(word) for word in table.columns[i].header.split()]
    cells = [cell_len(show(row.cells[i])) for row in table.rows]
    return max([*words, *cells])
