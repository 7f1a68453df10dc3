"""The command import cifar10.1."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import bars, json_option, opened_or_new, print_json, study_option


@click.command("cifar10.1")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@study_option
@json_option
@click.option(
    "--cifar10",
    type=click.Path(path_type=Path, exists=True),
    help="Folder with the unpacked CIFAR-10 archive, or a .npy file of its 10,000 test labels: needed for accuracies on the original.",
)
def cifar101(path: Path, study_folder: Path, as_json: bool, cifar10: Path | None) -> None:
    """Import the published predictions of 30 models on CIFAR-10 and CIFAR-10.1: PATH is a clone of the CIFAR-10.1 repository.

    The study is made when it does not exist. The data sets are cifar10, cifar10.1-v4 and cifar10.1-v6.

    \b
    Examples:
      retest import cifar10.1 CIFAR-10.1/ --cifar10 cifar-10/ --study cifar
      retest accuracy --study cifar --original cifar10
      retest fit --study cifar --original cifar10 --new cifar10.1-v4
    """
    from retest.stages.cifar import import_cifar101

    with opened_or_new(study_folder, benchmark="CIFAR-10") as study:
        done = import_cifar101(study, path, cifar10=cifar10, progress=bars)
    if as_json:
        print_json(done)
        return
    for dataset, number in done.predictions.items():
        click.echo(f"{dataset}: {number} models added")
    for reason in done.left_out:
        click.echo(f"Left out: {reason}", err=True)
