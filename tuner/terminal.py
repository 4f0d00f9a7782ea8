"""Where words go: results to stdout, all else to stderr."""

from __future__ import annotations

import sys

from rich.console import Console


def output(what: str) -> None:
    """Print a result, to the letter: a console would take out control characters and emoji."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def note(what: str) -> None:
    """Tell the user something that is no result."""
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False).print(what)
