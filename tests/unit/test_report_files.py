from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
import report_studies as studies
from rich.console import Console

from tuner.errors import MachineError, UsageError
from tuner.model.config import ModelConfig
from tuner.report import html, plots
from tuner.report import text as terminal
from tuner.report.csv import detail_csv, summary_csv, trials_csv
from tuner.report.export import exported_config
from tuner.report.json import as_json
from tuner.report.view import build
from tuner.report.write import write_reports
from tuner.stored import stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.report.view import Report
    from tuner.study.spec import StudyRecord

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
ALL: dict[str, Callable[[], StudyRecord]] = {
    "gpu": studies.gpu_study,
    "cpu": studies.cpu_study,
    "front": studies.front_study,
    "strict": studies.strict_study,
    "hostile": studies.hostile_study,
    "empty": lambda: studies.study([]),
}


@pytest.fixture(params=ALL)
def study(request: pytest.FixtureRequest) -> StudyRecord:
    return ALL[request.param]()


def printed(study: StudyRecord, width: int) -> str:
    out = io.StringIO()
    terminal.print_summary(build(study), Console(file=out, width=width))
    return out.getvalue()


def test_every_configuration_of_a_gpu_study_has_one_line_on_a_terminal_of_80_columns() -> None:
    shown = printed(stored(EXAMPLES, "h100-falcon7b"), 80).splitlines()
    named = [line for line in shown if line.lstrip().startswith("falcon7b_config_")]
    folded = [line for line in shown if line.strip() == "*"]
    assert (len(named), folded) == (1 + 30, []), "the sentence and the table's rows"


@pytest.mark.parametrize("width", [40, 80, 120, 250])
def test_the_table_fits_the_terminal(study: StudyRecord, width: int) -> None:
    lines = printed(study, width).splitlines()

    assert lines
    if width >= 80:
        assert max(len(line.rstrip()) for line in lines) <= width


def test_a_wide_terminal_shows_every_column_with_its_interval() -> None:
    shown = printed(studies.gpu_study(), 250)

    assert "1429 (1386 to 1472)" in shown
    assert "Utilization" in shown
    assert "A wider terminal" not in shown


def test_a_narrow_terminal_keeps_the_numbers_that_decide_and_names_what_it_leaves_out() -> None:
    shown = printed(studies.gpu_study(), 80)

    assert "1429 ±3%" in shown
    assert "34.9x ±5%" in shown
    assert "A wider terminal also shows" in shown
    assert "falcon7b_config_10 *" in shown
    assert "* with caveats (unstable)" in shown


def test_nothing_is_coloured_where_there_is_no_terminal(study: StudyRecord) -> None:
    assert "\x1b" not in printed(study, 100)


def test_markup_in_a_name_is_printed_as_it_is() -> None:
    record = studies.study([studies.trial(0, [studies.level(1, 9, 120)], role="baseline")])

    assert "[red]x[/red]_config_default" in printed(
        studies.study(record.trials, model="[red]x[/red]"), 200
    )


def test_a_configurations_levels_can_be_printed() -> None:
    out = io.StringIO()
    report = build(studies.gpu_study())
    terminal.print_detail(report, "falcon7b_config_7", Console(file=out, width=220))

    assert "Client" in out.getvalue()
    assert out.getvalue().count("1429") == 1


def test_the_csvs_hold_rounded_and_whole_numbers_with_their_intervals() -> None:
    rows = list(csv.DictReader(io.StringIO(summary_csv(build(studies.gpu_study())))))

    assert rows[0]["Model Config Name"] == "falcon7b_config_7"
    assert rows[0]["Throughput (infer/sec)"] == "1429"
    low, value, high = (float(rows[0][f"throughput_per_s{end}"]) for end in ("_low", "", "_high"))
    assert low < value < high
    refused = next(row for row in rows if row["Model Config Name"] == "falcon7b_config_10")
    assert refused["p99 Latency (ms)"] == refused["latency_p99_ms"] == ""


def test_the_detail_csv_has_one_line_a_level() -> None:
    report = build(studies.gpu_study())
    rows = list(csv.DictReader(io.StringIO(detail_csv(report))))

    assert len(rows) == sum(len(c.levels) for c in report.configurations)
    assert rows[0]["Request Concurrency"] == "1024"


def test_the_trials_csv_has_one_line_a_trial() -> None:
    rows = list(csv.DictReader(io.StringIO(trials_csv(build(studies.gpu_study())))))

    assert [row["trial"] for row in rows] == [str(n) for n in range(12)]
    assert rows[3]["status"] == "rejected"


def test_the_json_form_is_valid_and_names_the_winner(study: StudyRecord) -> None:
    known = json.loads(as_json(build(study)))

    assert known["schema"] == 1
    if known["answer"] == "better":
        assert known["config"] == "falcon7b_config_7"
        assert known["summary"][0]["throughput_per_s"]["value"] > 1400
        assert known["summary"][0]["latency_p99_ms"]["interval"][0] > 0


