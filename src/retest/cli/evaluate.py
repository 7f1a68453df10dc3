"""Command of evaluation: evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from retest.analysis import accuracy_rows
from retest.cli._common import bars, json_option, opened, parameter_options, print_json, stamp_now
from retest.cli._executors import executor_option
from retest.models import Classifier, EvaluateParameters, ModelSpec, Recipe, RunParameters, open_classifiers, parse_models
from retest.report import accuracy_json_rows, accuracy_text
from retest.stages import evaluate as stage
from retest.stages.report import original_dataset
from retest.study import Study

_GPU_BATCH = 512


@click.command()
@click.option("--dataset", "datasets", required=True, help="Test sets, separated by commas; see below.")
@click.option("--models", default="", help="Models, separated by commas, or all: every published model that has an equivalent today.")
@click.option("--model", "single", multiple=True, help="One more model; repeat for several. For file names with commas.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the predictions. Default: the study.")
@click.option("--study", "study_folder", type=click.Path(path_type=Path), help="A study: its original images and revisions can be named.")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the released sets, of ImageNet or of CIFAR.")
@click.option("--download", is_flag=True, help="Fetch a released set into --root if it is not there.")
@click.option("--classes", type=click.Path(path_type=Path, dir_okay=False), help="Class list for folders, in the models' order.")
@click.option("--preprocessing", multiple=True, metavar="NAME=FILE", help="JSON file that says how images are prepared for a model.")
@click.option("--logits", is_flag=True, help="Keep the scores of all classes instead of the best five.")
@click.option("--npy", is_flag=True, help="Write the published form (.npy) beside each file as well; needs --out.")
@click.option("--batch-size", type=click.IntRange(1), help="Images per batch, lost at most when killed. Default: 64, 512 on a GPU.")
@click.option("--workers", type=click.IntRange(1), help="Processes that decode images. Default: the number of cores.")
@click.option("--lanes", type=click.IntRange(1), help="Batches classified side by side on the CPU. Default: the cores, at most 8.")
@executor_option("Where to compute: here with shared models, or whole batches in processes of their own or on a Dask cluster.")
@parameter_options(RunParameters)
@json_option
def evaluate(datasets: str, models: str, single: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Run classifiers on test sets, all in one pass; predictions are kept, and what is there already is not computed again.

    \b
    Test sets: imagenetv2-matched-frequency, imagenetv2-threshold0.7, imagenetv2-top-images, imagenet, cifar10, cifar10.1-v4,
    cifar10.1-v6 (with --root FOLDER or NAME=FOLDER); any folder of images; with --study: original, and names of revisions.
    Models: names from `retest models list`; FILE.onnx; ARCHITECTURE=FILE.safetensors; MODULE:FUNCTION; NAME=... names one.

    \b
    Examples:
      retest evaluate --dataset imagenetv2-matched-frequency --root data --models resnet50,timm:vit_base_patch16_224 --out predictions
      retest evaluate --dataset photos/ --models mobilenet.onnx,resnet18=my.safetensors --out predictions --logits
      retest evaluate --study my-study --dataset original,my-a-1 --models retest.demo.models:train_classifiers
    """
    names = [name.strip() for name in datasets.split(",") if name.strip()]
    specs, notes = _models(models, single, options["preprocessing"])
    with ExitStack() as stack:
        study = None if options["study_folder"] is None else stack.enter_context(opened(options["study_folder"]))
        results = _results(options["out"], study, npy=options["npy"])
        for note in notes:
            click.echo(note, err=True)
        report = _run(names, specs, study, results, options)
    _show(report, as_json=as_json)
    if report.failures:
        raise click.exceptions.Exit(1)


def _models(models: str, single: Sequence[str], preprocessing: Sequence[str]) -> tuple[list[ModelSpec], list[str]]:
    texts = [text.strip() for text in models.split(",") if text.strip()] + list(single)
    if not texts:
        raise click.UsageError("Name at least one model: --models NAME (find names with: retest models list)")
    sidecars = {}
    for text in preprocessing:
        name, equals, file = text.partition("=")
        if not equals or not name or not file:
            raise click.UsageError(f"--preprocessing {text}: write NAME=FILE.json, with the model's name")
        if not Path(file).is_file():
            raise click.UsageError(f"--preprocessing {text}: there is no file {file}")
        sidecars[name] = file
    return parse_models(texts, sidecars=sidecars)


