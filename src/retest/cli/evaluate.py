"""Commands of evaluation: evaluate, accuracy, fit."""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

from retest.analysis import (
    AccuracyRow,
    LinearFit,
    Metric,
    PairedModels,
    Scale,
    accuracy_rows,
    fit_accuracies,
    join_tables,
    pair_models,
    read_table_rows,
)
from retest.cli._common import bars, json_option, opened, print_json, study_option
from retest.errors import InputError, RetestError, UsageError
from retest.models import Classifier, read_predictions
from retest.records import Predictions
from retest.report import accuracy_json_rows, accuracy_text, fit_text
from retest.stages import evaluate as stage
from retest.stages.report import original_dataset, simulation_notices
from retest.study import Study


@click.command()
@study_option
@json_option
@click.option("--dataset", "datasets", required=True, help="Data sets, separated by commas: original, or names of revisions.")
@click.option("--models", required=True, help="MODULE:FUNCTION that takes the study and returns classifiers (retest.models.Classifier).")
def evaluate(study_folder: Path, as_json: bool, datasets: str, models: str) -> None:
    """Run classifiers on test sets; predictions are kept, and what is there already is not computed again.

    \b
    Example:
      retest evaluate --study my-study --dataset original,my-a-1 --models retest.demo.models:train_classifiers
    """
    names = [name.strip() for name in datasets.split(",")]
    with opened(study_folder) as study:
        for name in names:
            stage.dataset_images(study, name)  # what is missing shows before models are loaded or trained
        counts = stage.evaluate_models(study, names, _load_models(models, study), progress=bars)
    if as_json:
        print_json(counts)
        return
    for count in counts:
        click.echo(f"{count.dataset}: {count.images} images, {count.models} models, {count.computed} computed now")
        for problem in count.excluded:
            click.echo(f"  left out for all models: {problem}", err=True)


def _load_models(spec: str, study: Study) -> Sequence[Classifier]:
    module, _, function = spec.partition(":")
    if not function:
        raise UsageError(f"{spec!r} names no function", item="--models", remedy="Write MODULE:FUNCTION, such as my_models:load")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        load = getattr(importlib.import_module(module), function)
        classifiers = list(load(study))
    except RetestError:
        raise
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot be imported ({error})", item=spec, remedy="Check the name and that the module is installed") from error
    except Exception as error:  # the user's own code: whatever it raises is no fault of ours
        remedy = "Mend the module; --debug shows where it fails"
        raise UsageError(f"fails with {type(error).__name__}: {error}", item=spec, remedy=remedy) from error
    finally:
        sys.path.remove(here)
    for classifier in classifiers:
        if not isinstance(classifier, Classifier):
            raise UsageError(
                f"returned a {type(classifier).__name__}, which is no classifier", item=spec, remedy="See retest.models.Classifier"
            )
    return classifiers


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
    elif predictions:
        loaded, notes = load_predictions(predictions), []
    else:
        raise click.UsageError("Give --study STUDY, or prediction files or folders")
    rows = accuracy_rows(loaded)
    notes += [f"{one.dataset} / {one.model}: {note}" for one in loaded for note in one.notes]
    if as_json:
        print_json({"rows": accuracy_json_rows(rows), "notes": notes})
        return
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
@click.option("--bootstrap", default=100_000, show_default=True, type=click.IntRange(100), help="Number of bootstrap draws.")
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@json_option
def fit(study_folder: Path | None, tables: tuple[Path, ...], original: str, new: str | None, as_json: bool, **options: Any) -> None:
    """Fit accuracy on a new test set against accuracy on the original, over models, with bootstrap intervals.

    \b
    Examples:
      retest fit --study my-study --original original --new my-b-1
      retest fit --table results-imagenet.csv --table results-imagenetv2.csv --scale probit --json
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
    _print_fit(found, paired, as_json=as_json)


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
    read = []
    for path in tables:
        with path.open(encoding="utf-8-sig", newline="") as file:
            read.append(read_table_rows(csv.DictReader(file)))
    return join_tables(read[0], read[1], metric=metric, original_name=tables[0].stem, new_name=tables[1].stem)


def _print_fit(found: LinearFit, paired: PairedModels, *, as_json: bool) -> None:
    notes = [*paired.notes, *found.notes]
    if as_json:
        print_json({**asdict(found), "notes": notes})
        return
    click.echo(fit_text([found]))
    for note in notes:
        click.echo(note)
