"""Commands on models and on what they disagree about: models list, disagreements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from retest.cli._common import json_option, opened, print_json, print_table
from retest.records import Predictions


@click.group()
def models() -> None:
    """Find models that can be evaluated by name.

    \b
    Example:
      retest models list resnet50
    """


@models.command("list")
@click.argument("query", nargs=-1)
@click.option("--limit", default=40, show_default=True, type=click.IntRange(0), help="Show so many; 0 shows all.")
@json_option
def list_(query: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Names of the models of the published study, of torchvision and of timm; with QUERY those that hold all its words.

    \b
    Examples:
      retest models list
      retest models list vit base 384
      retest models list resnet50 --json
    """
    from retest.models import list_models

    rows = list_models(" ".join(query))
    shown = rows[:limit] if limit else rows
    if as_json:
        print_json([{"name": name, "library": library, "detail": detail} for name, library, detail in shown])
        return
    if not rows:
        click.echo(f"No model is called {' '.join(query)}. Any model runs as MODULE:FUNCTION, ARCHITECTURE=FILE or FILE.onnx.")
        return
    print_table("", ["name", "from", "what it is"], shown)
    if len(shown) < len(rows):
        click.echo(f"{len(rows) - len(shown)} more: give words to search for, or --limit 0")


@click.command()
@click.argument("predictions", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--study", "study_folder", type=click.Path(path_type=Path), help="Take the predictions of this study.")
@click.option("--dataset", help="The test set to look at. Default: all that have predictions of two models or more.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Show so many images of each kind.")
@json_option
def disagreements(predictions: tuple[Path, ...], study_folder: Path | None, dataset: str | None, limit: int, as_json: bool) -> None:
    """Images that all models miss, with what most of them say instead, and images on which models disagree most.

    Images that all models miss in the same way often have a wrong label.

    \b
    Examples:
      retest disagreements predictions/
      retest disagreements --study my-study --dataset my-a-1 --json
    """
    from retest.analysis import disagreement_table
    from retest.cli.accuracy import load_predictions
    from retest.stages.evaluate import stored_predictions

    if (study_folder is None) == (not predictions):
        raise click.UsageError("Give --study STUDY, or prediction files or folders")
    if study_folder is not None:
        with opened(study_folder) as study:
            loaded = stored_predictions(study, dataset)
    else:
        loaded = [one for one in load_predictions(predictions) if dataset in (None, one.dataset)]
    tables = [disagreement_table([one for one in loaded if one.dataset == name], limit=limit) for name in _comparable(loaded, dataset)]
    if as_json:
        print_json({"datasets": tables})
        return
    for table in tables:
        click.echo(f"{table.dataset}: {table.n_models} models, {table.n_images} images; all models miss {table.n_missed_by_all}")
        for title, images in (("Missed by all", table.missed_by_all), ("Most disagreement", table.most_disagreement)):
            rows = [(one.image, one.label, one.prediction, f"{one.votes} of {table.n_models}", one.classes) for one in images]
            if rows:
                print_table(title, ["image", "label", "most say", "models", "different answers"], rows)
        for note in table.notes:
            click.echo(note, err=True)


def _comparable(loaded: Sequence[Predictions], dataset: str | None) -> list[str]:
    names = list(dict.fromkeys(one.dataset for one in loaded))
    found = [name for name in names if sum(one.dataset == name for one in loaded) > 1]
    if not found:
        raise click.UsageError(f"There are no predictions of two models on {dataset or 'the same test set'}")
    return found