def _results(out: Path | None, study: Study | None, *, npy: bool) -> stage.Results:
    if out is not None:
        return stage.FolderResults(out, npy=npy)
    if study is None:
        raise click.UsageError("Give --out FOLDER for the predictions, or --study STUDY to keep them in a study")
    if npy:
        raise click.UsageError("--npy needs --out FOLDER; a study's predictions leave it with: retest export imagenetv2-layout")
    return stage.StudyResults(study)


def _run(
    names: Sequence[str], specs: Sequence[ModelSpec], study: Study | None, results: stage.Results, options: dict[str, Any]
) -> stage.EvaluationReport:
    machine = stage.Machine(**{name: options[name] for name in ("workers", "lanes") if options[name] is not None})
    places = stage.Places(root=options["root"], download=options["download"], classes=options["classes"], threads=machine.workers)
    # What is missing shows before models are loaded or trained.
    sets = stage.find_sets(names, study=study, places=places, progress=bars)
    run = RunParameters(
        device=options["device"], engine=options["engine"], precision=options["precision"], threads=options["threads"] or _threads(machine)
    )
    opened_models = [(spec, open_classifiers([spec], run=run, study=study)) for spec in specs]
    classifiers = [classifier for _, found in opened_models for classifier in found]
    settings = EvaluateParameters(
        batch_size=options["batch_size"] or (_GPU_BATCH if any(map(_on_gpu, classifiers)) else EvaluateParameters().batch_size),
        top_k=0 if options["logits"] else EvaluateParameters().top_k,
        batches_ahead=2,
    )
    with options["where"].open(machine.workers, preload=("retest.models",)) as cluster:
        recipes = {} if cluster is None else _recipes(opened_models, run)
        used = stage.Machine(workers=machine.workers, lanes=machine.lanes, cluster=cluster, recipes=recipes)
        return stage.run_evaluation(sets, classifiers, results, parameters=settings, machine=used, stamp=stamp_now(), progress=bars)


def _threads(machine: stage.Machine) -> int:
    return 1 if machine.lanes > 1 else 0


def _on_gpu(classifier: Classifier) -> bool:
    return any(device.startswith("cuda") for device in getattr(classifier, "devices", ()))


def _recipes(opened_models: Sequence[tuple[ModelSpec, list[Classifier]]], run: RunParameters) -> dict[str, Recipe]:
    """How workers open the models. What a function made of a study travels itself."""
    found: dict[str, Recipe] = {}
    for spec, classifiers in opened_models:
        if spec.kind == "function" and not all(hasattr(one, "module") for one in classifiers):
            continue
        found |= {one.name: Recipe(spec, run, one.name) for one in classifiers}
    return found


def _show(report: stage.EvaluationReport, *, as_json: bool) -> None:
    labelled = [record for record in report.predictions if (record.labels >= 0).any()]
    rows = accuracy_rows(labelled) if labelled else []
    notes = [*report.notes, *(f"{one.dataset} / {one.model}: {note}" for one in report.predictions for note in one.notes)]
    if as_json:
        counts = [{name: getattr(one, name) for name in ("dataset", "images", "models", "computed", "excluded")} for one in report.counts]
        figures = {"images": report.images, "distinct_images": report.distinct, "datasets": counts, "rows": accuracy_json_rows(rows)}
        print_json({**figures, "failures": report.failures, "notes": notes})
    else:
        _show_text(report, rows, notes)
    for failure in report.failures:
        click.echo(f"Failed, and left out: {failure}", err=True)


def _show_text(report: stage.EvaluationReport, rows: Sequence[Any], notes: Sequence[str]) -> None:
    for count in report.counts:
        click.echo(f"{count.dataset}: {count.images} images, {count.models} models, {count.computed} computed now")
        for problem in count.excluded:
            click.echo(f"  left out for all models: {problem}", err=True)
    if report.distinct < report.images:
        click.echo(f"{report.images} images are {report.distinct} distinct ones; each was read and classified once")
    if rows:
        click.echo()
        for metric in ("top1", "top5"):
            if any(getattr(row, metric) is not None for row in rows):
                click.echo(accuracy_text(rows, original=original_dataset(rows), metric=metric))
    for note in notes:
        click.echo(note, err=True)
