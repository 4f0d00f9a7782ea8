"""Commands on studies that are kept: list, show, report, open, export."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tuner.commands.options import (
    REPORTS,
    STUDIES,
    JsonOption,
    ReportsOption,
    StudiesOption,
    StudyArgument,
)
from tuner.commands.work import print_summary
from tuner.errors import UsageError
from tuner.report import text
from tuner.report.export import exported_config
from tuner.report.json import as_json
from tuner.report.view import build
from tuner.report.write import write_reports
from tuner.stored import stored, stored_names
from tuner.study.folder import require_writable
from tuner.terminal import note, output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.study.spec import StudyRecord


def list_studies(*, studies: StudiesOption = STUDIES, json: JsonOption = False) -> None:
    """List what was studied."""
    views = [build(record) for record in _readable(studies, _names(studies))]
    if json:
        output(f"[{','.join(as_json(view) for view in views)}]")
    elif views:
        text.print_studies(views, Console(highlight=False))


def show(
    study: StudyArgument,
    *,
    trial: Annotated[
        int | None, typer.Option(min=0, help="Show the load levels of this trial instead.")
    ] = None,
    studies: StudiesOption = STUDIES,
    json: JsonOption = False,
) -> None:
    """Show a study's ranked table, or all levels of one of its trials."""
    record = stored(studies, study)
    if trial is None:
        print_summary(record, json=json)
        return
    view = build(record)
    names = [one.name for one in view.configurations if one.number == trial]
    if not names:
        known = ", ".join(map(str, sorted(one.number for one in view.configurations)))
        raise UsageError(f"study {study} measured no trial {trial}; it measured {known}.")
    text.print_detail(view, names[0], Console(highlight=False))


def report(
    study: Annotated[list[str] | None, typer.Argument(help="Studies; all by default.")] = None,
    *,
    studies: StudiesOption = STUDIES,
    reports: ReportsOption = REPORTS,
) -> None:
    """Write the pages again from the record."""
    names = study or _names(studies)
    records = _readable(studies, names)
    if records:
        require_writable(reports, "--reports")
    for record in records:
        output(str(write_reports(record, reports)))
    if len(records) < len(names):
        raise typer.Exit(2)


def open_page(
    study: Annotated[str | None, typer.Argument(help="Study; the list of all by default.")] = None,
    *,
    reports: ReportsOption = REPORTS,
) -> None:
    """Open a study's page in the browser."""
    page = reports / f"{study or 'index'}.html"
    if not page.exists():
        raise UsageError(f"there is no {page}; write the pages with: tune report")
    output(str(page))
    if not webbrowser.open(page.absolute().as_uri()):
        note("No browser could be started here; open that file in one.")


def export(
    study: StudyArgument,
    *,
    trial: Annotated[
        int | None, typer.Option(min=0, help="Another trial than the winner.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead of stdout.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.")
    ] = False,
    studies: StudiesOption = STUDIES,
) -> None:
    """Print the winning config.pbtxt, with where it came from at its top."""
    config = exported_config(stored(studies, study), trial)
    if file is None:
        output(config.removesuffix("\n"))
        return
    try:
        if file.exists() and not force and file.read_text() != config:
            raise UsageError(f"{file} is there already; write over it with --force.")
        file.write_text(config)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}.") from error
    note(f"Wrote {file}.")


def _readable(studies: Path, names: Sequence[str]) -> list[StudyRecord]:
    """The records of these studies; of one that cannot be read it says why."""
    found = (_read(studies, name) for name in names)
    return [record for record in found if record is not None]


def _read(studies: Path, name: str) -> StudyRecord | None:
    try:
        return stored(studies, name)
    except UsageError as error:
        note(f"tune: {error}")
        return None


def _names(studies: Path) -> list[str]:
    """Names of all studies in a folder; says so where there is none."""
    names = stored_names(studies)
    if not names:
        note(f"There are no studies in {studies}.")
    return names
