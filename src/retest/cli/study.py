"""Commands about the study as a whole: init, benchmark, status."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from retest.cli._common import bars, json_option, opened, print_json, print_table, study_argument, study_option
from retest.duplicates import PUBLISHED_TARGETS, ReviewParameters
from retest.neighbors import NeighborParameters
from retest.study import BenchmarkSettings, SourceSettings, StudyConfig, StudySettings, create_study
from retest.study.kinds import KINDS, settings_like


@click.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--benchmark", "name", default=BenchmarkSettings().name, show_default=True, help="Name of the benchmark, shown in reports.")
@click.option("--train", type=click.Path(path_type=Path), help="Folder of training images, one folder per class.")
@click.option("--val", type=click.Path(path_type=Path), help="Folder of original validation images, one folder per class.")
@click.option("--class-info", type=click.Path(path_type=Path), help="Classes in the published class_info.json form.")
@click.option("--similar-classes", type=click.Path(path_type=Path), help="JSON wnid -> similar wnids, the first being itself.")
@click.option("--pool", type=click.Path(path_type=Path), help="Folder of candidate images, one folder per class.")
@click.option(
    "--like", type=click.Choice(KINDS), default=KINDS[0], show_default=True, help="The published study whose settings to begin with."
)
def init(study: Path, name: str, pool: Path | None, like: str, **paths: Path | None) -> None:
    """Make a study folder: study.toml, study.db, blobs/.

    \b
    Examples:
      retest init my-study --val data/val --train data/train --pool data/pool
      retest init my-study --like cifar10.1 --val data/val --train data/train --pool data/pool
    """
    given: dict[str, Any] = {key: str(path.resolve()) for key, path in paths.items() if path is not None}
    config = StudyConfig(
        study=StudySettings(name=study.resolve().name),
        benchmark=replace(BenchmarkSettings(name=name), **given),
        source=SourceSettings(location=str(pool.resolve()) if pool else ""),
        # A review target without neighbours in its metric would leave every candidate unreviewed for ever.
        review=ReviewParameters(targets={metric: PUBLISHED_TARGETS[metric] for metric in NeighborParameters().metrics}),
    )
    create_study(study, settings_like(like, config)).close()
    click.echo(f"Study {study}: edit {study / 'study.toml'}, then run: retest benchmark --study {study}")


@click.command()
@study_option
@json_option
def benchmark(study_folder: Path, as_json: bool) -> None:
    """Register the classes and original images of the benchmark, and which classes look most alike.

    \b
    Example:
      retest benchmark --study my-study
    """
    from retest.stages.benchmark import register_benchmark

    with opened(study_folder) as study:
        counts = register_benchmark(study, progress=bars)
    if as_json:
        print_json(counts)
    else:
        click.echo(f"{counts.classes} classes; {counts.train} train, {counts.val} val, {counts.test} test images ({counts.added} new)")


@click.command()
@study_argument
@json_option
def status(study_folder: Path, as_json: bool) -> None:
    """Show counts per stage and what to do next.

    \b
    Examples:
      retest status my-study
      retest status --study my-study --json
    """
    from retest.stages.status import study_status

    with opened(study_folder) as study:
        found = study_status(study)
    if as_json:
        print_json({"study": found.name, **found.counts, "next": found.next_step})
        return
    rows = [(name.replace("_", " "), count) for name, count in found.counts.items() if isinstance(count, int)]
    rows += [(f"excluded: {reason}", count) for reason, count in found.counts["excluded_by_reason"].items()]
    rows += [(f"neighbour lists: {metric}", count) for metric, count in found.counts["neighbor_lists"].items()]
    print_table(f"Study {found.name}", ["what", "count"], rows)
    click.echo(f"\nNext: {found.next_step}")
