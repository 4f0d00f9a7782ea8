"""What a user types: parse, call, print."""

from __future__ import annotations

import shlex
import signal
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tuner import __version__, commands, wiring
from tuner.display import Display, describe_params
from tuner.errors import TunerError, UsageError
from tuner.judge.goal import Limit, Objective
from tuner.judge.parse import parse_bound, parse_limit, parse_objective, parse_share
from tuner.judge.proof import FEWEST_ROUNDS
from tuner.measure.measurement import OpenLoop
from tuner.model.weights import Weights
from tuner.options import (
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
    ServerOption,
    ServerPythonOption,
    StudiesOption,
    TritonDirOption,
    UrlOption,
)
from tuner.report import text
from tuner.report.export import exported_config
from tuner.report.json import as_json
from tuner.report.view import build
from tuner.report.write import write_reports
from tuner.server_choice import ServerKind
from tuner.study.folder import require_writable
from tuner.study.length import carried_per_s
from tuner.terminal import note, output

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import FrameType

    from tuner.study.run import StudyRun
    from tuner.study.spec import StudyRecord

INTERRUPTED = 130

EXAMPLES = """
[bold]Examples[/bold]

  tune falcon_tiny --trials 12            find its best configuration
  tune falcon_tiny --p99 200ms            the most throughput that keeps p99 under 200 ms
  tune show falcon_tiny                   the ranked table again
  tune export falcon_tiny -o config.pbtxt the winning config.pbtxt
  tune verify falcon_tiny                 is its gain still there? for CI
  tune doctor                             what a run needs and this machine lacks
"""


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_StudyArgument = Annotated[str, typer.Argument(help="Name of the study.")]


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the form that typer calls
    if wanted:
        print(__version__)  # noqa: T201 - stdout is for results
        raise typer.Exit


