"""Commands on predictions: accuracy, fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

from retest.analysis import (
    AccuracyRow,
    EffectiveRobustness,
    LinearFit,
    Metric,
    PairedModels,
    Scale,
    accuracy_rows,
    effective_robustness,
    fit_accuracies,
    join_tables,
    pair_models,
    read_table_rows,
)
from retest.cli._common import json_option, opened, print_json
from retest.cli._files import read_csv, read_lines
from retest.errors import InputError
from retest.models import read_predictions
from retest.records import Predictions
from retest.report import accuracy_json_rows, accuracy_text, fit_text, robustness_text
from retest.stages import evaluate as stage
from retest.stages._multilabel import multilabel_accuracies
from retest.stages.report import original_dataset, simulation_notices


@click.command()
@click.argument("predictions", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--study", "study_folder", type=click.Path(path_type=Path), help="Take the predictions of this study.")
@click.option("--original", help="The data set that the others are compared with; default: the benchmark's own.")
@click.option("--metric", type=click.Choice(["top1", "top5"]), default="top1", show_default=True, help="Which accuracy to show.")
@json_option
def accuracy(predictions: tuple[Path, ...], study_folder: Path | None, original: str | None, metric: str, as_json: bool) -> None:
    """Accuracy table with 95 % Clopper-Pearson intervals and ranks, over all test sets with predictions.

    \b
    Examples:
      retest accuracy --study my-study
      retest accuracy predictions/ --json
    """
    if study_folder is not None and predictions:
        raise click.UsageError("Give --study STUDY, or prediction files or folders, not both")
    if study_folder is not None:
        with opened(study_folder) as study:
            loaded = stage.stored_predictions(study)
            notes = [notice.text for notice in simulation_notices(study)]
            with study.database.read() as tables:
                multilabel = multilabel_accuracies(tables, loaded)
    elif predictions:
        loaded, notes, multilabel = load_predictions(predictions), [], []
    else:
        raise click.UsageError("Give --study STUDY, or prediction files or folders")
    rows = accuracy_rows(loaded)
    notes += [f"{one.dataset} / {one.model}: {note}" for one in loaded for note in one.notes]
    if as_json:
        reviewed = {"multilabel": [asdict(one) for one in multilabel]} if multilabel else {}
        print_json({"rows": accuracy_json_rows(rows), "notes": notes, **reviewed})
        return
    notes += [f"{m.dataset} / {m.model}: multi-label accuracy {100 * m.accuracy:.1f} % of {m.n} judged images" for m in multilabel]
    click.echo(accuracy_text(rows, original=original or original_dataset(rows), metric=cast(Metric, metric), notes=notes))


def load_predictions(paths: Sequence[Path]) -> list[Predictions]:
    """Read prediction files, and those in folders."""
    return [read_predictions(path) for path in _prediction_files(paths)]


def _prediction_files(paths: Sequence[Path]) -> list[Path]:
    files = [file for path in paths for file in (sorted(path.rglob("*.parquet")) if path.is_dir() else [path])]
    if not files:
        raise InputError("there are no prediction files", item=str(paths[0]), remedy="Give Parquet files written by retest evaluate")
    return files


@click.command()
@click.option("--study", "study_folder", type=click.Path(path_type=Path), help="Take the predictions of this study.")
@click.option(
    "--table", "tables", multiple=True, type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Two CSV tables with columns model, top1 (and img_size): original, then new.",
)  # fmt: skip
@click.option("--original", default="original", show_default=True, help="Name of the original data set.")
@click.option("--new", help="Name of the new data set.")
@click.option("--metric", type=click.Choice(["top1", "top5"]), default="top1", show_default=True, help="Which accuracy to fit.")
@click.option("--scale", type=click.Choice(["linear", "probit", "logit"]), default="linear", show_default=True, help="Scale of both axes.")
@click.option("--exclude", default="", help="Models to leave out, separated by commas.")
@click.option(
    "--baseline",
    help="Also show how far each model lies above what these models' line predicts (effective robustness): names separated by commas, "
    "or @FILE with one name a line, or all.",
)
@click.option("--bootstrap", default=100_000, show_default=True, type=click.IntRange(100), help="Number of bootstrap draws.")
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@json_option
def fit(study_folder: Path | None, tables: tuple[Path, ...], original: str, new: str | None, as_json: bool, **options: Any) -> None:
    """Fit accuracy on a new test set against accuracy on the original, over models, with bootstrap intervals.

    \b
    Examples:
      retest fit --study my-study --original original --new my-b-1
      retest fit --table results-imagenet.csv --table results-imagenetv2.csv --scale probit --json
      retest fit --study my-study --new my-b-1 --scale logit --baseline resnet18,resnet50,vgg16
    """
    if (study_folder is None) == (not tables):
        raise click.UsageError("Give either --study STUDY or --table CSV twice")
    metric = cast(Metric, options["metric"])
    paired = _pair_study(study_folder, original, new, metric) if study_folder is not None else pair_tables(tables, metric)
    found = fit_accuracies(
        paired.points,
        scale=cast(Scale, options["scale"]),
        exclude=[name.strip() for name in options["exclude"].split(",") if name.strip()],
        metric=metric,
        original=paired.original,
        new=paired.new,
        bootstrap=options["bootstrap"],
        seed=options["seed"],
    )
    robustness = None
    if options["baseline"] is not None:
        names = _baseline(options["baseline"], found)
        robustness = effective_robustness(paired.points, baseline=names, scale=found.scale, bootstrap=1000, seed=options["seed"])
    _print_fit(found, robustness, paired, as_json=as_json)


def _baseline(given: str, found: LinearFit) -> list[str]:
    """The models that count as standard; those that were left out of the fit are no part of "all"."""
    if given == "all":
        return list(found.models)
    if given.startswith("@"):
        path = Path(given[1:])
        if not path.is_file():
            raise click.UsageError(f"There is no file {path}; --baseline @FILE names a text file with one model a line")
        return read_lines(path)
    return [name.strip() for name in given.split(",") if name.strip()]


def _pair_study(folder: Path, original: str, new: str | None, metric: Metric) -> PairedModels:
    if new is None:
        raise click.UsageError("Name the new data set: --new NAME")
    with opened(folder) as study:
        rows: list[AccuracyRow] = stage.accuracy(study)
    return pair_models(rows, original=original, new=new, metric=metric)


def pair_tables(tables: tuple[Path, ...], metric: Metric) -> PairedModels:
    """Join two CSV tables of accuracies on (model, img_size)."""
    if len(tables) != 2:
        raise click.UsageError("Give --table twice: the original's table, then the new one's")
    original, new = (read_table_rows(read_csv(path), name=str(path)) for path in tables)
    return join_tables(original, new, metric=metric, original_name=tables[0].stem, new_name=tables[1].stem)


def _print_fit(found: LinearFit, robustness: EffectiveRobustness | None, paired: PairedModels, *, as_json: bool) -> None:
    notes = [*paired.notes, *found.notes]
    if as_json:
        rows = {} if robustness is None else {"robustness": [asdict(row) for row in robustness.rows]}
        print_json({**asdict(found), **rows, "notes": notes})
        return
    click.echo(fit_text([found]))
    if robustness is not None:
        click.echo(robustness_text(robustness))
    for note in notes:
        click.echo(note)
