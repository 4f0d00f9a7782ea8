"""Pages that open from disk: no network, no other file, no script needed to read them.

Everything that a user, a model or a log said is escaped; a policy in the page lets only its own
script run and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from tuner.measure.duration import duration
from tuner.report import numbers, plots
from tuner.report.describe import MARKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.report.plots import Plot
    from tuner.report.view import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One report in the list of all.

    Attributes:
        study: its name.
        model: its model.
        page: address of its page, relative to the list.
        created_at_utc: ISO 8601.
        badge: the verdict in two words.
        headline: the answer.
    """

    study: str
    model: str
    page: str
    created_at_utc: str
    badge: str
    headline: str


def page(report: Report) -> str:
    """The whole report as one file."""
    script = _source("page.js")
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    return _ENVIRONMENT.get_template("page.html").render(
        report=report,
        marks=MARKS,
        limits=" and ".join(limit.describe() for limit in report.limits),
        links={c.name: f"trial-{c.number}" for c in report.configurations},
        tradeoff=_trusted(plots.tradeoff(report)),
        progress=_trusted(plots.progress(report)),
        folder=quote(report.name),
        cell=numbers.cell,
        duration=duration,
        share=numbers.share,
        style=_source("style.css"),
        script=script,
        script_hash=f"sha256-{digest}",
    )


def index(entries: Sequence[Entry]) -> str:
    """The list of all reports, newest first."""
    newest = sorted(entries, key=lambda e: (e.created_at_utc, e.study), reverse=True)
    template = _ENVIRONMENT.get_template("index.html")
    return template.render(entries=newest, style=_source("style.css"))


def _trusted(plot: Plot | None) -> dict[str, str] | None:
    """A plot whose drawing is ours: matplotlib escaped the text in it."""
    if plot is None:
        return None
    return {"svg": Markup(plot.svg), "alt": plot.alt, "note": plot.note}  # noqa: S704 - see above


def _source(name: str) -> Markup:
    """A style sheet or script of our own, as it is."""
    source, _, _ = _LOADER.get_source(_ENVIRONMENT, name)
    return Markup(source)  # noqa: S704 - a file of this package


_LOADER = jinja2.PackageLoader("tuner.report", "templates")
_ENVIRONMENT = jinja2.Environment(
    loader=_LOADER,
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
