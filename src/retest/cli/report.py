"""The command report."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import opened, study_option


@click.command()
@study_option
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), show_default=True, help="File to write."
)
def report(study_folder: Path, out: Path) -> None:
    """Write the study's report: one self-contained HTML page that needs no network.

    \b
    Example:
      retest report --study my-study --out report.html
    """
    from retest.stages.evaluate import accuracy
    from retest.stages.report import write_report

    with opened(study_folder) as study:
        with study.database.read() as tables:
            evaluated = tables.predictions.count() > 0
        write_report(study, accuracy(study) if evaluated else [], out)
    click.echo(out.resolve())