@app.callback()
def tune(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Find, prove and export the best configuration of a model on Triton Inference Server.

    [bold]tune MODEL[/bold] is short for [bold]tune run MODEL[/bold].
    """


@app.command("run")
def run(  # noqa: PLR0913 - one parameter an option
    models: Annotated[list[str], typer.Argument(help="Models to tune, by name or folder.")],
    *,
    trials: Annotated[
        int, typer.Option(min=1, help="Configurations to measure in all, yours included.")
    ] = 30,
    proof_rounds: Annotated[
        int,
        typer.Option(
            min=0, help="How often the best and yours are measured again, in turn, at the end."
        ),
    ] = 4,
    objective: Annotated[
        str | None,
        typer.Option(help="Metric to improve; throughput by default, the mean wait with --rate."),
    ] = None,
    p99: Annotated[
        str | None, typer.Option(help="Limit on the p99 latency, such as 200ms.")
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
        wiring.Sampler, typer.Option(help="What proposes; auto is our own search.")
    ] = wiring.Sampler.AUTO,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
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
        float, typer.Option(min=0.5, help="Seconds that each load level is measured.")
    ] = 4.0,
    precision: Annotated[
        str, typer.Option(help="Measure what may be best until its interval is this narrow.")
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
    triton_dir: TritonDirOption = None,
    server_python: ServerPythonOption = None,
) -> None:
    """Find the best configuration of a model; the same line again goes on where it stopped."""
    limits = [parse_limit(text) for text in limit or []]
    if p99 is not None:
        limits.append(parse_bound("p99", p99))
    if study is not None and len(models) > 1:
        raise UsageError("--study names one study; tune one model at a time with it.")
    open_loop = _open_loop(rate, poisson=poisson)
    if open_loop is not None:
        limits.append(_carries(open_loop, request_batch))
    require_writable(reports, "--reports")
    feasible = True
    for model in models:
        request = wiring.Request(
            model=model,
            study=study,
            repository=repository,
            studies=studies,
            trials=trials,
            objective=_objective(objective, open_loop),
            limits=tuple(limits),
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
            weights=weights,
            server=server,
            image=image,
            gpus=gpus,
            build_args=tuple(build_arg or ()),
            url=url,
            input_data=input_data,
            perf_analyzer=perf_analyzer,
            triton_dir=triton_dir,
            server_python=server_python,
            fresh=fresh,
        )
        if dry_run:
            _print_plan(wiring.plan(request), trials)
        else:
            feasible &= _run_one(request, reports, proof_rounds, json=json)
    if not feasible:
        raise typer.Exit(1)


def _open_loop(rate: float | None, *, poisson: bool) -> OpenLoop | None:
    if rate is None:
        if poisson:
            raise UsageError("--poisson says how requests of a --rate come; name one.")
        return None
    if rate <= 0:
        raise UsageError(f"--rate {rate:g} sends nothing; name a number above 0.")
    return OpenLoop(rate_per_s=rate, poisson=poisson)


def _carries(load: OpenLoop, request_batch: int) -> Limit:
    """Latency counts where the load is carried at all."""
    return Limit(metric="throughput_per_s", bound=carried_per_s(load) * request_batch)


def _objective(text: str | None, open_loop: OpenLoop | None) -> Objective:
    if open_loop is None:
        return parse_objective(text or "throughput")
    objective = parse_objective(text or "mean")
    if objective == parse_objective("throughput"):
        raise UsageError("with --rate the throughput is given; name a latency, such as p99.")
    return objective


def _run_one(request: wiring.Request, reports: Path, proof_rounds: int, *, json: bool) -> bool:
    """Run one study and report on it; whether there is a configuration to use."""
    record = _worked(
        lambda display: wiring.session(request, display),
        lambda run: run.run(request.trials, proof_rounds=proof_rounds),
        reports,
    )
    _show(record, json=json)
    name = record.header.spec.name
    note(f"The page is {reports / name}.html. The configuration: tune export {name}")
    return build(record).found.usable


def _worked(
    opened: Callable[[Display], AbstractContextManager[wiring.Session]],
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
        raise typer.Exit(INTERRUPTED) from None
    return record


@app.command("verify")
def verify(  # noqa: PLR0913 - one parameter an option
    study: _StudyArgument,
    *,
    rounds: Annotated[
        int, typer.Option(min=FEWEST_ROUNDS, help="How often each of the two is measured.")
    ] = 4,
    server: ServerOption = ServerKind.AUTO,
    load_deadline: LoadDeadlineOption = 600.0,
    repository: RepositoryOption = REPOSITORY,
    studies: StudiesOption = STUDIES,
    reports: ReportsOption = REPORTS,
    input_data: Annotated[
        Path | None, typer.Option(help="Requests to send, if the study had its own.")
    ] = None,
    perf_analyzer: PerfAnalyzerOption = None,
    triton_dir: TritonDirOption = None,
    server_python: ServerPythonOption = None,
    json: JsonOption = False,
) -> None:
    """Measure a study's winner beside your own again; the exit code is 0 if its gain holds."""
    require_writable(reports, "--reports")
    request = wiring.asked_again(
        wiring.stored(studies, study),
        repository=repository,
        studies=studies,
        load_deadline_s=load_deadline,
        server=server,
        input_data=input_data,
        perf_analyzer=perf_analyzer,
        triton_dir=triton_dir,
        server_python=server_python,
    )
    record = _worked(
        lambda display: wiring.verification(request, display),
        lambda run: run.verify(rounds),
        reports,
    )
    _show(record, json=json)
    if build(record).found.verdict != "proved":
        raise typer.Exit(1)


@app.command("list")
def list_studies(*, studies: StudiesOption = STUDIES, json: JsonOption = False) -> None:
    """List what was studied."""
    views = [build(wiring.stored(studies, name)) for name in wiring.stored_names(studies)]
    if json:
        output(f"[{','.join(as_json(view) for view in views)}]")
    else:
        text.print_studies(views, Console(highlight=False))


@app.command("show")
def show(
    study: _StudyArgument,
    *,
    trial: Annotated[
        int | None, typer.Option(min=0, help="Show the load levels of this trial instead.")
    ] = None,
    studies: StudiesOption = STUDIES,
    json: JsonOption = False,
) -> None:
    """Show a study's ranked table, or all levels of one of its trials."""
    record = wiring.stored(studies, study)
    if trial is None:
        _show(record, json=json)
        return
    view = build(record)
    names = [one.name for one in view.configurations if one.number == trial]
    if not names:
        known = ", ".join(str(one.number) for one in view.configurations)
        raise UsageError(f"study {study} measured no trial {trial}; it measured {known}.")
    text.print_detail(view, names[0], Console(highlight=False))


@app.command("report")
def report(
    study: Annotated[list[str] | None, typer.Argument(help="Studies; all by default.")] = None,
    *,
    studies: StudiesOption = STUDIES,
    reports: ReportsOption = REPORTS,
) -> None:
    """Write the pages again from the record."""
    require_writable(reports, "--reports")
    for name in study or wiring.stored_names(studies):
        output(str(write_reports(wiring.stored(studies, name), reports)))


@app.command("open")
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


@app.command("export")
def export(
    study: _StudyArgument,
    *,
    trial: Annotated[
        int | None, typer.Option(min=0, help="Another trial than the winner.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead of stdout.")
    ] = None,
    studies: StudiesOption = STUDIES,
) -> None:
    """Print the winning config.pbtxt, with where it came from at its top."""
    config = exported_config(wiring.stored(studies, study), trial)
    if file is None:
        output(config.removesuffix("\n"))
        return
    try:
        file.write_text(config)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}.") from error
    note(f"Wrote {file}.")


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


def _show(record: StudyRecord, *, json: bool) -> None:
    view = build(record)
    if json:
        output(as_json(view))
    else:
        text.print_summary(view, Console(highlight=False))


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """End on SIGTERM as on Ctrl-C: Python does not unwind on SIGTERM by itself."""
    raise KeyboardInterrupt


app.command("serve")(commands.serve)
app.command("query")(commands.query)
app.command("new")(commands.new)
app.command("doctor")(commands.doctor)
_COMMANDS = {command.name for command in app.registered_commands}


def main() -> None:
    """The `tune` command: `tune MODEL …` is short for `tune run MODEL …`."""
    signal.signal(signal.SIGTERM, _terminate)
    words = sys.argv[1:]
    if words and words[0] not in {*_COMMANDS, "-h", "--help", "--version"}:
        words = ["run", *words]
    try:
        app(words)
    except TunerError as error:
        note(f"tune: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
