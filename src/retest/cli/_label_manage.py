"""Commands about published HITs: list, approve, reject, expire, delete, check, exclude."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from retest.cli._common import (
    F,
    bars,
    json_option,
    opened,
    print_json,
    print_json_list,
    print_long_table,
    print_table,
    stamp_now,
    study_option,
)
from retest.cli._files import read_text
from retest.cli._label_crowd import CrowdChoice, crowd_options, opened_crowd
from retest.errors import InputError, UsageError
from retest.stages import label as label_stage
from retest.stages import label_crowd as stage

_LIST_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("list")
@study_option
@json_option
@click.option("--state", type=click.Choice(["planned", "published", "closed", "excluded"]), default=None, help="Only HITs in this state.")
def list_(study_folder: Path, as_json: bool, state: str | None) -> None:
    """List the study's HITs.

    \b
    Example:
      retest label list --study my-study --state published
    """
    with opened(study_folder) as study:
        rows = stage.list_hits(study, state=state)
        if as_json:
            print_json_list(rows)
            return
        columns = ["HIT", "class", "state", "id on the crowd", "wanted", "valid", "rejected", "images"]
        cells = ((r.uuid, r.wnid, r.state, r.hit_id, r.assignments, r.valid, r.rejected, r.images_to_label) for r in rows)
        print_long_table(columns, cells)


@click.command()
@click.argument("file", type=_LIST_FILE, required=False)
@study_option
@json_option
@crowd_options
@click.option("--all", "everything", is_flag=True, help="All collected answers that nobody has decided about.")
@click.option("--feedback", default="", help="What the annotators read, where the file gives nothing.")
@click.option("--override-rejection", is_flag=True, help="Approve answers that were rejected before.")
def approve(
    file: Path | None, study_folder: Path, as_json: bool, choice: CrowdChoice, everything: bool, feedback: str, override_rejection: bool
) -> None:
    """Approve answers: FILE has an assignment id per line, and after a comma, if you like, the feedback.

    \b
    Examples:
      retest label approve --study my-study --crowd server --all
      retest label approve good.csv --study my-study --crowd server
    """
    if (file is None) is not everything:
        raise click.UsageError("Give a FILE or --all")
    with opened(study_folder) as study, opened_crowd(study, choice) as crowd:
        if file is None:
            decisions = [stage.Decision(name, feedback) for name in stage.submitted_answers(study)]
        else:
            decisions = _read_decisions(file, feedback)
        done = stage.approve(study, crowd, decisions, stamp=stamp_now(), override_rejection=override_rejection, progress=bars)
        label_stage.compute_frequencies(study)
    _print_decided(done, "approved", as_json)


@click.command()
@click.argument("file", type=_LIST_FILE)
@study_option
@json_option
@crowd_options
@click.option("--feedback", default="", help="Why, for the annotators, where the file gives nothing; a rejection needs one.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reject(file: Path, study_folder: Path, as_json: bool, choice: CrowdChoice, feedback: str, yes: bool) -> None:
    """Reject answers: they are not paid and count nowhere. FILE as for approve. A person must confirm.

    \b
    Example:
      retest label reject bad.csv --study my-study --crowd server --feedback "All boxes were ticked"
    """
    decisions = _read_decisions(file, feedback)
    if not yes:
        click.confirm(f"Reject {len(decisions)} answers? Their annotators are not paid", abort=True, err=True)
    with opened(study_folder) as study, opened_crowd(study, choice) as crowd:
        done = stage.reject(study, crowd, decisions, stamp=stamp_now(), progress=bars)
        label_stage.compute_frequencies(study)
    _print_decided(done, "rejected", as_json)


def _read_decisions(path: Path, feedback: str) -> list[stage.Decision]:
    """CSV without header, or with the header assignment_id,feedback; empty lines and lines that begin with # are skipped."""
    text = read_text(path)
    decisions: dict[str, stage.Decision] = {}
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise InputError(f"is no CSV file ({error})", item=str(path), remedy="Save it as UTF-8 CSV") from error
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#") or (number == 1 and cells[0] == "assignment_id"):
            continue
        if len(cells) > 2 or not cells[0]:
            raise InputError(
                f"line {number} is not 'assignment id' or 'assignment id,feedback'",
                item=str(path),
                remedy='Put feedback that holds a comma into "quotes"',
            )
        if cells[0] in decisions:
            raise InputError(f"names {cells[0]} twice", item=str(path), remedy="Decide about every answer once")
        decisions[cells[0]] = stage.Decision(cells[0], cells[1] if len(cells) == 2 and cells[1] else feedback)
    return list(decisions.values())


