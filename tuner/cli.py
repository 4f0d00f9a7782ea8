"""What a user types: parse, call, print."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tuner import __version__
from tuner.commands.doctor import doctor
from tuner.commands.models import new, query, serve
from tuner.commands.results import export, list_studies, open_page, report, show
from tuner.commands.run import run
from tuner.commands.verify import verify
from tuner.errors import TunerError
from tuner.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "verify": verify,
    "list": list_studies,
    "show": show,
    "report": report,
    "open": open_page,
    "export": export,
    "serve": serve,
    "query": query,
    "new": new,
    "doctor": doctor,
}

_EXAMPLES = """
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
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)


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


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """End on SIGTERM as on Ctrl-C: Python does not unwind on SIGTERM by itself."""
    raise KeyboardInterrupt


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
