"""Commands that bring images into the study: search, download, publish, check."""

from __future__ import annotations

import os
from pathlib import Path

import click

from retest.cli._common import bars, json_option, opened, print_json, print_table, stamp_now, study_option
from retest.stages import check as check_stage
from retest.stages import collect as collect_stage
from retest.stages import images as image_stage
from retest.stages import publish as publish_stage


@click.command()
@study_option
@json_option
def search(study_folder: Path, as_json: bool) -> None:
    """Find candidates in the study's source; stopped and started again it asks for no page twice.

    \b
    Example:
      retest search --study my-study
    """
    with opened(study_folder) as study:
        source = collect_stage.open_source(study)
        try:
            counts = collect_stage.search(study, source, stamp=stamp_now(), progress=bars)
        finally:
            source.close()
    if as_json:
        print_json(counts)
        return
    click.echo(f"{counts.new_candidates} new candidates, {counts.occurrences} further occurrences, from {counts.queries} queries")
    for reason, number in sorted(counts.skipped.items()):
        click.echo(f"  left out: {number} ({reason})")
    if counts.empty_classes:
        shown = ", ".join(counts.empty_classes[:10])
        click.echo(f"Warning: {len(counts.empty_classes)} classes have no candidate: {shown}", err=True)


@click.command()
@study_option
@json_option
@click.option("--retry-failed", is_flag=True, help="Try images again that could not be fetched or decoded.")
def download(study_folder: Path, as_json: bool, retry_failed: bool) -> None:
    """Fetch original images and candidates and store their three variants.

    \b
    Example:
      retest download --study my-study
    """
    with opened(study_folder) as study:
        if retry_failed:
            click.echo(f"{image_stage.retry_failed(study)} failed images will be tried again", err=True)
        source = collect_stage.fetching_source(study)
        try:
            counts = image_stage.store_images(study, source.fetch, stamp=stamp_now(), progress=bars)
        finally:
            source.close()
    if as_json:
        print_json(counts)
    else:
        click.echo(f"{counts.stored} images stored, {counts.failed} cannot be used (see retest status), {counts.present} were there")


@click.command()
@study_option
@json_option
def publish(study_folder: Path, as_json: bool) -> None:
    """Give every image its opaque name and write the copy that annotators see.

    Names are random, or with RETEST_OPAQUE_KEY in the environment a keyed hash that can be made again.

    \b
    Example:
      retest publish --study my-study
    """
    key = os.environ.get(publish_stage.KEY_VARIABLE)
    with opened(study_folder) as study:
        counts = publish_stage.publish_images(study, key=key.encode() if key else None, progress=bars)
    if as_json:
        print_json(counts)
    else:
        click.echo(f"{counts.named} images named, {counts.written} copies written, {counts.present} were there")


@click.command()
@study_option
@json_option
@click.option("--deep", is_flag=True, help="Compare the content of every blob, not only its size.")
@click.option("--repair", is_flag=True, help="Rewrite opaque copies; forget missing variants so that download makes them again.")
def check(study_folder: Path, as_json: bool, deep: bool, repair: bool) -> None:
    """Check that every image is stored and published; labelling is blocked while this fails.

    \b
    Example:
      retest check --study my-study --deep
    """
    with opened(study_folder) as study:
        report = check_stage.check_images(study, deep=deep, repair=repair, progress=bars)
    if as_json:
        print_json({"ok": report.ok, "images": report.images, "repaired": report.repaired, "findings": report.findings})
    else:
        if report.findings:
            print_table("Findings", ["image", "what", "problem"], [(f.image_id, f.what, f.problem) for f in report.findings[:50]])
        click.echo(f"{report.images} images checked, {len(report.findings)} findings, {report.repaired} repaired")
    if not report.ok:
        raise click.exceptions.Exit(1)
