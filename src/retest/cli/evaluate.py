"""The command that runs classifiers: evaluate."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from retest.cli._common import bars, json_option, opened, print_json, study_option
from retest.errors import RetestError, UsageError
from retest.models import Classifier
from retest.stages import evaluate as stage
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
