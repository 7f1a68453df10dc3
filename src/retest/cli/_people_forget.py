"""The command people forget: annotators who want to be forgotten."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import json_option, opened, print_json, stamp_now, study_option


@click.command()
@click.argument("worker")
@study_option
@json_option
@click.option("--answers", is_flag=True, help="Also remove this person's answers and compute the selection frequencies anew.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(study_folder: Path, worker: str, as_json: bool, answers: bool, yes: bool) -> None:
    """Forget an annotator: WORKER is the hash that retest label workers shows, a raw worker id, a Prolific id or an invited name.

    What ties the answers to the person is removed and overwritten: the raw id in the study, the entry in the list of participants, the
    worker id in the labelling server's file. It does not come back when answers are collected again.

    \b
    Examples:
      retest people forget worker-1f2e3d4c5b6a7988 --study my-study
      retest people forget ALICE --study my-study --answers
    """
    from retest.stages.people import check_known, forget_worker
    from retest.web.app import open_participants

    with opened(study_folder) as study:
        participants = open_participants(study)
        try:
            known = participants.find(worker)
            check_known(study, worker, known)
            if not yes:
                what = "raw id and answers" if answers else "raw id"
                click.confirm(f"Remove {what} of {worker} for good?", abort=True, err=True)
            done = forget_worker(
                study, worker, stamp=stamp_now(), answers=answers, known_ids=known, forget_elsewhere=participants.forget
            )  # fmt: skip
        finally:
            participants.close()
    if as_json:
        print_json(done)
        return
    click.echo(f"Forgotten: {done.raw_ids} raw ids; {done.answers_removed} answers removed, {done.answers_kept} kept under the hash")
    if done.answers_removed:
        click.echo(f"{done.frequencies} selection frequencies changed, {done.short_hits} HITs now lack answers: see retest label plan")
    if done.revisions:
        click.echo(f"Sampled before, and unchanged: {', '.join(done.revisions)}; check them with: retest revision check NAME")
    click.echo("Backups made before still hold what was removed: renew them with retest study backup --prune")
