"""The view model: everything that a report says, decided once, for every way of showing it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner.judge.verdict import over_default
from tuner.measure.duration import duration
from tuner.measure.record import Measured
from tuner.report import answer as answers
from tuner.report import describe, numbers, spent, tables
from tuner.report.doubts import CaveatGroup, doubts
from tuner.report.front import Front, front
from tuner.report.in_turn import in_turn
from tuner.report.settings import settings
from tuner.report.steps import Step, history

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner.judge.goal import Limit, Objective
    from tuner.judge.rank import Ranked
    from tuner.judge.verdict import Answer
    from tuner.measure.measurement import Measurement
    from tuner.measure.metrics import Metric
    from tuner.report.spent import Spent
    from tuner.report.tables import Table
    from tuner.study.spec import StudyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One large number: what it is, the number, and what it compares with."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One measured configuration.

    Attributes:
        name: such as ``falcon7b_config_7``.
        number: of its trial.
        knobs: its values in one line.
        proposal: how it came to be tried.
        mark: ``best``, ``default``, ``misses`` or nothing.
        detail: its levels as a table.
        levels: the same, unrounded, by rising load.
        config_pbtxt: the whole file.
    """

    name: str
    number: int
    knobs: str
    proposal: str
    mark: str
    detail: Table
    levels: tuple[Measurement, ...]
    config_pbtxt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is said of a study.

    Attributes:
        name: of the study.
        model: its model.
        created_at_utc: ISO 8601.
        metric: the row of METRICS that is to be improved.
        objectives: keys of all that is to be improved, the deciding one first.
        limits: what had to be kept.
        found: the answer, for programs.
        headline: the answer in words.
        verdict: what measuring again said, in words; may be empty.
        lead: why the first row leads although another's number is better; may be empty.
        figures: the answer in four numbers.
        chosen: the configuration that the answer is about; None where nothing was measured.
        diff: from the user's file to the chosen one's, unified; empty where they are equal.
        summary: all configurations, ranked.
        in_turn: the rounds of the proof; None where there are none.
        front: what two objectives leave to choose from; None where there is one.
        configurations: the same, each whole.
        steps: all trials of the search, in the order of time.
        caveats: every reason to doubt, by what to do about it.
        spent: where the time went.
        environment: what the numbers depend on.
        settings: what was asked for.
        search_ended: why the search stopped, as a sentence; empty where it has not.
        started_from: names of the earlier studies that it learnt from.
    """

    name: str
    model: str
    created_at_utc: str
    metric: Metric
    objectives: tuple[str, ...]
    limits: tuple[Limit, ...]
    found: Answer
    headline: str
    verdict: str
    lead: str
    figures: tuple[Figure, ...]
    chosen: Configuration | None
    diff: tuple[str, ...]
    summary: Table
    in_turn: Table | None
    front: Front | None
    configurations: tuple[Configuration, ...]
    steps: tuple[Step, ...]
    caveats: tuple[CaveatGroup, ...]
    spent: Spent
    environment: Mapping[str, str]
    settings: Mapping[str, str]
    search_ended: str
    started_from: tuple[str, ...]

    @property
    def simulated(self) -> bool:
        """Whether the numbers come from the simulator."""
        return answers.simulated(self.environment)

    @property
    def badge(self) -> str:
        """The answer's standing in two words."""
        return answers.badge(self.found.kind, self.found.verdict)

    @property
    def verdict_line(self) -> str:
        """The standing and what measuring again said; empty where there is nothing to prove."""
        return f"{self.badge}: {self.verdict}" if self.verdict else ""

    @property
    def best(self) -> Configuration | None:
        """The configuration to use, which may be the user's own; None where nothing will do."""
        return self.chosen if self.found.usable else None

    @property
    def refused(self) -> tuple[Step, ...]:
        """Trials whose configuration cannot serve."""
        return tuple(step for step in self.steps if step.status == "rejected")

    @property
    def aborted(self) -> tuple[Step, ...]:
        """Trials that were lost through no fault of their configuration."""
        return tuple(step for step in self.steps if step.status == "aborted")


