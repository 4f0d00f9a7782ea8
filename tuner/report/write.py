"""Put a study's reports on disk: each file appears whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tuner.errors import MachineError
from tuner.report.answer import badge
from tuner.report.csv import detail_csv, front_csv, summary_csv, trials_csv
from tuner.report.html import Entry, index, page
from tuner.report.json import as_json
from tuner.report.view import build

if TYPE_CHECKING:
    from tuner.study.spec import StudyRecord

_SUMMARY = "summary.json"
_FRONT = "front.csv"


def write_reports(study: StudyRecord, folder: Path) -> Path:
    """Write ``NAME.html``, ``NAME/*.csv``, ``NAME/summary.json`` and the list of all reports.

    Args:
        study: the record.
        folder: of all reports; made where it is missing.

    Returns:
        The page.

    Raises:
        MachineError: the folder cannot be written.
    """
    report = build(study)
    own = folder / report.name
    main = folder / f"{report.name}.html"
    try:
        own.mkdir(parents=True, exist_ok=True)
        _write(own / "summary.csv", summary_csv(report))
        if report.front is None:
            (own / _FRONT).unlink(missing_ok=True)  # of a study that was set aside
        else:
            _write(own / _FRONT, front_csv(report.front))
        _write(own / "detail.csv", detail_csv(report))
        _write(own / "trials.csv", trials_csv(report))
        _write(own / _SUMMARY, as_json(report))
        _write(main, page(report))
        _write(folder / "index.html", index(_entries(folder)))
    except OSError as error:
        raise MachineError(
            f"Cannot write the report to {error.filename or folder}: {error.strerror}. The study "
            "is kept; name another folder with --reports."
        ) from error
    return main


def _entries(folder: Path) -> list[Entry]:
    """What lies in the folder, read back from the summaries; other files are left out."""
    entries = []
    for summary in sorted(folder.glob(f"*/{_SUMMARY}")):
        name = summary.parent.name
        if not (folder / f"{name}.html").is_file():
            continue
        try:
            known = json.loads(summary.read_text(encoding="utf-8"))
            entry = Entry(
                study=known["study"],
                model=known["model"],
                page=f"{quote(name)}.html",
                created_at_utc=known["created_at_utc"],
                badge=badge(known["answer"], known["verdict"]),
                headline=known["headline"],
            )
        except (ValueError, KeyError, TypeError):
            continue
        entries.append(entry)
    return entries


def _write(path: Path, text: str) -> None:
    """Write beside the file, then take its place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
