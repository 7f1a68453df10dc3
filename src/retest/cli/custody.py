"""Commands that keep a study: study copy, verify, backup, restore."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import bars, json_option, opened, print_json, print_table, stamp_now, study_argument, study_option
from retest.store import open_blobs


@click.group()
def study() -> None:
    """Copy, verify, back up and restore a whole study.

    \b
    Examples:
      retest study backup /backups/my-study --study my-study
      retest study verify my-study --deep
    """


_database = click.option(
    "--database", default="sqlite:///study.db", show_default=True, metavar="URL", help="Database of the new study, empty or not there yet."
)
_blobs = click.option("--blobs", default="blobs", show_default=True, metavar="PLACE", help="Folder or URL for the images of the new study.")


@study.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@study_option
@json_option
@_database
@_blobs
@click.option("--share-blobs", is_flag=True, help="Leave the images where they are and use them from there.")
def copy(study_folder: Path, folder: Path, database: str, blobs: str, share_blobs: bool, as_json: bool) -> None:
    """Copy a study into a new FOLDER, for instance to move it to PostgreSQL; stopped and started again it goes on.

    Make the PostgreSQL database before, with: createdb my_study

    \b
    Examples:
      retest study copy my-study-pg --study my-study --database postgresql+psycopg:///my_study --share-blobs
      retest study copy back --study my-study-pg
    """
    from retest.stages.study_copy import copy_study

    with opened(study_folder) as source:
        done = copy_study(source, folder, database=database, blobs=blobs, share_blobs=share_blobs, progress=bars)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.rows} rows, {done.blobs} blobs ({done.blobs_written} written now) and {done.files} further files in {folder}")


@study.command()
@study_argument
@json_option
@click.option("--deep", is_flag=True, help="Also read every image and compare it with its checksum.")
def verify(study_folder: Path, as_json: bool, deep: bool) -> None:
    """Check that nothing of a study is lost or damaged; exit code 1 if something is.

    \b
    Example:
      retest study verify my-study --deep
    """
    from retest.stages.study_verify import verify_study

    with opened(study_folder) as checked:
        found = verify_study(checked, deep=deep, progress=bars)
    if as_json:
        print_json({"ok": found.ok, **{name: getattr(found, name) for name in ("rows", "blobs", "files", "deep", "problems", "more")}})
    else:
        click.echo(f"{found.rows} rows, {found.blobs} blobs{' read' if deep else ''}, {found.files} further files")
        if found.problems:
            print_table("", ["part", "item", "problem", "remedy"], [(p.part, p.item, p.problem, p.remedy) for p in found.problems])
        if found.more:
            click.echo(f"and {found.more} more problems")
        click.echo(
            "Everything is whole (retest check compares the published copies)."
            if found.ok
            else f"{len(found.problems) + found.more} problems"
        )
    if not found.ok:
        raise click.exceptions.Exit(1)


@study.command()
@click.argument("place")
@click.option("--study", "study_folder", type=click.Path(path_type=Path), help="The study's folder (made by retest init).")
@json_option
@click.option("--prune", is_flag=True, help="Remove older snapshots when the new one is there.")
@click.option("--list", "show", is_flag=True, help="Do not back up: list the snapshots.")
@click.option("--verify", "check", is_flag=True, help="Do not back up: read the newest snapshot and compare it with its checksums.")
@click.option("--snapshot", help="With --verify: this snapshot.")
def backup(place: str, study_folder: Path | None, as_json: bool, prune: bool, show: bool, check: bool, snapshot: str | None) -> None:
    """Add a snapshot of a study to the backup at PLACE, a folder or a URL such as s3://bucket/backup.

    The study may be in use. What earlier snapshots hold is not written again; stopped and started again it goes on.

    \b
    Examples:
      retest study backup /backups/my-study --study my-study
      retest study backup s3://bucket/my-study --study my-study --prune
      retest study backup /backups/my-study --list
      retest study backup /backups/my-study --verify
    """
    if sum((show, check, study_folder is not None)) != 1:
        raise click.UsageError("Give --study FOLDER to back up, or one of --list and --verify.")
    if show:
        _list_snapshots(place, as_json)
    elif check:
        _verify_snapshot(place, snapshot, as_json)
    elif study_folder is not None:
        _back_up(place, study_folder, prune, as_json)


def _back_up(place: str, study_folder: Path, prune: bool, as_json: bool) -> None:
    from retest.stages.study_backup import back_up

    with opened(study_folder) as source:
        done = back_up(source, open_blobs(place, base=Path.cwd()), stamp=stamp_now(), prune=prune, progress=bars)
    if as_json:
        print_json(done)
    else:
        click.echo(f"Snapshot {done.snapshot}: {done.rows} rows, {done.blobs} blobs ({done.blobs_written} written now), {done.files} files")
        if prune:
            click.echo(f"{done.removed} old pieces removed")
        for key in done.damaged[:10]:
            click.echo(f"Warning: {key} is not what the database says of it; see retest study verify --deep", err=True)
    if done.damaged:
        click.echo(f"{len(done.damaged)} blobs of the study are missing or damaged; the rest is backed up", err=True)
        raise click.exceptions.Exit(1)


def _list_snapshots(place: str, as_json: bool) -> None:
    from retest.stages.study_backup import list_snapshots

    found = list_snapshots(open_blobs(place, base=Path.cwd()))
    if as_json:
        names = ("study", "user", "time", "rows", "blobs", "blob_bytes")
        print_json([{"snapshot": name, **{key: getattr(made, key) for key in names}} for name, made in found])
    else:
        rows = [(name, s.study, s.user, sum(s.rows.values()), s.blobs, s.blob_bytes) for name, s in found]
        print_table("Snapshots", ["snapshot", "study", "by", "rows", "blobs", "bytes"], rows)


def _verify_snapshot(place: str, snapshot: str | None, as_json: bool) -> None:
    from retest.stages.study_backup import verify_backup

    name, problems = verify_backup(open_blobs(place, base=Path.cwd()), name=snapshot, progress=bars)
    if as_json:
        print_json({"snapshot": name, "ok": not problems, "problems": problems})
    else:
        for problem in problems[:50]:
            click.echo(problem)
        click.echo(f"Snapshot {name}: {f'{len(problems)} pieces are missing or damaged' if problems else 'everything is whole'}")
    if problems:
        raise click.exceptions.Exit(1)


@study.command()
@click.argument("place")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@json_option
@_database
@_blobs
@click.option("--snapshot", help="Which snapshot; by default the newest.")
def restore(place: str, folder: Path, as_json: bool, database: str, blobs: str, snapshot: str | None) -> None:
    """Make a study in FOLDER from the backup at PLACE; stopped and started again it goes on.

    \b
    Example:
      retest study restore /backups/my-study my-study-again
    """
    from retest.stages import study_backup

    source = open_blobs(place, base=Path.cwd())
    done = study_backup.restore(source, folder, name=snapshot, database=database, blobs=blobs, progress=bars)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{folder}: {done.rows} rows, {done.blobs} blobs and {done.files} further files of snapshot {done.snapshot}")
