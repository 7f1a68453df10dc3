"""The commands of stored test sets: revision list, show, diff, review, carry-over, check, import."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from retest.cli._common import json_option, opened, print_json, print_table, stamp_now, study_option
from retest.cli._files import read_json
from retest.errors import InputError
from retest.files import write_atomic
from retest.sampling import diff_revisions, reviews_to_published, revision_text, revision_to_published
from retest.stages import revisions as stage


@click.group()
def revision() -> None:
    """List, show, compare, review, check and import test sets.

    \b
    Examples:
      retest revision list --study my-study
      retest revision check my-a-1 --study my-study
    """


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
        found = tables.revisions.summaries()
    rows = [(r.name, r.sampling_function, r.num_images, "yes" if r.is_valid else "no", r.starting_from or "", r.time) for r in found]
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
@click.option("--reviews-out", type=click.Path(path_type=Path, dir_okay=False), help="Write the class reviews in the published JSON form.")
def show_revision(study_folder: Path, name: str, as_json: bool, out: Path | None, reviews_out: Path | None) -> None:
    """Show a revision; --json gives the published form, with its images in order.

    \b
    Examples:
      retest revision show my-a-1 --study my-study
      retest revision show my-a-1 --study my-study --json --out my-a-1.json
    """
    with opened(study_folder) as study, study.database.read() as tables:
        found = tables.revisions.get(name)
        reviews = tables.revisions.reviews(name)
    _write(out, revision_text(found))
    _write(reviews_out, json.dumps(reviews_to_published(reviews.values()), indent=2))
    if as_json:
        print_json(revision_to_published(found))
        return
    reviewed = sum(review.reviewed for review in reviews.values())
    problematic = sum(review.problematic for review in reviews.values())
    rows: list[tuple[str, Any]] = [("function", found.sampling_function), ("images", len(found.images)), ("valid", found.is_valid)]
    rows += [("seed", found.seed), ("starting from", found.starting_from or ""), ("made", f"{found.time} by {found.user}")]
    begun = bool(reviewed or problematic)
    progress = f"{reviewed} of {len({wnid for _, wnid in found.images})}" if begun else "no review begun"
    rows += [("classes reviewed", progress), ("classes problematic", problematic)]
    print_table(found.name, ["what", "value"], [*rows, *sorted(found.parameters.items())])
    if not begun:
        click.echo(f"Review it class by class on the pages of retest serve --study {study_folder},")
        click.echo(f"or record a class with retest revision review {name} WNID --reviewed --study {study_folder}")


def _write(path: Path | None, text: str) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())


@revision.command("diff")
@click.argument("old")
@click.argument("new")
@study_option
@json_option
def diff(study_folder: Path, old: str, new: str, as_json: bool) -> None:
    """Compare two revisions class by class.

    \b
    Example:
      retest revision diff my-a-1 my-a-2 --study my-study
    """
    with opened(study_folder) as study, study.database.read() as tables:
        found = diff_revisions(tables.revisions.get(old), tables.revisions.get(new))
    if as_json:
        totals = {"old": old, "new": new, "kept": found.num_kept, "added": found.num_added, "removed": found.num_removed}
        print_json({**totals, "same_order": found.same_order, "classes": found.classes})
        return
    click.echo(f"{old} -> {new}: {found.num_kept} images kept, {found.num_added} added, {found.num_removed} removed")
    if not found.same_order:
        click.echo("The images in both stand in another order")
    rows = [(one.wnid, f"+{len(one.added)}", f"-{len(one.removed)}", ", ".join(one.added), ", ".join(one.removed)) for one in found.classes]
    if rows:
        print_table("Changed classes", ["class", "added", "removed", "new images", "images left out"], rows)


@revision.command("review")
@click.argument("name")
@click.argument("wnids", nargs=-1, required=True)
@study_option
@json_option
@click.option("--reviewed/--not-reviewed", default=None, help="Whether the classes have been looked through.")
@click.option("--problematic/--not-problematic", default=None, help="Whether something is wrong with them.")
def review(study_folder: Path, name: str, wnids: tuple[str, ...], as_json: bool, reviewed: bool | None, problematic: bool | None) -> None:
    """Record the review of classes of a revision: who, when, and what was said before are kept.

    \b
    Examples:
      retest revision review my-a-1 n01440764 n01443537 --reviewed --study my-study
      retest revision review my-a-1 n01443537 --problematic --study my-study
    """
    with opened(study_folder) as study:
        done = stage.review_classes(study, name, wnids, stamp=stamp_now(), reviewed=reviewed, problematic=problematic)
    _print_change(name, done, as_json=as_json)


@revision.command("carry-over")
@click.argument("old")
@click.argument("new")
@study_option
@json_option
def carry_over(study_folder: Path, old: str, new: str, as_json: bool) -> None:
    """Carry the class reviews of OLD over to NEW.

    A class stays reviewed if its images did not change and it was not problematic; what was decided about NEW itself is left alone.

    \b
    Example:
      retest revision carry-over my-a-1 my-a-2 --study my-study
    """
    with opened(study_folder) as study:
        done = stage.carry_over(study, old, new, stamp=stamp_now())
    _print_change(new, done, as_json=as_json)


def _print_change(name: str, done: stage.ReviewChange, *, as_json: bool) -> None:
    if as_json:
        print_json({"revision": name, "changed": list(done.changed), "reviewed": done.reviewed, "problematic": done.problematic})
    else:
        click.echo(f"{len(done.changed)} classes changed; {done.reviewed} of {done.classes} reviewed, {done.problematic} problematic")


@revision.command("check")
@click.argument("name")
@study_option
@json_option
@click.option("--strict", is_flag=True, help="Exit with 1 when there is a warning.")
def check(study_folder: Path, name: str, as_json: bool, strict: bool) -> None:
    """Check a revision against what the study knows today; warns, changes nothing.

    Looks for duplicates, wrong classes, excluded images, near-duplicates, few answers, and classes of the wrong size.

    \b
    Example:
      retest revision check my-a-1 --study my-study
    """
    with opened(study_folder) as study:
        found = stage.check(study, name)
    counts = dict(Counter(str(warning.check) for warning in found))
    if as_json:
        print_json({"revision": name, "warnings": counts, "details": found})
    else:
        for warning in found:
            click.echo(f"Warning: {warning}", err=True)
        click.echo(f"{name}: {len(found)} warnings" + "".join(f", {count} {kind}" for kind, count in counts.items()))
    if strict and found:
        raise click.exceptions.Exit(1)


@revision.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@study_option
@json_option
@click.option("--name", help="Name of the revision; else output_filename in the file, else the file's name.")
@click.option(
    "--reviews", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="File of class reviews in the published form."
)
def import_revision(study_folder: Path, file: Path, as_json: bool, name: str | None, reviews: Path | None) -> None:
    """Store a revision from a file in the published JSON form (as show --out writes it).

    \b
    Example:
      retest revision import imagenetv2-a-44.json --study my-study
    """
    document = _read(file)
    chosen = name or (None if isinstance(document.get("output_filename"), str) else file.stem)
    with opened(study_folder) as study:
        given = None if reviews is None else _read(reviews)
        done = stage.import_revision(study, document, stamp=stamp_now(), name=chosen, reviews=given)
    if as_json:
        print_json(done)
        return
    click.echo(f"{done.name}: {done.images} images, {'stored' if done.stored else 'there already'}; {done.reviews} class reviews")
    if done.unknown_images:
        click.echo(f"Warning: {done.unknown_images} images are not in the study", err=True)


def _read(path: Path) -> dict[str, Any]:
    document = read_json(path, remedy="Give a file in the published form")
    if not isinstance(document, dict):
        raise InputError("is no JSON object", item=str(path), remedy="Give a file in the published form")
    return document