def _print_decided(done: stage.DecisionCounts, word: str, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.decided} answers {word}, {done.unchanged} were so already")
    exit_with(done.failures)


def exit_with(failures: Mapping[str, str]) -> None:
    """List failures and end with exit code 1 if there are any."""
    for item, problem in failures.items():
        click.echo(f"  failed: {item}: {problem.removeprefix(f'{item}: ')}", err=True)
    if failures:
        raise click.exceptions.Exit(1)


def _closing_options(command: F) -> F:
    """``HITS`` or ``--all``, and what every command about a crowd takes: see :func:`_close`."""
    everything = click.option("--all", "everything", is_flag=True, help="All published HITs.")
    return click.argument("hits", nargs=-1)(study_option(json_option(crowd_options(everything(command)))))


@click.command()
@_closing_options
def expire(**options: Any) -> None:
    """Stop handing HITs out. What they still lack is planned anew by the next retest label plan.

    \b
    Example:
      retest label expire 2c1a... --study my-study --crowd server
    """
    _close(stage.expire, "closed", **options)


@click.command()
@_closing_options
def delete(**options: Any) -> None:
    """Remove finished HITs from the back end, never live ones. The study keeps them and their answers.

    \b
    Example:
      retest label delete --all --study my-study --crowd server
    """
    _close(stage.delete, "deleted", **options)


def _close(
    close: Callable[..., stage.ClosingCounts],
    word: str,
    *,
    hits: tuple[str, ...],
    study_folder: Path,
    as_json: bool,
    choice: CrowdChoice,
    everything: bool,
) -> None:
    if bool(hits) is everything:
        raise click.UsageError("Name HITs, or give --all")
    with opened(study_folder) as study, opened_crowd(study, choice) as crowd:
        done = close(study, crowd, hits or None, stamp=stamp_now(), progress=bars)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.done} HITs {word} on {crowd.name}")
    exit_with(done.failures)


@click.command()
@study_option
@json_option
@crowd_options
def check(study_folder: Path, as_json: bool, choice: CrowdChoice) -> None:
    """Compare study and crowd both ways. Exit code 1 if they differ.

    \b
    Example:
      retest label check --study my-study --crowd server
    """
    with opened(study_folder) as study, opened_crowd(study, choice) as crowd:
        found = stage.check_crowd(study, crowd)
    if as_json:
        print_json({"findings": found})
    elif found:
        print_table("", ["HIT", "kind", "problem", "what to do"], [(f.uuid, f.kind, f.problem, f.remedy) for f in found])
    else:
        click.echo(f"The study and {crowd.name} agree")
    if found:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("hits", nargs=-1, required=True)
@study_option
@click.option("--reason", required=True, help="Why these HITs count nowhere; kept with the decision.")
def exclude(hits: tuple[str, ...], study_folder: Path, reason: str) -> None:
    """Let HITs count nowhere; their raw answers stay.

    \b
    Example:
      retest label exclude 2c1a... --study my-study --reason "the page showed the wrong class"
    """
    with opened(study_folder) as study:
        for uuid in stage.unknown_hits(study, hits):
            raise UsageError("the study has no such HIT", item=uuid, remedy="See them with: retest label list")
        label_stage.exclude_hits(study, hits, reason=reason, stamp=stamp_now())
        label_stage.compute_frequencies(study)
    click.echo(f"{len(hits)} HITs excluded")


COMMANDS = (list_, approve, reject, expire, delete, check, exclude)
