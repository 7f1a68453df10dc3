"""Commands of near-duplicates: queue, resolve, stats."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from retest.cli._common import json_option, opened, print_json, print_table, study_option
from retest.stages import duplicates as stage


@click.group()
def duplicates() -> None:
    """Review queue, resolution and statistics of near-duplicates."""


@duplicates.command("queue")
@study_option
@json_option
def show_queue(study_folder: Path, as_json: bool) -> None:
    """Show which neighbours still wait for a reviewer.

    \b
    Example:
      retest duplicates queue --study my-study --json
    """
    with opened(study_folder) as study:
        found = stage.queue(study)
    if as_json:
        items = [{"candidate": i.candidate_id, "metric": i.metric, "neighbors": i.neighbors} for i in found.items]
        print_json({"candidates": found.candidates, "reviewed_candidates": found.reviewed_candidates, "queue": items})
        return
    by_metric = Counter(item.metric for item in found.items)
    print_table("Waiting for review", ["metric", "candidates"], sorted(by_metric.items()))
    click.echo(f"{found.reviewed_candidates} of {found.candidates} candidates have nothing left to review")


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
