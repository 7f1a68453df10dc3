"""Commands that move published data: import."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from retest.cli._common import bars, json_option, opened, print_json, print_table, stamp_now, study_option
from retest.cli._import_cifar import cifar101
from retest.duplicates import PUBLISHED_TARGETS
from retest.neighbors import NeighborParameters
from retest.study import CONFIG_FILE, BenchmarkSettings, Study, StudyConfig, StudySettings, create_study, write_atomic
from retest.study.config import format_config


@click.group("import")
def import_() -> None:
    """Bring published data into a study."""


@import_.command("imagenetv2")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@study_option
@json_option
@click.option("--verbose", is_flag=True, help="List every inconsistency that was met.")
def imagenetv2(path: Path, study_folder: Path, as_json: bool, verbose: bool) -> None:
    """Import the published ImageNetV2 repository: PATH is a clone, its data folder, any part of it, or a tar archive.

    The study is made when it does not exist. Importing again adds only what is new.

    \b
    Example:
      retest import imagenetv2 ImageNetV2/ --study imagenetv2
    """
    from retest.stages.imagenetv2 import import_repository

    if not (study_folder / CONFIG_FILE).exists():
        create_study(
            study_folder, StudyConfig(study=StudySettings(name=study_folder.resolve().name), benchmark=BenchmarkSettings(name="ImageNet"))
        ).close()
    with opened(study_folder) as study:
        done = import_repository(study, path, stamp=stamp_now(), progress=bars)
        with study.database.read() as tables:
            warnings = tables.warnings.all(stage="import") if verbose else []
        _ask_published_targets(study)
    if as_json:
        print_json({"added": done.added, "missing": done.missing, "warnings": done.warnings, "details": warnings})
        return
    print_table("Added", ["what", "count"], [(name.replace("_", " "), number) for name, number in done.added.items()])
    if done.missing:
        click.echo(f"Not there: {', '.join(done.missing)}")
    for kind, number in done.warnings.items():
        click.echo(f"Warning: {number} x {kind}", err=True)
    for warning in warnings:
        click.echo(f"  {warning['kind']}: {warning['file'] or ''} {warning['item'] or ''}: {warning['message']}", err=True)


def _ask_published_targets(study: Study) -> None:
    """``retest init`` asks for reviews in the metrics that a new study computes; published data that has more is judged by all of its own.

    Targets that somebody has chosen stay as they are.
    """
    if study.config.review.targets != {metric: PUBLISHED_TARGETS[metric] for metric in NeighborParameters().metrics}:
        return
    with study.database.read() as tables:
        known = set(tables.neighbors.metrics()) | {metric for metric in PUBLISHED_TARGETS if tables.reviews.reviewed(metric)}
    targets = {metric: target for metric, target in PUBLISHED_TARGETS.items() if metric in known | study.config.review.targets.keys()}
    if targets == study.config.review.targets:
        return
    wanted = replace(study.config, review=replace(study.config.review, targets=targets))
    old, new = (
        next(line for line in format_config(config).splitlines() if line.removeprefix("# ").startswith("targets = "))
        for config in (study.config, wanted)
    )
    path = study.folder / CONFIG_FILE
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    names = ", ".join(targets)
    if old in [line.rstrip() for line in lines]:
        write_atomic(path, "".join(line.replace(old, new) if line.rstrip() == old else line for line in lines).encode())
        click.echo(f"[review] targets in {path} asks for the published reviews now: {names}", err=True)
    else:
        click.echo(f"Warning: the published data was reviewed in {names}; [review] targets in {path} asks for fewer metrics", err=True)


import_.add_command(cifar101)
