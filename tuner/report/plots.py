"""Two plots as SVG to be put into a page. Colours are CSS variables, text stays text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from tuner.report import describe
from tuner.report.drawing import COLOURS, as_svg, canvas, error_bars, legend, point, scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from matplotlib.axes import Axes

    from tuner.judge.goal import Limit
    from tuner.measure.estimate import Estimate
    from tuner.measure.measurement import Measurement
    from tuner.report.steps import Step
    from tuner.report.view import Configuration, Report

_RUNNERS_UP = 2
_ENOUGH = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A picture, what it shows in words, and what it leaves out."""

    svg: str
    alt: str
    note: str


@dataclass(frozen=True, slots=True)
class _Look:
    colour: str
    marker: str
    line: str
    label: str
    loud: bool


def tradeoff(report: Report) -> Plot | None:
    """Throughput against latency, one line a configuration through its load levels.

    The latency is that of the front, else the p99, or where most levels were too short for one,
    the highest percentile that most levels have. None where nothing was measured.
    """
    levels = [level for c in report.configurations for level in c.levels]
    if not levels:
        return None
    name, read = _latency(levels, report.objectives if report.front else ())
    drawn = sum(read(level) is not None for level in levels)
    with canvas("tradeoff") as (figure, axes):
        _limits(axes, report.limits, name)
        for configuration, look in reversed(list(_looks(report))):
            _curve(axes, configuration, look, read)
        _front(axes, report, name, read)
        axes.set_xlabel(f"{name} latency (ms)")
        axes.set_ylabel("Throughput (infer/sec)")
        scale(axes, [e.value for level in levels if (e := read(level))])
        axes.set_ylim(bottom=0)
        legend(axes)
        svg = as_svg(figure, "tradeoff")
    return Plot(
        svg=svg,
        alt=f"Throughput against {name} latency, one line a configuration through its load "
        f"levels. {report.headline}",
        note=_left_out(len(levels) - drawn, name),
    )


def progress(report: Report) -> Plot | None:
    """The objective of every trial in the order of time; None where nothing was measured."""
    measured = [step for step in report.steps if point(step.value) is not None]
    if not measured:
        return None
    with canvas("progress") as (figure, axes):
        _best_so_far(axes, report.steps)
        keeps = [step for step in measured if step.status == "measured"]
        others = [step for step in measured if step.status != "measured"]
        default = f"{report.model}_config_default"
        own = [step for step in keeps if step.name == default]
        best = [s for s in keeps if report.best is not None and s.name == report.best.name]
        rest = [step for step in keeps if step not in own and step not in best]
        _dots(axes, rest, _Look("muted", "o", "", "measured", loud=True))
        _dots(axes, others, _Look("limit", "v", "", "misses a limit", loud=True))
        _dots(axes, own, _Look("default", "s", "", "default", loud=True))
        _dots(axes, [s for s in best if s not in own], _Look("best", "D", "", "best", loud=True))
        _lost(axes, report.refused)
        axes.set_xlabel("Trial")
        axes.set_ylabel(report.metric.header)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        legend(axes)
        svg = as_svg(figure, "progress")
    return Plot(
        svg=svg,
        alt=f"{report.metric.header} of each of {len(report.steps)} trials in the order of "
        f"time; {len(report.refused)} were rejected.",
        note="",
    )


def _latency(
    levels: Sequence[Measurement], front: Sequence[str]
) -> tuple[str, Callable[[Measurement], Estimate | None]]:
    """The one of the front, or the highest percentile that most levels have.

    The mean is always there.
    """
    reads: tuple[tuple[str, Callable[[Measurement], Estimate | None]], ...] = (
        ("p99", lambda level: level.latency.p99_ms),
        ("p95", lambda level: level.latency.p95_ms),
        ("p90", lambda level: level.latency.p90_ms),
        ("p50", lambda level: level.latency.p50_ms),
    )
    wanted = [one for one in reads if f"latency_{one[0]}_ms" in front]
    if wanted:
        return wanted[0]
    for name, read in reads:
        enough = sum(read(level) is not None for level in levels) >= _ENOUGH * len(levels)
        if enough and "latency_mean_ms" not in front:
            return name, read
    return "mean", lambda level: level.latency.mean_ms


