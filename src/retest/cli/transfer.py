"""Commands that move published data: import."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retest.cli._common import bars, json_option, opened_or_new, print_json, print_table, stamp_now, study_option
from retest.cli._import_cifar import cifar101
from retest.study import CONFIG_FILE

if TYPE_CHECKING:
    from retest.stages.imagenetv2 import TargetChange


@click.group("import")
def import_() -> None:
    """Bring published data into a study.

    \b
    Examples:
      retest import imagenetv2 ImageNetV2/ --study imagenetv2
      retest import cifar10.1 CIFAR-10.1/ --cifar10 cifar-10/ --study cifar
    """


@import_.command("imagenetv2")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@study_option
@json_option
@click.option("--verbose", is_flag=True, help="List every inconsistency that was met.")
def imagenetv2(path: Path, study_folder: Path, as_json: bool, verbose: bool) -> None:
    """Import the published ImageNetV2 repository: PATH is a clone, its data folder, any part of it, or a tar archive.

    The study is made when it does not exist. Importing again adds only what is new. With RETEST_WORKER_KEY in the environment
    annotators are kept under the same keyed hash as those whose answers are collected.

    \b
    Example:
      retest import imagenetv2 ImageNetV2/ --study imagenetv2
    """
    from retest.stages.imagenetv2 import ask_published_targets, import_repository
    from retest.web.options import worker_key_from_environment

    with opened_or_new(study_folder, benchmark="ImageNet") as study:
        done = import_repository(study, path, stamp=stamp_now(), worker_key=worker_key_from_environment(os.environ), progress=bars)
        with study.database.read() as tables:
            warnings = tables.warnings.all(stage="import") if verbose else []
        change = ask_published_targets(study)
    _tell_targets(change, study_folder / CONFIG_FILE)
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


def _tell_targets(change: TargetChange | None, path: Path) -> None:
    if change is None:
        return
    if change.written:
        click.echo(f"[review] targets in {path} asks for the published reviews now: {', '.join(change.targets)}", err=True)
    else:
        names = ", ".join(change.targets)
        click.echo(f"Warning: the published data was reviewed in {names}; [review] targets in {path} asks for fewer metrics", err=True)


import_.add_command(cifar101)
