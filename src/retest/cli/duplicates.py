"""Commands of near-duplicates: queue, decide, simulate, reopen, override, history, resolve, stats, leakage."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import F, bars, json_option, opened, print_json, print_table, stamp_now, study_option
from retest.stages import duplicates as stage
from retest.stages._common import Stamp
from retest.stages.near_originals import exclude_near_originals


@click.group()
def duplicates() -> None:
    """Review queue, decisions, resolution and statistics of near-duplicates; leakage between two folders.

    \b
    Examples:
      retest duplicates queue --study my-study
      retest duplicates resolve --study my-study
      retest duplicates leakage --train data/train --test data/test --out leakage.html
    """


def _reviewer_option(command: F) -> F:
    return click.option("--reviewer", help="Who decides; by default the user of this terminal.")(command)


def _stamp(reviewer: str | None) -> Stamp:
    now = stamp_now()
    return Stamp(reviewer or now.user, now.time)


@duplicates.command("queue")
@study_option
@json_option
def show_queue(study_folder: Path, as_json: bool) -> None:
    """Show which neighbours still wait for a reviewer.

    \b
    Example:
      retest duplicates queue --study my-study --json
    """
    if as_json:
        with opened(study_folder) as study:
            whole = stage.queue(study)
        items = [{"candidate": i.candidate_id, "metric": i.metric, "neighbors": i.neighbors} for i in whole.items]
        counts = {"candidates": whole.candidates, "reviewed_candidates": whole.reviewed_candidates}
        print_json({**counts, "missing_metrics": whole.missing_metrics, "queue": items})
        return
    with opened(study_folder) as study:
        found = stage.count_queue(study)
    print_table("Waiting for review", ["metric", "candidates"], sorted(found.by_metric.items()))
    click.echo(f"{found.reviewed_candidates} of {found.candidates} candidates have nothing left to review")
    for metric in found.missing_metrics:
        click.echo(
            f"No neighbours in {metric} are stored, but [review] targets asks for it. Run: retest neighbors --metric {metric}", err=True
        )


@duplicates.command("decide")
@click.argument("candidate")
@study_option
@click.option("--metric", required=True, help="Metric in which the neighbours were looked at.")
@click.option("--near", "near", multiple=True, metavar="ID", help="A neighbour that is a near-duplicate; repeat for several.")
@click.option("--reviewed", multiple=True, metavar="ID", help="A neighbour that was looked at. Default: all that wait.")
@_reviewer_option
def decide(candidate: str, study_folder: Path, metric: str, near: tuple[str, ...], reviewed: tuple[str, ...], reviewer: str | None) -> None:
    """Record which neighbours of CANDIDATE are near-duplicates; what was looked at is not asked again.

    \b
    Example:
      retest duplicates decide 0a1b2c --study my-study --metric l2 --near ILSVRC2012_val_00000293.JPEG
    """
    with opened(study_folder) as study:
        made = stage.decide(study, candidate, metric=metric, near_duplicates=near, references=reviewed or None, stamp=_stamp(reviewer))
    click.echo(f"{candidate}: {len(made.references)} neighbours looked at in {metric}, {len(made.near_duplicates)} near-duplicates")


@duplicates.command("simulate")
@study_option
@click.option(
    "--threshold", "thresholds", multiple=True, required=True, metavar="METRIC=DISTANCE", help="Near is what is not further apart."
)
def simulate_reviewer(study_folder: Path, thresholds: tuple[str, ...]) -> None:
    """Let a simulated reviewer empty the queue, who calls near-duplicate whatever lies within the thresholds.

    For rehearsals, and for images that are known to differ. Nobody looks at anything, and reports name the simulated reviewer.

    \b
    Example:
      retest duplicates simulate --study rehearsal --threshold l2=0 --threshold dssim=0
    """
    from retest.stages import simulate

    decide_at, now = _distances(thresholds), stamp_now()
    with opened(study_folder) as study:
        if unknown := sorted(decide_at.keys() - study.config.review.targets.keys()):
            raise click.UsageError(
                f"--threshold {unknown[0]}: [review] targets has no such metric. It has: {', '.join(study.config.review.targets)}."
            )
        reviews = simulate.simulated_reviews(stage.queue(study).items, decide_at, stamp=now)
        stage.record_reviews(study, reviews, stamp=now)
    near = sum(bool(review.near_duplicates) for review in reviews)
    click.echo(f"SIMULATED: {len(reviews)} reviews, {near} of them with near-duplicates")


@duplicates.command("reopen")
@click.argument("candidate")
@study_option
@click.option("--metric", "metrics", multiple=True, help="Only in this metric; repeat for several.")
@_reviewer_option
def reopen(candidate: str, study_folder: Path, metrics: tuple[str, ...], reviewer: str | None) -> None:
    """Ask again about the neighbours of CANDIDATE. Its decisions stay in the history.

    \b
    Example:
      retest duplicates reopen 0a1b2c --study my-study --metric l2
    """
    with opened(study_folder) as study:
        counts = stage.reopen(study, candidate, metrics=metrics or None, stamp=_stamp(reviewer))
    for metric, count in counts.items():
        click.echo(f"{candidate}: {count} neighbours in {metric} wait again")


@duplicates.command("override")
@click.argument("candidates", nargs=-1, required=True)
@study_option
@click.option("--remove", is_flag=True, help="Take them off the list.")
@_reviewer_option
def override(candidates: tuple[str, ...], study_folder: Path, remove: bool, reviewer: str | None) -> None:
    """Keep CANDIDATES against the rule: each stays in its component, in place of the one that the rule would choose.

    In a component with an original image this has no effect.

    \b
    Example:
      retest duplicates override 0a1b2c --study my-study
    """
    with opened(study_folder) as study:
        changed = stage.set_override(study, candidates, listed=not remove, stamp=_stamp(reviewer))
    click.echo(f"{changed} of {len(candidates)} candidates {'taken off' if remove else 'put on'} the override list")


@duplicates.command("history")
@study_option
@json_option
@click.option("--candidate", help="Only decisions about this candidate.")
def show_history(study_folder: Path, as_json: bool, candidate: str | None) -> None:
    """Show every decision with reviewer and date, oldest first.

    \b
    Example:
      retest duplicates history --study my-study --candidate 0a1b2c
    """
    with opened(study_folder) as study:
        found = stage.history(study, candidate_id=candidate)
    if as_json:
        print_json(found)
        return
    rows = [(entry.time, entry.reviewer, entry.candidate, entry.metric, entry.text) for entry in found]
    print_table("Decisions", ["time", "reviewer", "candidate", "metric", "decision"], rows)


@duplicates.command("resolve")
@study_option
@json_option
def resolve(study_folder: Path, as_json: bool) -> None:
    """Decide which candidates are near-duplicates and which one of each component stays, with the reason.

    \b
    Example:
      retest duplicates resolve --study my-study
    """
    with opened(study_folder) as study:
        found = stage.resolve_duplicates(study)
    if as_json:
        rows = [
            {"candidate": r.candidate_id, "near_duplicate": r.near_duplicate, "component": r.component, "reason": r.reason} for r in found
        ]
        print_json({"candidates": rows})
    else:
        marked = sum(r.near_duplicate for r in found)
        click.echo(f"{marked} near-duplicates, {len(found) - marked} candidates kept out of their components")


@duplicates.command("stats")
@study_option
@json_option
def show_stats(study_folder: Path, as_json: bool) -> None:
    """Show the figures of the near-duplicate graph.

    \b
    Example:
      retest duplicates stats --study my-study --json
    """
    with opened(study_folder) as study:
        found = stage.stats(study)
    if as_json:
        print_json(found)
        return
    rows = [("components", found.components), ("with an original image", found.components_with_original)]
    print_table("Near-duplicates", ["what", "count"], [*rows, ("candidates in components", found.candidates), ("marked", found.marked)])
    print_table("Sizes", ["images in component", "components"], sorted(found.sizes.items()))


@duplicates.command("near-originals")
@study_option
@json_option
@click.option("--metric", default="l2", show_default=True, help="Metric of the stored neighbours.")
@click.option("--within", type=click.FloatRange(min=0), required=True, help="Distance as the search reports it: squared for l2.")
@click.option("--dry-run", is_flag=True, help="Count only; exclude nothing.")
def near_originals(study_folder: Path, as_json: bool, metric: str, within: float, dry_run: bool) -> None:
    """Exclude candidates that lie within a distance of an original image, without a reviewer, as CIFAR-10.1 did.

    Published: 1e6, the square of an l2 distance of 1000 between images of 32 x 32 pixels.

    \b
    Example:
      retest duplicates near-originals --study my-study --metric l2 --within 1e6
    """
    with opened(study_folder) as study:
        found = exclude_near_originals(study, metric=metric, distance=within, stamp=stamp_now(), store=not dry_run)
    if as_json:
        print_json(found)
    else:
        click.echo(
            f"{found.within} of {found.candidates} candidates lie within {within:g} of an original image, {found.added} excluded now"
        )


@duplicates.command("leakage")
@click.option("--train", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, help="Folder of training images.")
@click.option("--test", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, help="Folder of test images.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="HTML page to write, with the pairs.")
@click.option("--metric", "metrics", multiple=True, help="l2, dssim, phash, fc7, or a featuriser's label; repeat. Default: l2, phash.")
@click.option("--featuriser", "featurisers", multiple=True, metavar="FEATURISER", help="Another metric, as in retest neighbors.")
@click.option("--threshold", "thresholds", multiple=True, metavar="METRIC=DISTANCE", help="Report pairs up to this distance.")
@click.option("--neighbors", default=5, show_default=True, type=click.IntRange(1), help="Training images per test image and metric.")
@click.option("--mirrored/--no-mirrored", default=True, show_default=True, help="Also compare the mirror images of the test images.")
@click.option("--side", default=256, show_default=True, help="Images are compared at this size.")
@click.option("--show", default=500, show_default=True, type=click.IntRange(1), help="Pairs on the page at most.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="Threads to use.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to compute.")
@json_option
def show_leakage(
    train: Path,
    test: Path,
    out: Path | None,
    metrics: tuple[str, ...],
    featurisers: tuple[str, ...],
    thresholds: tuple[str, ...],
    neighbors: int,
    mirrored: bool,
    side: int,
    show: int,
    threads: int,
    device: str,
    as_json: bool,
) -> None:
    """Find test images that are, perhaps altered, among the training images. Needs no study.

    \b
    Examples:
      retest duplicates leakage --train data/train --test data/test --out leakage.html
      retest duplicates leakage --train a --test b --metric l2 --threshold l2=2e7 --json
    """
    from retest.files import write_atomic
    from retest.images import ImageParameters
    from retest.stages import leakage

    if out is None and not as_json:
        raise click.UsageError("Give --out for a page, --json for figures, or both.")
    chosen = metrics or (() if featurisers else leakage.DEFAULT_METRICS)
    found = leakage.find_leakage(
        train, test, metrics=chosen, featurisers=featurisers, thresholds=_distances(thresholds), neighbors=neighbors, mirrored=mirrored,
        images=ImageParameters(compare_side=side, display_side=side + 1), threads=threads, device=device,
        scratch=None if out is None else out.parent, progress=bars,
    )  # fmt: skip
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, leakage.leakage_page(found, train=train, test=test, most=show, progress=bars).encode())
    if as_json:
        print_json(found)
        return
    for name, problem in found.problems:
        click.echo(f"Left out: {name}: {problem}", err=True)
    click.echo(f"{found.leaked} of {found.test_images} test images look like one of {found.train_images} training images;")
    click.echo(f"{found.identical} are identical, {found.other_class} have a pair in another class: {len(found.pairs)} pairs in {out}")


def _distances(texts: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        metric, equals, value = text.partition("=")
        try:
            found[metric] = float(value)
        except ValueError:
            equals = ""
        if not equals or not metric:
            raise click.UsageError(f"--threshold {text}: write METRIC=DISTANCE, such as l2=2e7.")
    return found
