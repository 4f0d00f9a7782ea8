"""`tune doctor`: see what a run needs and this machine lacks."""

from __future__ import annotations

import json as json_form
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner import doctor as diagnosis
from tuner.commands.options import (
    REPORTS,
    REPOSITORY,
    STUDIES,
    JsonOption,
    PerfAnalyzerOption,
    ReportsOption,
    RepositoryOption,
    SdkImageOption,
    ServerPythonOption,
    StudiesOption,
    TritonDirOption,
)
from tuner.errors import MachineError
from tuner.terminal import output

if TYPE_CHECKING:
    from collections.abc import Sequence


def doctor(
    *,
    repository: RepositoryOption = REPOSITORY,
    studies: StudiesOption = STUDIES,
    reports: ReportsOption = REPORTS,
    perf_analyzer: PerfAnalyzerOption = None,
    sdk_image: SdkImageOption = None,
    triton_dir: TritonDirOption = None,
    server_python: ServerPythonOption = None,
    json: JsonOption = False,
) -> None:
    """Look at every part that a run needs, and say what to do about those that are missing."""
    found = diagnosis.diagnose(
        diagnosis.Places(
            repository=repository,
            studies=studies,
            reports=reports,
            triton_dir=triton_dir,
            server_python=server_python,
            perf_analyzer=perf_analyzer,
            sdk_image=sdk_image,
        )
    )
    if json:
        output(json_form.dumps(found.as_dict(), indent=2))
    else:
        _print_parts(found.parts)
    if not found.works:
        raise MachineError("tune MODEL would not run here; see what is missing above.")


def _print_parts(parts: Sequence[diagnosis.Part]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("part", "", "found, or what to do"):
        table.add_column(heading, overflow="fold")
    for part in parts:
        state = "found" if part.found else "MISSING" if part.needed else "not here"
        table.add_row(part.name, state, Text(part.told))
    Console(highlight=False).print(table)
