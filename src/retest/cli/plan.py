"""Commands that tell beforehand what a study can show and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retest.analysis import PlanParameters, StudyPlan, plan_study
from retest.cli._common import bars, json_option, opened, parameter_options, print_json, print_table

if TYPE_CHECKING:
    from retest.stages.plan import NeighborPlan


@click.group()
def plan() -> None:
    """Plan a study before anything is spent.

    \b
    Examples:
      retest plan study --classes 1000 --per-class 10 --annotators 10
      retest plan neighbors --study my-study
    """


@plan.command("study")
@parameter_options(PlanParameters)
@json_option
def plan_a_study(as_json: bool, **design: Any) -> None:
    """Interval width, power, expected bias of matching and cost of a design: classes x images x annotators.

    \b
    Examples:
      retest plan study --classes 1000 --per-class 10 --annotators 10
      retest plan study --classes 10 --per-class 200 --accuracy 0.93 --drop 0.03 --json
    """
    found = plan_study(PlanParameters(**design))
    if as_json:
        print_json(found)
        return
    print_table("What the design can tell", ["what", "value"], _rows(found))
    columns = ["estimator", "bias, points", "spread, points", "coverage"]
    rows = [(c.estimator, f"{c.bias_points:+.2f}", f"{c.spread_points:.2f}", f"{c.coverage:.0%}") for c in found.simulated]
    if rows:
        print_table(f"Estimators of the matched accuracy in {found.parameters.replications} simulated studies", columns, rows)


def _rows(found: StudyPlan) -> list[tuple[str, str]]:
    p, cost = found.parameters, found.cost

    def points(value: float | None) -> str:
        return "none that large" if value is None else f"{value:.2f} points"

    return [
        ("images in the new test set", f"{found.n_new:,}"),
        (f"{p.confidence:.0%} interval of an accuracy of {p.accuracy:.0%}", f"+- {found.half_width_points:.2f} points"),
        (f"power to detect a drop of {100 * p.drop:g} points", f"{found.power:.0%}"),
        (f"smallest drop detected with {p.power:.0%} power", points(found.detectable_drop_points)),
        ("smallest difference of two models on the new set", points(found.detectable_paired_points)),
        ("expected bias of naive frequency matching", f"{found.naive_bias_points:+.2f} points"),
        ("HITs", f"{cost.hits:,}"),
        ("assignments", f"{cost.assignments:,}"),
        ("cost", f"{cost.cost_cents / 100:,.2f} USD, of which fee {cost.fee_cents / 100:,.2f} USD"),
    ]


@plan.command("neighbors")
@click.option("--study", "study_folder", type=click.Path(path_type=Path), help="Plan for this study; or give sizes.")
@click.option("--candidates", type=click.IntRange(1), help="Number of candidates of a study that does not exist yet.")
@click.option("--train", type=click.IntRange(0), default=0, show_default=True, help="Its training images.")
@click.option("--others", type=click.IntRange(0), default=0, show_default=True, help="Its validation and test images.")
@click.option("--classes", type=click.IntRange(1), default=1, show_default=True, help="Its classes; dssim compares within similar ones.")
@click.option("--metric", "metrics", multiple=True, help="l2, dssim, phash, fc7 or a featuriser's label. Default: the study's metrics.")
@click.option("--featuriser", "featurisers", multiple=True, metavar="FEATURISER", help="Another metric, as in retest neighbors.")
@click.option("--workers", type=click.IntRange(1), help="Threads or processes at once. Default: the study's.")
@json_option
def plan_search(
    study_folder: Path | None,
    candidates: int | None,
    train: int,
    others: int,
    classes: int,
    metrics: tuple[str, ...],
    featurisers: tuple[str, ...],
    workers: int | None,
    as_json: bool,
) -> None:
    """Time, memory and disk that the neighbour search will take, from rates measured on this machine for some seconds.

    \b
    Examples:
      retest plan neighbors --study my-study
      retest plan neighbors --candidates 200000 --train 1281167 --others 150000 --classes 1000 --metric l2 --workers 64
    """
    if (study_folder is None) == (candidates is None):
        raise click.UsageError("Give either --study or --candidates.")
    found = _plan_search(study_folder, (candidates or 0, train, others, classes), metrics, featurisers, workers)
    if as_json:
        print_json(found)
        return
    rows = [
        (m.metric, m.candidates, m.references, m.pairs - m.pairs_done, f"{found.rates.pair_s[m.metric] * 1e6:.3g}", _duration(m.seconds))
        for m in found.metrics
    ]
    columns = ["metric", "candidates", "references", "pairs left", "us per pair", f"time on {found.workers} workers"]
    print_table("Neighbour search", columns, rows)
    totals = [
        ("images, of which stored", f"{found.images:,}, {found.images_stored:,}"),
        ("time in all, with reading the images", _duration(found.seconds)),
        ("memory of one process", _size(found.memory_bytes)),
        ("memory-mapped files, kept in memory as far as it is free", _size(found.mapped_bytes)),
        ("disk beside the stored images", _size(found.disk_bytes)),
    ]
    print_table("In all", ["what", "value"], totals)
    click.echo("Measured on this machine; l2 gets faster per pair with more references, so its time is an upper estimate.")


def _plan_search(
    folder: Path | None, sizes: tuple[int, int, int, int], metrics: tuple[str, ...], featurisers: tuple[str, ...], workers: int | None
) -> NeighborPlan:
    from contextlib import ExitStack

    from retest.stages import plan as stage
    from retest.stages._metrics import choose_metrics
    from retest.study import StudyConfig

    with ExitStack() as stack:
        study = None if folder is None else stack.enter_context(opened(folder))
        config = StudyConfig() if study is None else study.config
        p = config.neighbors
        chosen = choose_metrics(metrics or (() if featurisers else p.metrics), featurisers, known=p.featurisers, threads=1)
        if study is None:
            candidates, train, others, classes = sizes
            found = stage.designed_sizes(chosen.names, candidates=candidates, train=train, others=others, classes=classes, parameters=p)
        else:
            versions = {name: load().name for name, load in chosen.featurisers.items()}
            found = stage.study_sizes(study, chosen.names, {**versions, "phash": "phash-1"})
        sample = None if study is None else stage.sample_pixels(study)
        rates = stage.measure_rates(
            chosen.names, parameters=p, images=config.images, featurisers=chosen.featurisers, sample=sample, progress=bars
        )
        size, images, stored = found
        count = workers or config.study.workers
        return stage.plan_neighbors(size, rates, images=images, stored=stored, parameters=p, side=config.images.compare_side, workers=count)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
