"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.server_choice import ServerKind

REPOSITORY = Path("model_repository")
STUDIES = Path("studies")
REPORTS = Path("reports")

StudyArgument = Annotated[str, typer.Argument(help="Name of the study.")]
RepositoryOption = Annotated[
    Path, typer.Option("--model-repository", help="Where models are looked for.")
]
StudiesOption = Annotated[Path, typer.Option("--studies", help="Where studies are kept.")]
ReportsOption = Annotated[Path, typer.Option("--reports", help="Where pages are written.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
TritonDirOption = Annotated[
    Path | None,
    typer.Option(
        "--triton-dir", envvar="TRITON_DIR", help="Folder with bin/tritonserver and backends/."
    ),
]
ServerPythonOption = Annotated[
    Path | None,
    typer.Option(
        "--server-python", envvar="SERVER_PYTHON", help="Python whose packages the models use."
    ),
]
PerfAnalyzerOption = Annotated[
    Path | None,
    typer.Option("--perf-analyzer", help="perf_analyzer to use instead of the one found."),
]
SdkImageOption = Annotated[
    str | None,
    typer.Option(
        "--sdk-image", help="Image to run perf_analyzer in, where none runs on this machine."
    ),
]
LoadDeadlineOption = Annotated[
    float,
    typer.Option("--load-deadline", min=1, max=86400, help="Seconds that loading may take."),
]
ServerOption = Annotated[
    ServerKind,
    typer.Option(
        "--server", help="What serves; auto is docker where it can give a GPU, else local."
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option("--image", help="Image of the container instead of ours, which is built."),
]
GpusOption = Annotated[
    str | None,
    typer.Option(
        "--gpus", help="GPUs that serve: all, none or 0,1, as nvidia-smi counts; by default all."
    ),
]
BuildArgOption = Annotated[
    list[str] | None,
    typer.Option(
        "--build-arg", help="NAME=VALUE for our image where it is built, such as RELEASE=25.01."
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="A running server's host:port, or host:http,grpc,metrics."),
]
