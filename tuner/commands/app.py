"""All commands of `tune`, and what the first word may be."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner import __version__
from tuner.commands.doctor import doctor
from tuner.commands.models import new, query, serve
from tuner.commands.options import REPOSITORY
from tuner.commands.results import export, list_studies, open_page, report, show
from tuner.commands.run import run
from tuner.commands.verify import verify
from tuner.errors import TunerError, UsageError
from tuner.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
  tune falcon_tiny --time-limit 15m       what can be found and proved in 15 minutes
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


def start(words: Sequence[str]) -> None:
    """Run what was typed: `tune MODEL …` is short for `tune run MODEL …`."""
    is_short = bool(words) and words[0] not in {*_COMMANDS, "-h", "--help", "--version"}
    try:
        app(["run", *words] if is_short else list(words), prog_name="tune")
    except TunerError as error:
        note(f"tune: {error}")
        if is_short and isinstance(error, UsageError):
            _suggest_command(words[0])
        sys.exit(error.exit_code)


def _suggest_command(word: str) -> None:
    """Tell the nearest command to a word that is no model either."""
    near = difflib.get_close_matches(word, _COMMANDS, n=1)
    if near and not any(place.is_dir() for place in (Path(word), REPOSITORY / word)):
        note(f"Or did you mean the command `tune {near[0]}`?")