def _looks(report: Report) -> Iterable[tuple[Configuration, _Look]]:
    """How each is drawn, the most important one first."""
    runners = iter((("second", "^", "--"), ("third", "v", "-.")))
    quiet = 0
    for configuration in report.configurations:
        loud = next(runners, None) if configuration.mark in {"", "misses"} else None
        if configuration.mark == "best":
            loud = ("best", "o", "-")
        elif configuration.mark == "default":
            loud = ("default", "s", "-")
        if loud is not None:
            colour, marker, line = loud
            yield configuration, _Look(colour, marker, line, configuration.name, loud=True)
        else:
            quiet += 1
            label = "others" if quiet == 1 else "_others"
            yield configuration, _Look("pale", ".", "-", label, loud=False)


def _curve(
    axes: Axes,
    configuration: Configuration,
    look: _Look,
    read: Callable[[Measurement], Estimate | None],
) -> None:
    """One configuration by rising load, its intervals as error bars."""
    points = [
        (latency, level.throughput_per_s, level)
        for level in configuration.levels
        if (latency := read(level)) is not None
    ]
    if not points:
        return
    xs, ys = [x.value for x, _, _ in points], [y.value for _, y, _ in points]
    colour = COLOURS[look.colour]
    axes.plot(
        xs,
        ys,
        color=colour,
        linestyle=look.line,
        linewidth=2.0 if look.loud else 1.0,
        marker=look.marker,
        markersize=6 if look.loud else 4,
        label=look.label,
    )
    if not look.loud:
        return
    axes.errorbar(
        xs,
        ys,
        xerr=error_bars([x for x, _, _ in points]),
        yerr=error_bars([y for _, y, _ in points]),
        fmt="none",
        ecolor=colour,
        elinewidth=1.0,
        alpha=0.6,
    )
    if configuration.mark in {"best", "default"}:
        for x, y, level in points:
            axes.annotate(
                describe.load(level.workload).text,
                (x.value, y.value),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=8.5,
                color=colour,
            )


def _front(
    axes: Axes,
    report: Report,
    latency: str,
    read: Callable[[Measurement], Estimate | None],
) -> None:
    """Rings around the points of the front, where the axes show its two objectives."""
    shown = {"throughput_per_s", f"latency_{latency}_ms"}
    if report.front is None or set(report.objectives) != shown:
        return
    places = [(read(p.level), p.level.throughput_per_s) for p in report.front.points]
    known = [(x.value, y.value) for x, y in places if x is not None]
    axes.plot(
        [x for x, _ in known],
        [y for _, y in known],
        linestyle="",
        marker="o",
        markersize=13,
        fillstyle="none",
        markeredgewidth=1.6,
        color=COLOURS["ink"],
        label="on the front",
    )


def _limits(axes: Axes, limits: Sequence[Limit], latency: str) -> None:
    """Limits on what the axes show, as lines."""
    for limit in limits:
        label = f"limit: {limit.describe()}"
        colour = COLOURS["limit"]
        if limit.metric == f"latency_{latency}_ms":
            axes.axvline(limit.bound, label=label, color=colour, linestyle=":", linewidth=1.6)
        elif limit.metric == "throughput_per_s":
            axes.axhline(limit.bound, label=label, color=colour, linestyle=":", linewidth=1.6)


def _best_so_far(axes: Axes, steps: Sequence[Step]) -> None:
    known = [(step.number, step.best) for step in steps if step.best is not None]
    if known:
        axes.step(
            [number for number, _ in known],
            [best for _, best in known],
            where="post",
            color=COLOURS["best"],
            linewidth=1.6,
            label="best so far",
        )


def _dots(axes: Axes, steps: Sequence[Step], look: _Look) -> None:
    if not steps:
        return
    values = [step.value for step in steps]
    axes.errorbar(
        [step.number for step in steps],
        [point(value) or 0.0 for value in values],
        yerr=error_bars(values),
        fmt=look.marker,
        color=COLOURS[look.colour],
        markersize=7,
        elinewidth=1.2,
        label=look.label,
    )


def _lost(axes: Axes, steps: Sequence[Step]) -> None:
    """Rejected trials have no value; they stand on the axis."""
    if steps:
        axes.plot(
            [step.number for step in steps],
            [0.02] * len(steps),
            linestyle="",
            marker="x",
            markersize=8,
            markeredgewidth=2,
            color=COLOURS["limit"],
            label="rejected",
            transform=axes.get_xaxis_transform(),
        )


def _left_out(count: int, name: str) -> str:
    if not count:
        return ""
    levels = "One level was" if count == 1 else f"{count} levels were"
    return f"{levels} too short to give a {name} and {'is' if count == 1 else 'are'} not drawn."
