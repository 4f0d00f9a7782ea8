"""`tune verify`: is a study's gain still there?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner import wiring
from tuner.commands.options import (
    REPORTS,
    REPOSITORY,
    STUDIES,
    GpusOption,
    JsonOption,
    LoadDeadlineOption,
    PerfAnalyzerOption,
    ReportsOption,
    RepositoryOption,
    SdkImageOption,
    ServerOption,
    ServerPythonOption,
    StudiesOption,
    StudyArgument,
    TritonDirOption,
)
from tuner.commands.work import print_summary, worked
from tuner.judge.proof import FEWEST_ROUNDS
from tuner.report.view import build
from tuner.request import asked_again
from tuner.server_choice import ServerKind, ServerOptions
from tuner.stored import stored
from tuner.study.folder import require_writable


def verify(  # noqa: PLR0913 - one parameter an option
    study: StudyArgument,
    *,
    rounds: Annotated[
        int, typer.Option(min=FEWEST_ROUNDS, help="How often each of the two is measured.")
    ] = 5,
    server: ServerOption = ServerKind.AUTO,
    gpus: GpusOption = None,
    load_deadline: LoadDeadlineOption = 600.0,
    repository: RepositoryOption = REPOSITORY,
    studies: StudiesOption = STUDIES,
    reports: ReportsOption = REPORTS,
    input_data: Annotated[
        Path | None, typer.Option(help="Requests to send, if the study had its own.")
    ] = None,
    perf_analyzer: PerfAnalyzerOption = None,
    sdk_image: SdkImageOption = None,
    triton_dir: TritonDirOption = None,
    server_python: ServerPythonOption = None,
    json: JsonOption = False,
) -> None:
    """Measure a study's winner beside your own again; the exit code is 0 if its gain holds."""
    require_writable(reports, "--reports")
    request = asked_again(
        stored(studies, study),
        repository=repository,
        studies=studies,
        load_deadline_s=load_deadline,
        server=ServerOptions(
            kind=server, gpus=gpus, triton_dir=triton_dir, server_python=server_python
        ),
        input_data=input_data,
        perf_analyzer=perf_analyzer,
        sdk_image=sdk_image,
    )
    record = worked(
        lambda display: wiring.verification(request, display),
        lambda run: run.verify(rounds),
        reports,
    )
    print_summary(record, json=json)
    if build(record).found.verdict != "proved":
        raise typer.Exit(1)
