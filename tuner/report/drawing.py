"""The house style of drawings, and how they become part of a page."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tuner.measure.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from tuner.report.numbers import Number

COLOURS = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "pale": "#040404",
    "best": "#050505",
    "default": "#060606",
    "second": "#070707",
    "third": "#080808",
    "limit": "#090909",
    "paper": "#0a0a0a",
}
"""Stand-ins that matplotlib draws with; the page's style sheet says what they look like, in
light and in dark. Its palette is Okabe and Ito's, which colour-blind people can tell apart;
markers and dashes say the same once more."""

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.labelcolor": COLOURS["ink"],
    "svg.fonttype": "none",
    # A dollar in a model's name is a dollar.
    "text.parse_math": False,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
}
_SIZE_INCHES = (9.0, 4.6)
_LOG_FROM = 8.0
"""An axis whose values span more than this factor is logarithmic."""


def error_bars(values: Sequence[Number]) -> tuple[list[float], list[float]]:
    """Distances from the values down and up to the ends of their intervals."""
    known = [v if isinstance(v, Estimate) else None for v in values]
    down = [0.0 if e is None else e.value - e.low for e in known]
    up = [0.0 if e is None else e.high - e.value for e in known]
    return down, up


def point(number: Number) -> float | None:
    """The number without its interval."""
    return number.value if isinstance(number, Estimate) else number


@contextmanager
def canvas(name: str) -> Iterator[tuple[Figure, Axes]]:
    """An empty drawing in the house style; ``name`` makes its identifiers its own."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.grid(visible=True)
        yield figure, axes


def scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the horizontal axis logarithmic where its values span a wide range."""
    positive = [value for value in values if value > 0]
    if positive and max(positive) > _LOG_FROM * min(positive):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def legend(axes: Axes) -> None:
    """Above the plot, where it hides no point."""
    handles, labels = axes.get_legend_handles_labels()
    pairs = list(zip(handles, labels, strict=True))[::-1]
    axes.legend(
        [handle for handle, _ in pairs],
        [label for _, label in pairs],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        borderaxespad=0.4,
        fontsize=9,
    )


def as_svg(figure: Figure, name: str) -> str:
    """The drawing as an element for a page: same input, same bytes."""
    raw = io.StringIO()
    figure.savefig(raw, format="svg")
    svg = raw.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # Two drawings share one page, and identifiers are the page's.
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 aria-hidden="true"', svg, count=1)
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg
