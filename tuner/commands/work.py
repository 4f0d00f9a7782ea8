"""What commands share that work on a study: live lines, its report, how they are cut short."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from tuner.display import Display
from tuner.report import text
from tuner.report.json import as_json
from tuner.report.view import build
from tuner.report.write import write_reports
from tuner.terminal import note, output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tuner.study.run import StudyRun
    from tuner.study.spec import StudyRecord
    from tuner.wiring import Session

_INTERRUPTED = 130


def worked(
    opened: Callable[[Display], AbstractContextManager[Session]],
    work: Callable[[StudyRun], None],
    reports: Path,
) -> StudyRecord:
    """Work on a study and write its report, also when it is cut short."""
    try:
        with Display() as display, opened(display) as session:
            if session.differences:
                note("Not as it was when the study began:\n  " + "\n  ".join(session.differences))
            try:
                work(session.run)
            finally:
                record = session.store.record()
                if record.trials:
                    write_reports(record, reports)
    except KeyboardInterrupt:
        again = shlex.join(word for word in sys.argv[1:] if word != "--fresh")
        note(f"Interrupted. All that was measured is kept; go on with: tune {again}")
        raise typer.Exit(_INTERRUPTED) from None
    return record


def print_summary(record: StudyRecord, *, json: bool) -> None:
    """Print the answer and the ranked table, or all of it as JSON."""
    view = build(record)
    if json:
        output(as_json(view))
    else:
        text.print_summary(view, Console(highlight=False))


def print_summaries(records: Sequence[StudyRecord]) -> None:
    """Print studies as one JSON document: one by itself, several as a list."""
    told = [as_json(build(record)) for record in records]
    output(told[0] if len(told) == 1 else f"[{','.join(told)}]")
