"""The command report."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import opened


@click.command()
@click.argument("predictions", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--study", "study_folder", type=click.Path(path_type=Path), help="Report on this study.")
@click.option(
    "--table", "tables", multiple=True, type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Two CSV tables with columns model, top1 (and img_size): original, then new.",
)  # fmt: skip
@click.option("--original", help="The data set that the others are compared with; default: the benchmark's own.")
@click.option("--title", default="Accuracy on new test sets", show_default=True, help="Title of a report without a study.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), show_default=True, help="File to write."
)
def report(
    predictions: tuple[Path, ...], study_folder: Path | None, tables: tuple[Path, ...], original: str | None, title: str, out: Path
) -> None:
    """Write a report, one self-contained HTML page that needs no network: of a study, of prediction files, or of accuracy tables.

    \b
    Examples:
      retest report --study my-study --out report.html
      retest report predictions/ --original original --out report.html
      retest report --table results-imagenet.csv --table results-imagenetv2.csv
    """
    if sum((bool(predictions), study_folder is not None, bool(tables))) != 1:
        raise click.UsageError("Give one of: --study STUDY, prediction files or folders, or --table CSV twice")
    from retest.stages import report as stage

    if study_folder is not None:
        _of_study(study_folder, original, out)
    elif tables:
        from retest.cli.accuracy import pair_tables

        stage.write_page(stage.table_report(pair_tables(tables, "top1"), title=title), out)
    else:
        from retest.analysis import accuracy_rows
        from retest.cli.accuracy import load_predictions

        loaded = load_predictions(predictions)
        notes = [f"{one.dataset} / {one.model}: {note}" for one in loaded for note in one.notes]
        stage.write_page(stage.accuracy_report(accuracy_rows(loaded), title=title, original=original, notes=notes), out)
    click.echo(out.resolve())


def _of_study(folder: Path, original: str | None, out: Path) -> None:
    from retest.stages.evaluate import stored_predictions
    from retest.stages.report import write_report

    with opened(folder) as study:
        with study.database.read() as tables:
            evaluated = tables.predictions.count() > 0
        write_report(study, stored_predictions(study) if evaluated else [], out, original=original)
