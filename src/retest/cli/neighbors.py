"""Commands of the neighbour search: neighbors, neighbors-of."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import bars, json_option, opened, print_json, print_table, study_option
from retest.stages import neighbors as stage


@click.command()
@study_option
@json_option
@click.option("--metric", "metrics", multiple=True, help="l2 or dssim; repeat for several. Default: the study's metrics.")
def neighbors(study_folder: Path, as_json: bool, metrics: tuple[str, ...]) -> None:
    """Find the nearest neighbours of every candidate, exactly; started again it computes only what is missing.

    \b
    Example:
      retest neighbors --study my-study --metric l2 --metric dssim
    """
    with opened(study_folder) as study:
        counts = stage.find_neighbors(study, metrics=metrics or None, progress=bars)
    if as_json:
        print_json(counts)
    else:
        rows = [(c.metric, c.candidates, c.references, c.items, c.computed) for c in counts]
        print_table("Neighbours", ["metric", "candidates", "references", "work items", "computed now"], rows)


@click.command("neighbors-of")
@click.argument("queries", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("references", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--metric", type=click.Choice(["l2", "dssim"]), required=True, help="Distance to search by.")
@click.option("--k", default=30, show_default=True, type=click.IntRange(1), help="Neighbours per query.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Parquet file to write.")
@click.option("--window", default=35, show_default=True, help="Side of the SSIM window in pixels.")
@click.option("--side", default=256, show_default=True, help="Images are compared at this size; images of this size are taken as they are.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="Threads to use; the result does not depend on it.")
def neighbors_of(queries: Path, references: Path, metric: str, k: int, out: Path, window: int, side: int, threads: int) -> None:
    """Find nearest neighbours between two folders of images: columns query, rank, reference, distance.

    \b
    Example:
      retest neighbors-of new/ train/ --metric l2 --k 30 --out pairs.parquet
    """
    from retest.images import ImageParameters
    from retest.stages.folders import neighbors_between

    found = neighbors_between(
        queries, references, metric=metric, k=k, window=window, images=ImageParameters(compare_side=side, display_side=side + 1),
        threads=threads, progress=bars,
    )  # fmt: skip
    found.write(out)
    for name, problem in found.problems:
        click.echo(f"Left out: {name}: {problem}", err=True)
    click.echo(f"{found.queries} queries, {found.references} references: {found.rows} rows in {out}")
