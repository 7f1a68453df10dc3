"""``retest people``: who may review, with which token and role."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import json_option, opened, print_json, print_table, stamp_now, study_option
from retest.cli._people_forget import forget

_ROLES = ("annotator", "reviewer", "admin")


@click.group()
def people() -> None:
    """Say who may review the study: named tokens with roles; forget an annotator on request.

    An annotator may look and annotate predictions, a reviewer may decide everything, an admin may also give tokens to others.

    \b
    Examples:
      retest people add --study my-study --name Ada --role reviewer
      retest people list --study my-study
    """


@people.command()
@study_option
@click.option("--name", required=True, help="Name under which decisions are recorded.")
@click.option("--role", type=click.Choice(_ROLES), default="reviewer", show_default=True, help="What they may do.")
def add(study_folder: Path, name: str, role: str) -> None:
    """Give somebody a token. Adding a name again replaces the token and ends older sessions.

    \b
    Example:
      retest people add --study my-study --name Ada --role reviewer
    """
    from retest.stages import review_people

    with opened(study_folder) as study:
        given = review_people.give_token(study, name, review_people.Role(role), stamp=stamp_now())
    click.echo(given.token)
    earlier = " The earlier token does not work any more." if given.replaced else ""
    click.echo(f"This is the token of {given.person.name} ({role}). It is shown only now.{earlier}", err=True)


@people.command()
@study_option
@click.option("--name", required=True, help="Whose token to take away.")
def revoke(study_folder: Path, name: str) -> None:
    """Take somebody's token away and end their sessions; what they decided stays.

    \b
    Example:
      retest people revoke --study my-study --name Ada
    """
    from retest.stages import review_people

    with opened(study_folder) as study:
        review_people.revoke(study, name, stamp=stamp_now())
    click.echo(f"{name} may not review any more.")


@people.command("list")
@study_option
@json_option
def list_(study_folder: Path, as_json: bool) -> None:
    """List who may review.

    \b
    Example:
      retest people list --study my-study --json
    """
    from retest.stages import review_people

    with opened(study_folder) as study:
        found = review_people.people(study)
    rows = [{"name": p.name, "role": str(p.role), "active": p.active, "since": p.since, "last_sign_in": p.seen} for p in found]
    if as_json:
        print_json({"people": rows})
        return
    print_table(
        "",
        ["name", "role", "may review", "since", "last sign-in"],
        [[r["name"], r["role"], "yes" if r["active"] else "no", r["since"], r["last_sign_in"] or "never"] for r in rows],
    )


people.add_command(forget)
