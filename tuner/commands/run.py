"""`tune run`: find, prove and report the best configuration of a model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner import wiring
from tuner.commands.goals import (
    PROOF_ROUNDS,
    carries,
    read_limits,
    read_objectives,
    read_open_loop,
    read_patience,
    read_proof_rounds,
)
from tuner.commands.options import (
    REPORTS,
    REPOSITORY,
    STUDIES,
    BuildArgOption,
    GpusOption,
    ImageOption,
    JsonOption,
    LoadDeadlineOption,
    PerfAnalyzerOption,
    ReportsOption,
    RepositoryOption,
    SdkImageOption,
    ServerOption,
    ServerPythonOption,
    StudiesOption,
    TritonDirOption,
    UrlOption,
)
from tuner.commands.work import print_summaries, print_summary, worked
from tuner.display import describe_params
from tuner.errors import UsageError
from tuner.judge.front import FIRST_WEIGHTS
from tuner.judge.goal import strictest
from tuner.judge.parse import parse_share, parse_time
from tuner.model.repository import find_model
from tuner.model.weights import Weights
from tuner.report.view import build
from tuner.request import Request, Sampler
from tuner.search.patience import NEGLIGIBLE_GAIN, PATIENCE
from tuner.server_choice import ServerKind, ServerOptions
from tuner.study.folder import require_makeable, require_writable
from tuner.terminal import note, output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.study.spec import StudyRecord


def run(  # noqa: PLR0913 - one parameter an option
    models: Annotated[list[str], typer.Argument(help="Models to tune, by name or folder.")],
    *,
    trials: Annotated[
        int, typer.Option(min=1, help="Configurations to measure at the most, yours included.")
    ] = 30,
    proof_rounds: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="How often the best and yours are measured again, in turn, at the end; 3 at "
            f"least, or 0 for no proof. By default {PROOF_ROUNDS}, fewer where the gain is plain.",
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(help="Time for all of it, the proof included, such as 15m or 2h."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Stop after so many proposals in a row that promise less than "
            f"{100 * NEGLIGIBLE_GAIN:g} %; 0 goes on to the last trial. {PATIENCE} by default, "
            f"{len(FIRST_WEIGHTS)} with two objectives.",
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="Metric to improve; throughput by default, the mean wait with --rate. A second "
            "one gives the front of both; the first one decides."
        ),
    ] = None,
    p99: Annotated[
        str | None, typer.Option(help="Limit on the p99 latency, such as 200ms.")
    ] = None,
    min_throughput: Annotated[
        str | None, typer.Option(help="Inferences per second at the least, such as 100.")
    ] = None,
    max_gpu_memory: Annotated[
        str | None, typer.Option(help="Peak over all GPUs at the most, such as 40GB.")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="Limit on any metric, such as 'p50<=20ms'.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study; the model's name by default.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; the old study is set aside.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be done, stop.")
    ] = False,
    json: JsonOption = False,
    server: ServerOption = ServerKind.AUTO,
    image: ImageOption = None,
    gpus: GpusOption = None,
    build_arg: BuildArgOption = None,
    url: UrlOption = None,
    weights: Annotated[
        Weights | None,
        typer.Option(help="Serve with these; dummy ones need no download and run as fast."),
    ] = None,
    sampler: Annotated[
        Sampler, typer.Option(help="What proposes; auto is our own search.")
    ] = Sampler.AUTO,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    start_from: Annotated[
        list[str] | None,
        typer.Option(
            "--from", help="Study of the same model, or one like it, to learn from beforehand."
        ),
    ] = None,
    max_batch_size: Annotated[
        int, typer.Option(min=1, help="Largest max_batch_size to try.")
    ] = 128,
    max_queue_delay: Annotated[
        int, typer.Option(min=0, help="Longest queue delay to try, in microseconds.")
    ] = 100_000,
    max_instances: Annotated[
        int | None,
        typer.Option(min=1, help="Most instances per group to try; by default what fits here."),
    ] = None,
    max_concurrency: Annotated[
        int, typer.Option(min=1, help="Highest number of requests in flight.")
    ] = 512,
    request_batch: Annotated[int, typer.Option(min=1, help="Rows in each request.")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests per second, sent by the clock, instead of a concurrency."),
    ] = None,
    poisson: Annotated[
        bool, typer.Option("--poisson", help="With --rate: at random moments, as users come.")
    ] = False,
    window: Annotated[
        float,
        typer.Option(min=0.5, max=3600, help="Seconds that each load level is measured."),
    ] = 4.0,
    precision: Annotated[
        str,
        typer.Option(
            help="Measure what may be best until its interval is this narrow; requests that wait "
            "for an eighth of a window or longer get some rounds instead."
        ),
    ] = "5%",
    load_deadline: LoadDeadlineOption = 600.0,
    repository: RepositoryOption = REPOSITORY,
    studies: StudiesOption = STUDIES,
    reports: ReportsOption = REPORTS,
    input_data: Annotated[
        Path | None,
        typer.Option(help="Requests to send, a JSON file as perf_analyzer reads it."),
    ] = None,
    perf_analyzer: PerfAnalyzerOption = None,
    sdk_image: SdkImageOption = None,
    triton_dir: TritonDirOption = None,
    server_python: ServerPythonOption = None,
) -> None:
    """Find the best configuration of a model; the same line again goes on where it stopped."""
    limits = read_limits(
        limit, p99=p99, min_throughput=min_throughput, max_gpu_memory=max_gpu_memory
    )
    if study is not None and len(models) > 1:
        raise UsageError("--study names one study; tune one model at a time with it.")
    open_loop = read_open_loop(rate, poisson=poisson)
    if open_loop is not None:
        limits.append(carries(open_loop, request_batch))
    first, second = read_objectives(objective, open_loop)
    rounds = read_proof_rounds(proof_rounds)
    if dry_run and json:
        raise UsageError("--dry-run measures nothing that --json could print; leave one out.")
    _check_models(models, repository, study)
    require = require_makeable if dry_run else require_writable
    require(reports, "--reports")
    records = []
    for model in models:
        request = Request(
            model=model,
            study=study,
            repository=repository,
            studies=studies,
            trials=trials,
            proof_rounds=rounds,
            all_rounds=proof_rounds is not None,
            time_limit_s=None if time_limit is None else parse_time(time_limit),
            patience=read_patience(patience, sampler, front=second is not None),
            objective=first,
            second=second,
            limits=strictest(limits),
            max_batch_size=max_batch_size,
            max_queue_delay_microseconds=max_queue_delay,
            max_instances=max_instances,
            max_concurrency=max_concurrency,
            request_batch=request_batch,
            open_loop=open_loop,
            precision=parse_share(precision),
            window_s=window,
            load_deadline_s=load_deadline,
            seed=seed,
            sampler=sampler,
            started_from=tuple(start_from or ()),
            weights=weights,
            server=ServerOptions(
                kind=server,
                image=image,
                gpus=gpus,
                build_args=tuple(build_arg or ()),
                url=url,
                triton_dir=triton_dir,
                server_python=server_python,
            ),
            input_data=input_data,
            perf_analyzer=perf_analyzer,
            sdk_image=sdk_image,
            fresh=fresh,
        )
        if dry_run:
            _print_plan(wiring.plan(request), trials)
        else:
            records.append(_run_one(request, reports, json=json))
    if json:
        print_summaries(records)
    if not all(build(record).found.usable for record in records):
        raise typer.Exit(1)


def _check_models(models: Sequence[str], repository: Path, study: str | None) -> None:
    """Look at every model before hours go into the first one."""
    names: list[str] = []
    for model in models:
        name = wiring.study_name(study, find_model(model, repository))
        if name in names:
            raise UsageError(f"{name} is named twice, and a study has one model; leave one out.")
        names.append(name)


def _run_one(request: Request, reports: Path, *, json: bool) -> StudyRecord:
    """Run one study and report on it; JSON is printed when all have ended."""
    record = worked(
        lambda display: wiring.session(request, display),
        lambda run: run.run(
            request.trials,
            proof_rounds=request.proof_rounds,
            all_rounds=request.all_rounds,
            time_limit_s=request.time_limit_s,
            patience=request.patience,
        ),
        reports,
    )
    if not json:
        print_summary(record, json=False)
    name = record.header.spec.name
    told = f"The page is {reports / name}.html."
    if build(record).found.usable:
        elsewhere = [] if request.studies == STUDIES else ["--studies", str(request.studies)]
        told += f" The configuration: {shlex.join(['tune', 'export', name, *elsewhere])}"
    note(told)
    return record


def _print_plan(plan: wiring.Plan, trials: int) -> None:
    candidates = len(plan.space.candidates())
    lines = [
        f"study        {plan.name}, kept in {plan.folder}",
        f"trials       {min(trials, candidates)} of {candidates} distinct configurations",
        f"yours        {describe_params(plan.space.default)}",
        *(f"{k.name}: {', '.join(map(str, k.values))}" for k in plan.space.knobs),
        *(f"{name}: {value}" for name, value in plan.environment.items()),
    ]
    output("\n".join(lines))
