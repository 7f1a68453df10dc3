"""Commands of test sets: sample, revision."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from retest.cli._common import json_option, opened, print_json, print_table, stamp_now, study_option
from retest.errors import InputError
from retest.sampling import SampleResult, revision_text, revision_to_published
from retest.stages import sample as stage
from retest.study import write_atomic


@click.command()
@click.argument("strategy", type=click.Choice(stage.STRATEGIES))
@study_option
@json_option
@click.option("--name", help="Name of the revision, such as mystudy-a-1. Required unless --dry-run.")
@click.option("--per-class", type=click.IntRange(1), help="Images per class.")
@click.option("--seed", type=int, help="Seed of the one random generator.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Least selection frequency of the threshold strategy.")
@click.option("--class-thresholds", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="JSON file wnid -> threshold.")
@click.option("--allow-upward-sampling", is_flag=True, help="Fill a short bin from the nearest higher one.")
@click.option("--allow-invalid", is_flag=True, help="Store the set although some class lacks images.")
@click.option("--starting-from", metavar="NAME", help="Carry the usable images of this revision over.")
@click.option("--dry-run", is_flag=True, help="Show the report of what is missing and why; store nothing.")
def sample(study_folder: Path, strategy: str, as_json: bool, name: str | None, dry_run: bool, **options: Any) -> None:
    """Sample a new test set from the labelled, reviewed candidates and store it as a revision.

    Strategies: threshold (Threshold0.7), matched-frequency, top-images, original-annotated, original.

    \b
    Examples:
      retest sample threshold --study my-study --per-class 10 --seed 1 --name my-a-1
      retest sample matched-frequency --study my-study --name my-b-2 --starting-from my-b-1
    """
    if name is None and not dry_run:
        raise click.UsageError("Give --name NAME, or --dry-run")
    with opened(study_folder) as study:
        given = {key: options[key] for key in ("per_class", "seed", "threshold") if options[key] is not None}
        if options["class_thresholds"] is not None:
            given["class_thresholds"] = _read_thresholds(options["class_thresholds"])
        if options["allow_upward_sampling"]:
            given["allow_upward_sampling"] = True
        done = stage.sample(
            study,
            strategy,
            name=name or "(dry run)",
            parameters=replace(study.config.sampling, **given),
            stamp=stamp_now(),
            starting_from=options["starting_from"],
            allow_invalid=options["allow_invalid"],
            store=not dry_run,
        )
    _print_sample(done, as_json=as_json, dry_run=dry_run)
    if not done.result.is_valid and not options["allow_invalid"]:
        raise click.exceptions.Exit(1)


def _read_thresholds(path: Path) -> dict[str, float]:
    try:
        table = json.loads(path.read_bytes())
        return {str(wnid): float(value) for wnid, value in table.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"is no JSON object wnid -> threshold ({error})", item=str(path), remedy='Write {"n01440764": 0.6}') from error


def _print_sample(done: stage.Sampled, *, as_json: bool, dry_run: bool) -> None:
    result = done.result
    if as_json:
        print_json(
            {
                "name": None if dry_run else done.name,
                "stored": done.stored,
                "is_valid": result.is_valid,
                "images": len(result.images),
                "unusable": result.unusable,
                "shortfalls": result.shortfalls,
                "dropped": result.dropped,
            }
        )
        return
    click.echo(f"{len(result.images)} images of {len(result.classes)} classes by {result.sampling_function}, seed {result.seed}")
    for reason, number in result.unusable.items():
        click.echo(f"  unusable candidates: {number} ({reason})")
    _print_shortfalls(result)
    if dry_run:
        click.echo("Nothing was stored (dry run)")
    elif done.stored:
        click.echo(f"Stored as {done.name}")
    elif result.is_valid:
        click.echo(f"{done.name} is there already, with the same images")
    else:
        click.echo(
            "Not stored, because it is incomplete. Label more candidates, or use --allow-upward-sampling or --allow-invalid", err=True
        )


def _print_shortfalls(result: SampleResult) -> None:
    for report in result.shortfalls[:20]:
        click.echo(f"  {report}")
    if len(result.shortfalls) > 20:
        click.echo(f"  ... and {len(result.shortfalls) - 20} more classes (all with --json)")


@click.group()
def revision() -> None:
    """List, show and compare test sets."""


@revision.command("list")
@study_option
@json_option
def list_revisions(study_folder: Path, as_json: bool) -> None:
    """List the revisions of a study.

    \b
    Example:
      retest revision list --study my-study
    """
    with opened(study_folder) as study, study.database.read() as tables:
        found = [tables.revisions.get(name) for name in tables.revisions.names()]
    rows = [(r.name, r.sampling_function, len(r.images), "yes" if r.is_valid else "no", r.starting_from or "", r.time) for r in found]
    if as_json:
        names = ("name", "sampling_function", "images", "is_valid", "starting_from", "time")
        print_json(
            [dict(zip(names, (*row[:3], r.is_valid, r.starting_from, r.time), strict=True)) for row, r in zip(rows, found, strict=True)]
        )
    else:
        print_table("Revisions", ["name", "function", "images", "valid", "starting from", "made"], rows)


@revision.command("show")
@click.argument("name")
@study_option
@json_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the published JSON form to this file.")
def show_revision(study_folder: Path, name: str, as_json: bool, out: Path | None) -> None:
    """Show a revision; --json gives the published form, with its images in order.

    \b
    Examples:
      retest revision show my-a-1 --study my-study
      retest revision show my-a-1 --study my-study --json --out my-a-1.json
    """
    with opened(study_folder) as study, study.database.read() as tables:
        found = tables.revisions.get(name)
        reviews = tables.revisions.reviews(name)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, revision_text(found).encode())
    if as_json:
        print_json(revision_to_published(found))
        return
    reviewed = sum(review.reviewed for review in reviews.values())
    problematic = sum(review.problematic for review in reviews.values())
    rows: list[tuple[str, Any]] = [("function", found.sampling_function), ("images", len(found.images)), ("valid", found.is_valid)]
    rows += [("seed", found.seed), ("starting from", found.starting_from or ""), ("made", f"{found.time} by {found.user}")]
    rows += [("classes reviewed", f"{reviewed} of {len(reviews)}"), ("classes problematic", problematic)]
    print_table(found.name, ["what", "value"], [*rows, *sorted(found.parameters.items())])
