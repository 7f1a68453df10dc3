"""The command take-down: images that somebody wants gone."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import json_option, opened, print_json, print_table, stamp_now, study_option


@click.command("take-down")
@click.argument("image")
@study_option
@json_option
@click.option("--reason", required=True, help="Who asked, and why; kept with the record.")
@click.option("--remove-blobs", is_flag=True, help="Also remove the stored bytes: all variants, the copies for annotators, caches.")
def take_down(study_folder: Path, image: str, as_json: bool, reason: str, remove_blobs: bool) -> None:
    """Take an image down on request: every later revision goes without it. IMAGE is a candidate's id or its address on the web.

    Other candidates of the same photo go with it. Revisions that exist never change; those that hold the image are named.

    \b
    Example:
      retest take-down https://www.flickr.com/photos/someone/123 --study my-study --reason "asked by the owner" --remove-blobs
    """
    from retest.stages.takedown import take_down as take

    with opened(study_folder) as study:
        done = take(study, image, reason=reason, stamp=stamp_now(), remove_blobs=remove_blobs)
    if as_json:
        print_json(done)
        return
    click.echo(f"Taken down: {', '.join(done.images)} ({done.new} now); {done.blobs_removed} blobs removed")
    if done.held_by:
        rows = [(holder.revision, holder.image, holder.wnid, holder.position) for holder in done.held_by]
        print_table("Existing revisions that hold it, unchanged", ["revision", "image", "class", "position"], rows)
        click.echo("Make the next one with: retest sample ... --starting-from REVISION; exports made before still hold the image")
    if done.resembling:
        click.echo(f"Near-duplicates of it, to look at: {', '.join(done.resembling)}")