@pytest.mark.parametrize("draw", [plots.tradeoff, plots.progress])
def test_a_plot_is_one_well_formed_drawing_and_always_the_same(
    draw: Callable[[Report], plots.Plot | None], study: StudyRecord
) -> None:
    first, second = (draw(build(study)) for _ in range(2))

    assert first == second
    if first is not None:
        root = ET.fromstring(first.svg)  # noqa: S314 - our own drawing
        assert root.tag.endswith("svg")


class _Reader(HTMLParser):
    """Collects what could load something or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        known = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.loads += [v for n, v in attrs if n in {"src", "srcset", "data"} and v]
        if tag == "link" and known.get("href"):
            self.loads.append(str(known["href"]))
        assert not [name for name in known if name.startswith("on")]


def test_a_page_loads_nothing_and_runs_only_its_own_script(study: StudyRecord) -> None:
    page = html.page(build(study))
    reader = _Reader()
    reader.feed(page)

    assert reader.loads == []
    assert reader.tags.count("script") == 1
    assert len(reader.ids) == len(set(reader.ids))
    assert not re.findall(r"url\((?!#)", page)


def test_a_file_that_does_not_change_is_folded_so_that_the_ranking_is_seen_first() -> None:
    folded = "<summary>config.pbtxt, whole"

    assert folded in html.page(build(studies.cpu_study()))
    assert folded not in html.page(build(studies.gpu_study()))


def test_a_page_is_marked_at_its_top_where_its_numbers_are_simulated() -> None:
    def top(server: str) -> str:
        record = studies.study(
            [studies.trial(0, [studies.level(1, 9, 120)], role="baseline")],
            environment={"server": server},
        )
        return html.page(build(record)).partition("</header>")[0]

    mark = '<span class="badge">Simulated</span>'
    assert mark in top("simulated, version 1")
    assert mark not in top("local, tritonserver 2.51.0")


def test_what_came_from_outside_is_escaped_in_the_page() -> None:
    page = html.page(build(studies.hostile_study()))

    assert "<script>document.title" not in page
    assert "x<script>y" not in page
    assert page.count("&lt;script&gt;document.title") >= 6


def test_reports_are_written_with_their_list(tmp_path: Path) -> None:
    page = write_reports(studies.gpu_study(), tmp_path / "reports")
    write_reports(studies.cpu_study(), tmp_path / "reports")

    assert page == tmp_path / "reports" / "falcon7b.html"
    found = sorted(str(p.relative_to(page.parent)) for p in page.parent.rglob("*") if p.is_file())
    assert found == [
        "falcon7b.html", "falcon7b/detail.csv", "falcon7b/summary.csv", "falcon7b/summary.json",
        "falcon7b/trials.csv", "falcon_tiny.html", "falcon_tiny/detail.csv",
        "falcon_tiny/summary.csv", "falcon_tiny/summary.json", "falcon_tiny/trials.csv",
        "index.html",
    ]  # fmt: skip
    listed = (page.parent / "index.html").read_text()
    assert 'href="falcon7b.html"' in listed
    assert 'href="falcon_tiny.html"' in listed


def test_a_report_that_cannot_be_read_back_is_left_out_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "summary.json").write_text("{")
    (tmp_path / "old.html").write_text("")

    write_reports(studies.gpu_study(), tmp_path)

    assert "old.html" not in (tmp_path / "index.html").read_text()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file stands in the way")

    with pytest.raises(MachineError, match=r"Cannot write the report to .*--reports"):
        write_reports(studies.gpu_study(), tmp_path / "reports")


def test_the_exported_config_is_the_winners_with_its_provenance() -> None:
    study = studies.gpu_study()
    exported = exported_config(study, None)

    comments = [line for line in exported.splitlines() if line.startswith("#")]
    assert comments[0] == "# falcon7b_config_7, exported by tuner."
    assert any("Proved: Measured again" in line for line in comments)
    assert any("tritonserver 2.51.0" in line for line in comments)
    config = ModelConfig.parse(exported, path=Path("config.pbtxt"))
    assert (config.max_batch_size, config.max_queue_delay_microseconds) == (128, 10000)
    assert exported.endswith(study.trials[7].config_pbtxt)


def test_an_exported_configuration_says_which_weights_it_was_measured_with() -> None:
    study = studies.gpu_study()
    dummy = replace(study.header, spec=replace(study.header.spec, weights="dummy"))

    assert "# weights: dummy\n" in exported_config(replace(study, header=dummy), None)
    assert "# weights" not in exported_config(study, None), "those that it names itself"


def test_a_trial_can_be_exported_by_its_number() -> None:
    exported = exported_config(studies.gpu_study(), 4)

    assert exported.startswith("# falcon7b_config_4, exported by tuner.\n")
    assert "Proved" not in exported


def test_the_winner_is_exported_alike_by_its_number_and_without() -> None:
    study = studies.gpu_study()

    assert exported_config(study, 7) == exported_config(study, None)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (3, "did not serve: The model ran out of GPU memory."),
        (99, "no trial 99"),
        (12, "trial 12 of study falcon7b only measured again"),
    ],
)
def test_a_trial_that_cannot_be_exported_says_why(number: int, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        exported_config(studies.gpu_study(), number)


def test_without_a_winner_an_export_asks_for_a_trial() -> None:
    with pytest.raises(UsageError, match=r"Nothing that was tried keeps .* --trial N"):
        exported_config(studies.strict_study(), None)


def test_a_line_break_in_the_environment_stays_inside_the_comment() -> None:
    study = studies.study(
        [studies.trial(0, [studies.level(1, 9, 120)], role="baseline")],
        environment={"gpu": "H100\nmax_batch_size: 1"},
    )

    assert "# gpu: H100 max_batch_size: 1\n" in exported_config(study, None)


def test_the_front_is_printed_with_the_load_of_each_point() -> None:
    shown = " ".join(printed(studies.front_study(), 80).split())

    assert "The front of Throughput and p99 Latency, point by point." in shown
    assert "tune export falcon7b --trial N" in shown
    assert "(concurrency)" in shown.partition("The front of")[2]
    assert "The front of" not in printed(studies.gpu_study(), 80)


def test_the_front_has_a_csv_and_a_place_in_the_json_form(tmp_path: Path) -> None:
    report = build(studies.front_study())
    assert report.front is not None
    points = len(report.front.points)
    write_reports(studies.front_study(), tmp_path)
    text = (tmp_path / "falcon7b" / "front.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == points
    assert float(rows[0]["throughput_per_s_low"]) < float(rows[0]["throughput_per_s"])
    known = json.loads(as_json(report))
    assert known["objectives"] == ["throughput_per_s", "latency_p99_ms"]
    assert [row["config"] for row in known["front"]] == [r["Model Config Name"] for r in rows]
    assert 'front.csv">front.csv</a>' in html.page(report)

    write_reports(studies.gpu_study(), tmp_path)
    assert not (tmp_path / "falcon7b" / "front.csv").exists()
    assert json.loads(as_json(build(studies.gpu_study())))["front"] is None


def test_the_front_is_ringed_in_the_plot_of_its_two_objectives() -> None:
    drawn = plots.tradeoff(build(studies.front_study()))
    plain = plots.tradeoff(build(studies.gpu_study()))

    assert drawn is not None
    assert plain is not None
    assert "on the front" in drawn.svg
    assert "on the front" not in plain.svg


def test_the_plot_of_a_front_shows_its_latency_even_where_most_levels_lack_it() -> None:
    study = studies.front_study()
    few = [
        studies.trial(n, [studies.level(1, 10.0 + n, 50.0 if n == 0 else None)]) for n in range(4)
    ]
    drawn = plots.tradeoff(build(replace(study, trials=tuple(few))))

    assert drawn is not None
    assert "p99 latency (ms)" in drawn.svg


def test_the_nearest_miss_is_told_limit_by_limit_in_csv_and_json() -> None:
    report = build(studies.strict_study())
    nearest = json.loads(as_json(report))["nearest_miss"]

    assert (nearest["config"], nearest["trial"], nearest["load"]) == ("falcon7b_config_1", 1, 1)
    (limit,) = nearest["missed"]
    assert (limit["limit"], limit["bound"]) == ("p99 Latency (ms) <= 50", 50.0)
    assert limit["beyond"] == pytest.approx((limit["value"] - 50) / 50)
    rows = list(csv.DictReader(io.StringIO(summary_csv(report))))
    assert rows[0]["Limits Missed"].startswith("p99 Latency (ms) by ")
    assert json.loads(as_json(build(studies.gpu_study())))["nearest_miss"] is None


def test_the_page_says_what_the_search_started_from_and_why_it_ended() -> None:
    study = studies.gpu_study()
    spec = replace(study.header.spec, started_from=("older",))
    told = replace(study, header=replace(study.header, spec=spec), search_ended="Enough <now>.")

    page = html.page(build(told))

    assert "It started from what was learnt in older." in page
    assert "It ended: Enough &lt;now&gt;." in page
    assert "It ended" not in html.page(build(study))
    known = json.loads(as_json(build(told)))
    assert (known["search_ended"], known["started_from"]) == ("Enough <now>.", ["older"])


def test_an_exported_configuration_names_its_points_on_the_front() -> None:
    study = studies.front_study()
    front = build(study).front
    assert front is not None
    point = front.points[0]

    exported = exported_config(study, point.record.number)

    assert "# On the front of Throughput and p99 Latency: " in exported
    assert "On the front" not in exported_config(studies.gpu_study(), point.record.number)