def build(study: StudyRecord) -> Report:
    """Make the view of a study. Pure: the same record gives the same report."""
    spec = study.header.spec
    found = answers.answer(study)
    best = found.chosen.record.number if found.chosen and found.kind == "better" else None
    gains = [over_default(entry, found.default, spec.objective) for entry in found.ranked]
    summary = tables.summary(found.ranked, gains, limits=spec.limits, model=spec.model, best=best)
    configurations = tuple(
        _configuration(entry, row.mark, spec.model)
        for entry, row in zip(found.ranked, summary.rows, strict=True)
    )
    chosen = None
    if found.chosen is not None:
        number = found.chosen.record.number
        chosen = next(c for c in configurations if c.number == number)
    time = spent.spent(study)
    return Report(
        name=spec.name,
        model=spec.model,
        created_at_utc=study.header.created_at_utc,
        metric=spec.objective.row,
        objectives=tuple(one.metric for one in spec.front_of or (spec.objective,)),
        limits=spec.limits,
        found=found,
        headline=answers.sentence(study, found),
        verdict=answers.verdict_sentence(found),
        lead=answers.lead_sentence(found, spec.model),
        figures=_figures(found, time, spec.objective),
        chosen=chosen,
        diff=_diff(spec.config_pbtxt, chosen.config_pbtxt) if chosen else (),
        summary=summary,
        in_turn=in_turn(found, spec),
        front=front(study, best),
        configurations=configurations,
        steps=history(study),
        caveats=doubts(study),
        spent=time,
        environment=dict(study.header.environment),
        settings=settings(spec),
        search_ended=study.search_ended,
        started_from=spec.started_from,
    )


def _configuration(entry: Ranked, mark: str, model: str) -> Configuration:
    record, spoken = entry.record, entry.level
    levels = record.outcome.levels if isinstance(record.outcome, Measured) else ()
    # What a proof has added to the level that speaks for it is told there, too.
    levels = tuple(spoken if lv.workload == spoken.workload else lv for lv in levels)
    record = replace(record, outcome=Measured(levels=levels))
    return Configuration(
        name=describe.config_name(model, record),
        number=record.number,
        knobs=describe.knobs(record, spoken),
        proposal=record.proposal,
        mark=mark,
        detail=tables.detail(record, spoken),
        levels=tuple(sorted(levels, key=lambda lv: describe.load(lv.workload).value or 0)),
        config_pbtxt=record.config_pbtxt,
    )


def _figures(found: Answer, time: Spent, objective: Objective) -> tuple[Figure, ...]:
    """Gain, throughput, p99 and cost."""
    chosen, default = found.chosen, found.default
    cost = Figure(
        label="Cost",
        value=duration(time.total_s),
        note=f"{found.trials} configurations tried, {found.rejected} rejected",
    )
    if chosen is None:
        return (cost,)
    proof = found.proof.gain if found.proof else None
    ratio = proof or found.gain
    gain = Figure(label="Gain over default", value=numbers.MISSING, note="")
    if found.kind == "keep":
        gain = Figure(label=gain.label, value="none", note="no significant improvement")
    elif ratio is not None and found.kind == "better":
        shown = numbers.gain(ratio)
        note = "proved, 95 % interval" if found.verdict == "proved" else "95 % interval"
        gain = Figure(label=gain.label, value=shown.text, note=f"{shown.interval} ({note})")
    other = None if default is None or default is chosen else default.level
    return (
        gain,
        _proved_figure(found, objective) or _figure("Throughput (infer/sec)", chosen.level, other),
        _figure("p99 Latency (ms)", chosen.level, other),
        cost,
    )


def _proved_figure(found: Answer, objective: Objective) -> Figure | None:
    """The objective as it was proved; None where nothing was."""
    if found.verdict != "proved" or found.proof is None or found.proof.means is None:
        return None
    if found.chosen is None or objective.metric != "throughput_per_s":
        return None
    mine, default = (numbers.plain(mean) for mean in found.proof.means)
    first = numbers.point(found.chosen.level.throughput_per_s)
    return Figure(
        label=objective.row.header,
        value=mine,
        note=f"in the proof; default {default}; first measured {first}",
    )


def _figure(label: str, level: Measurement, default: Measurement | None) -> Figure:
    def read(measured: Measurement) -> numbers.Cell:
        if label.startswith("p99"):
            return tables.p99(measured)
        return numbers.cell(measured.throughput_per_s)

    shown = read(level)
    notes = [shown.interval or ("too few requests, see Caveats" if shown.note else "")]
    if default is not None:
        notes.append(f"default {read(default).text}")
    return Figure(label=label, value=shown.text, note="; ".join(filter(None, notes)))


def _diff(before: str, after: str) -> tuple[str, ...]:
    return tuple(
        difflib.unified_diff(
            before.splitlines(),
            after.splitlines(),
            fromfile="config.pbtxt (yours)",
            tofile="config.pbtxt (chosen)",
            lineterm="",
        )
    )
