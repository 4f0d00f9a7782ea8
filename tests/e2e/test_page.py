"""The page in a real browser, opened from disk with the network off."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import report_studies as studies

from tuner.report.write import write_reports

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.study.spec import StudyRecord


def opened(browser: str, page: Path, profile: Path) -> tuple[str, str]:
    """The page's elements after its script ran, and what the console said."""
    ran = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",  # a container's root user has no sandbox of its own
            "--disable-gpu",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--proxy-server=127.0.0.1:9",
            f"--user-data-dir={profile}",
            "--enable-logging=stderr",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    console = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    return ran.stdout, "\n".join(console)


@pytest.mark.parametrize(
    ("study", "name"),
    [
        (studies.gpu_study(), "falcon7b_config_7"),
        (studies.cpu_study(), "falcon_tiny_config_default"),
        (studies.hostile_study(), "x&lt;script&gt;y_config_default"),
    ],
    ids=["gpu", "cpu", "hostile"],
)
def test_the_page_opens_without_network_and_without_an_error(
    browser: str, tmp_path: Path, study: StudyRecord, name: str
) -> None:
    page = write_reports(study, tmp_path / "reports")

    elements, console = opened(browser, page, tmp_path / "profile")

    assert console == ""
    assert "<caption>All configurations, best first</caption>" in elements
    assert name in elements
    assert elements.count("<svg") == 2
    # The script ran: headers became buttons, the copy button came up. No other script did.
    assert '<button type="button">Model Config Name</button>' in elements
    assert "<title>taken over" not in elements


def test_the_list_of_reports_opens_without_an_error(browser: str, tmp_path: Path) -> None:
    page = write_reports(studies.gpu_study(), tmp_path / "reports")

    elements, console = opened(browser, page.with_name("index.html"), tmp_path / "profile")

    assert console == ""
    assert 'href="falcon7b.html"' in elements
