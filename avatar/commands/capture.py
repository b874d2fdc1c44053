"""The capture report on the console: the verdict before anything long, and again once the head is tracked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from avatar.commands._console import progress_bar, say
from avatar.io.take import CAPTURE_PAGE

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.commands._job import Job
    from avatar.io.take import Take
    from avatar.preprocess.capture_report import CaptureReport

COLORS = {"go": "green", "go with warnings": "yellow", "no-go": "red"}
LABELS = {"capture": "judge the recording", "verdict": "write the capture report"}


def judge_take(take: Take, output: Path, job: Job, stage: str, *, force: bool) -> None:
    """Writes the take's report as a stage of a job and says the verdict; does nothing where that is done.

    Args:
        take: An ingested take; tracking is judged too where it is tracked.
        output: Folder of the job.
        job: The job.
        stage: ``capture`` before tracking, ``verdict`` after it.
        force: Go on whatever the verdict, and keep that in the report.

    Raises:
        InputError: The verdict is no-go and nobody forced it; the stage counts as not done then.
    """
    from avatar.preprocess.capture_report import capture_report, require_go

    if job.done(stage):
        return
    with job.stage(output, stage) as row:
        with progress_bar(LABELS[stage]) as progress:
            report = capture_report(take, forced=force, progress=progress)
        require_go(report, take)
        row["figures"] = {"verdict": report.verdict, "forced": report.forced}
    say_verdict(report, take)


def say_verdict(report: CaptureReport, take: Take) -> None:
    """The verdict and every finding with its advice, on the error stream."""
    color = COLORS[report.verdict]
    forced = " (forced)" if report.forced and report.verdict == "no-go" else ""
    say(
        f"Recording: [bold {color}]{report.verdict}[/bold {color}]{forced}; see {escape(str(take.path / CAPTURE_PAGE))}"
    )
    for finding in report.findings:
        say(escape(f"  {finding.title}: {finding.found}. {finding.advice}"))


def require_go_of(take: Take, *, force: bool) -> None:
    """Raises InputError where the report that lies in a take says no-go and nobody forced it, then or now."""
    from dataclasses import replace

    from avatar.preprocess.capture_report import read_capture_report, require_go

    report = read_capture_report(take)
    if report is not None:
        require_go(replace(report, forced=report.forced or force), take)
