"""Commands that bring images into the study: search, download, publish, check."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from retest.cli._common import bars, json_option, opened, print_json, print_table, stamp_now, study_option
from retest.cli._executors import Where, executor_option
from retest.cli._search_options import chosen_wnids, search_options, with_search_options
from retest.sources import FetchingSource
from retest.sources.download import Downloader
from retest.stages import check as check_stage
from retest.stages import collect as collect_stage
from retest.stages import images as image_stage
from retest.stages import localcache as cache_stage
from retest.stages import publish as publish_stage
from retest.study import Study


@click.command()
@study_option
@json_option
@click.option("--key-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Flickr key file: JSON [key, secret].")
@click.option(
    "--export",
    "export_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Do not search: write the candidates found so far to this file, in the form of the published search results.",
)
@click.option("--wnid", "wnids", multiple=True, metavar="WNID", help="Search for this class only. May be given several times.")
@click.option(
    "--wnids",
    "wnid_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Search for the classes that this file lists, one wnid per line or a JSON list.",
)
@search_options
def search(
    study_folder: Path,
    as_json: bool,
    key_file: Path | None,
    export_file: Path | None,
    wnids: tuple[str, ...],
    wnid_file: Path | None,
    **options: Any,
) -> None:
    """Find candidates in the study's source; stopped and started again it asks for no page twice.

    Keys come from the environment (FLICKR_API_KEY and FLICKR_API_SECRET, OPENVERSE_TOKEN, RETEST_CONTACT) and are never stored.
    Options replace the settings of [search] for this run, and are recorded with every candidate that it finds.

    \b
    Examples:
      retest search --study my-study
      retest search --study my-study --wnid n01440764 --max-images 200 --parent-term
      retest search --study my-study --export candidates.json
    """
    if export_file is not None:
        _export(study_folder, export_file, as_json=as_json)
        return
    chosen = chosen_wnids(wnids, wnid_file)
    with opened(study_folder) as configured:
        study = with_search_options(configured, options)
        source = collect_stage.study_source(study, environment=os.environ, key_file=key_file)
        try:
            counts = collect_stage.search(study, source, stamp=stamp_now(), wnids=chosen, progress=bars)
        finally:
            source.close()
    if as_json:
        print_json(counts)
        return
    click.echo(f"{counts.new_candidates} new candidates, {counts.occurrences} further occurrences, from {counts.queries} queries")
    for reason, number in sorted(counts.skipped.items()):
        click.echo(f"  left out: {number} ({reason})")
    for note, number in counts.notes.items():
        click.echo(f"Note: {note} ({number} {'page' if number == 1 else 'pages'})", err=True)
    if counts.empty_classes:
        shown = ", ".join(counts.empty_classes[:10])
        click.echo(f"Warning: {len(counts.empty_classes)} classes have no candidate: {shown}", err=True)


def _export(study_folder: Path, path: Path, *, as_json: bool) -> None:
    with opened(study_folder) as study:
        records = collect_stage.export_candidates(study, path)
    if as_json:
        print_json({"file": path, "records": records})
    else:
        click.echo(f"{records} records in {path}")


@click.command()
@study_option
@json_option
@click.option("--retry-failed", is_flag=True, help="Try images again that could not be fetched or decoded.")
@click.option(
    "--local-cache",
    "cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Do not download from the web: copy stored images from the blob store into this folder, for review without a network.",
)
@click.option("--revision", help="With --local-cache: the images of this revision only.")
@click.option("--variant", "variants", multiple=True, help="With --local-cache: this variant only (several may be given).")
@executor_option("Where images are decoded: local (processes of this machine) or dask (a cluster).", processes=False)
def download(
    study_folder: Path,
    as_json: bool,
    retry_failed: bool,
    cache: Path | None,
    revision: str | None,
    variants: tuple[str, ...],
    where: Where,
) -> None:
    """Fetch original images and candidates and store their three variants.

    This process downloads and stores; the workers of a Dask cluster, if one is named, decode and resize.

    \b
    Examples:
      retest download --study my-study
      retest download --study my-study --executor dask --scheduler tcp://10.0.0.5:8786
      retest download --study my-study --local-cache images/ --revision my-a-1
    """
    if cache is None and (revision is not None or variants):
        raise click.UsageError("--revision and --variant need --local-cache.")
    if cache is not None and retry_failed:
        raise click.UsageError("Give either --retry-failed or --local-cache.")
    with opened(study_folder) as study:
        if cache is not None:
            _fill_cache(study, cache, revision, variants, as_json=as_json)
            return
        if retry_failed:
            click.echo(f"{image_stage.retry_failed(study)} failed images will be tried again", err=True)
        counts = _download(study, where)
    if as_json:
        print_json(counts)
    else:
        click.echo(f"{counts.stored} images stored, {counts.failed} cannot be used (see retest status), {counts.present} were there")
        for reason, number in sorted(counts.later.items()):
            click.echo(f"  to be tried again by the next run: {number} ({reason})", err=True)


def _fill_cache(study: Study, folder: Path, revision: str | None, variants: tuple[str, ...], *, as_json: bool) -> None:
    done = cache_stage.fill_cache(study, folder, revision=revision, variants=variants, progress=bars)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.images} images in {folder}: {done.fetched} files fetched, {done.present} were there")
    if done.damaged:
        click.echo(f"{len(done.damaged)} blobs are missing or damaged, the first {done.damaged[0]}; see retest check --deep", err=True)
        raise click.exceptions.Exit(1)


def _download(study: Study, where: Where) -> image_stage.ImageCounts:
    with where.open(study.config.study.workers, local=lambda: image_stage.open_executor(study)) as executor:
        if study.config.source.kind == "folder" and study.config.source.location:
            with closing(collect_stage.study_source(study, environment=os.environ)) as source:
                if isinstance(source, FetchingSource):
                    return image_stage.store_images(study, source.fetch, stamp=stamp_now(), progress=bars, executor=executor)
        contact = os.environ.get("RETEST_CONTACT", "").strip()
        agent = f"retest ({study.config.study.name}; {contact or 'no contact given'})".encode("ascii", "replace").decode()
        downloader = Downloader(study.config.download, user_agent=agent)
        return image_stage.download_images(study, downloader, stamp=stamp_now(), progress=bars, executor=executor)


@click.command()
@study_option
@json_option
@click.option(
    "--key-version", type=click.IntRange(min=1), help="Issue names of this version; a new one becomes current when all are written."
)
@click.option("--retire", type=click.IntRange(min=1), help="Delete the copies under an older version's names, and do nothing else.")
def publish(study_folder: Path, as_json: bool, key_version: int | None, retire: int | None) -> None:
    """Give every image its opaque name and write the copy that annotators see.

    Names are random, or with RETEST_OPAQUE_KEY in the environment a keyed hash that can be made again; the key of version 2 is
    RETEST_OPAQUE_KEY_2, and so on. To rotate, publish a new version, wait until no page with old names is open, retire the old one.

    \b
    Examples:
      retest publish --study my-study
      retest publish --study my-study --key-version 2
      retest publish --study my-study --retire 1
    """
    if retire is not None and key_version is not None:
        raise click.UsageError("Give either --key-version or --retire.")
    with opened(study_folder) as study:
        if retire is not None:
            deleted = publish_stage.retire_key_version(study, retire, progress=bars)
            text = f"key version {retire} is retired, {deleted} copies deleted"
            print_json({"retired": retire, "deleted": deleted}) if as_json else click.echo(text)
            return
        version = publish_stage.version_to_publish(study, key_version)
        key = publish_stage.environment_key(os.environ, version)
        counts = publish_stage.publish_images(study, key=key, key_version=version, progress=bars)
    if as_json:
        print_json(counts)
    else:
        click.echo(f"{counts.named} images named, {counts.written} copies written, {counts.present} were there")


@click.command()
@study_option
@json_option
@click.option("--deep", is_flag=True, help="Read everything again, also what was found whole before and has not been written anew.")
@click.option("--repair", is_flag=True, help="Rewrite opaque copies; forget missing or damaged variants so that download makes them again.")
def check(study_folder: Path, as_json: bool, deep: bool, repair: bool) -> None:
    """Check that every image is stored and published, whole and decodable; labelling is blocked while this fails.

    The first check reads and decodes every variant and every opaque copy; later ones read what was written since.

    \b
    Examples:
      retest check --study my-study
      retest check --study my-study --repair
    """
    with opened(study_folder) as study:
        report = check_stage.check_images(study, deep=deep, repair=repair, progress=bars)
    if as_json:
        print_json(
            {"ok": report.ok, "images": report.images, "repaired": report.repaired, "missing": report.missing, "findings": report.findings}
        )
    else:
        if report.findings:
            print_table("Findings", ["image", "what", "problem"], [(f.image_id, f.what, f.problem) for f in report.findings[:50]])
        for stage, missing in report.missing.items():
            for what, number in missing.items():
                click.echo(f"  {stage}: {number} {what}")
        click.echo(f"{report.images} images checked, {len(report.findings)} findings, {report.repaired} repaired")
    if not report.ok:
        raise click.exceptions.Exit(1)
