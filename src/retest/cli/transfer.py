"""Commands that move published data: import."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import bars, json_option, opened, print_json, print_table, stamp_now, study_option
from retest.cli._import_cifar import cifar101
from retest.study import CONFIG_FILE, BenchmarkSettings, StudyConfig, StudySettings, create_study


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


import_.add_command(cifar101)
