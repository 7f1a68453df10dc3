"""Commands of the neighbour search: neighbors, neighbors-of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from retest.cli._common import F, bars, json_option, opened, print_json, print_table, study_option
from retest.cli._executors import Where, executor_option

_METRICS = "l2, dssim, phash, fc7, or the label of a featuriser"
_FEATURISER = (
    "Another metric: [LABEL=]fc7, sscd@FILE, torchvision:NAME, timm:NAME (each with @WEIGHTS for a local file), FILE.onnx, or "
    "module:name of your own."
)


def _device_option(command: F) -> F:
    return click.option(
        "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to compute; the result is the same."
    )(command)


@click.command()
@study_option
@json_option
@click.option("--metric", "metrics", multiple=True, help=f"{_METRICS}; repeat for several. Default: the study's metrics.")
@click.option("--featuriser", "featurisers", multiple=True, metavar="FEATURISER", help=_FEATURISER)
@executor_option("Where to compute: threads or processes of this machine, or a Dask cluster; the result is the same.")
@click.option("--workers", type=click.IntRange(1), help="Threads or processes on this machine. Default: the study's.")
@_device_option
def neighbors(
    study_folder: Path,
    as_json: bool,
    metrics: tuple[str, ...],
    featurisers: tuple[str, ...],
    where: Where,
    workers: int | None,
    device: str,
) -> None:
    """Find the nearest neighbours of every candidate, exactly; started again it computes only what is missing.

    Metrics that are named here are computed in place of the study's; a featuriser alone is computed alone.

    \b
    Examples:
      retest neighbors --study my-study
      retest neighbors --study my-study --metric l2 --metric fc7 --featuriser fc7@vgg16.safetensors
      retest neighbors --study my-study --executor dask --scheduler tcp://10.0.0.5:8786
    """
    from retest.stages import neighbors as stage
    from retest.stages._metrics import choose_metrics

    with opened(study_folder) as study:
        settings = study.config.neighbors
        if workers is not None:
            study = dataclasses.replace(study, config=_with_workers(study.config, workers))
        count = study.config.study.workers
        asked = metrics or (() if featurisers else settings.metrics)
        chosen = choose_metrics(asked, featurisers, known=settings.featurisers, device=device, threads=count)
        with where.open(count) as executor:
            counts = stage.find_neighbors(
                study, metrics=chosen.names, featurisers=chosen.featurisers, progress=bars, executor=executor, device=device
            )
        notes = stage.review_notes(study)
    if as_json:
        print_json(counts)
    else:
        rows = [(c.metric, c.candidates, c.references, c.items, c.computed, c.pairs) for c in counts]
        print_table("Neighbours", ["metric", "candidates", "references", "work items", "computed now", "pairs now"], rows)
    for note in notes:
        click.echo(note, err=True)


def _with_workers(config: Any, workers: int) -> Any:
    return dataclasses.replace(config, study=dataclasses.replace(config.study, workers=workers))


@click.command("neighbors-of")
@click.argument("queries", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("references", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--metric", help=f"Distance to search by: {_METRICS}.")
@click.option("--featuriser", metavar="FEATURISER", help=_FEATURISER)
@click.option("--k", default=30, show_default=True, type=click.IntRange(1), help="Neighbours per query.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Parquet file to write.")
@click.option("--mirrored", is_flag=True, help="Search for the mirror image of every query as well.")
@click.option("--threshold", type=float, help="For dssim: only neighbours up to this distance; exact for those, and faster.")
@click.option("--prerank", type=click.IntRange(1), help="For dssim: compare only so many pre-ranked references exactly; unproven, faster.")
@click.option("--window", default=35, show_default=True, help="Side of the SSIM window in pixels.")
@click.option("--side", default=256, show_default=True, help="Images are compared at this size; images of this size are taken as they are.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="Threads to use; the result does not depend on it.")
@_device_option
def neighbors_of(
    queries: Path,
    references: Path,
    metric: str | None,
    featuriser: str | None,
    k: int,
    out: Path,
    mirrored: bool,
    threshold: float | None,
    prerank: int | None,
    window: int,
    side: int,
    threads: int,
    device: str,
) -> None:
    """Find nearest neighbours between two folders of images: columns query, rank, reference, distance.

    \b
    Examples:
      retest neighbors-of new/ train/ --metric l2 --k 30 --out pairs.parquet
      retest neighbors-of new/ train/ --featuriser sscd@sscd_disc_mixup.torchscript.pt --out pairs.parquet
    """
    from retest.images import ImageParameters
    from retest.models.featurisers import FeaturiserSpec
    from retest.neighbors import NeighborParameters
    from retest.stages.folders import neighbors_between

    if metric is None and featuriser is None:
        raise click.UsageError("Give --metric or --featuriser.")
    if metric != "dssim" and (threshold is not None or prerank is not None):
        raise click.UsageError("--threshold and --prerank belong to --metric dssim.")
    name = metric or FeaturiserSpec.parse(str(featuriser)).label
    parameters = NeighborParameters(k=k, ssim_window=window, mirrored=mirrored, dssim_threshold=threshold, dssim_prerank=prerank)
    found = neighbors_between(
        queries, references, metric=name, parameters=parameters, featuriser=featuriser,
        images=ImageParameters(compare_side=side, display_side=side + 1),
        threads=threads, device=device, scratch=out.parent, progress=bars,
    )  # fmt: skip
    found.write(out)
    for left_out, problem in found.problems:
        click.echo(f"Left out: {left_out}: {problem}", err=True)
    click.echo(f"{found.queries} queries, {found.references} references: {found.rows} rows in {out}")
    if found.worst_prerank is not None:
        click.echo(
            f"Pre-ranked (unproven): the {prerank} best places were compared, the farthest that was needed was {found.worst_prerank}."
        )
