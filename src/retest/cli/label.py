"""Commands of labelling: plan, preview, submit, progress, collect, invite; the others lie in the modules named at the end."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from retest.cli import _label_judge, _label_manage, _two_pass
from retest.cli._common import bars, json_option, opened, print_json, print_table, stamp_now, study_option
from retest.cli._label_crowd import CrowdChoice, crowd_options, image_url_of, opened_crowd
from retest.labeling import PlanEstimate, assignments_for_width
from retest.stages import label as stage
from retest.stages import label_crowd
from retest.study import Study


@click.group()
def label() -> None:
    """Plan, publish, answer, collect and judge labelling tasks (HITs).

    \b
    Examples, in the order of a round of labelling:
      retest label plan --study my-study
      retest label submit --study my-study --crowd simulated
      retest label collect --study my-study
    """


@label.command()
@study_option
@json_option
@click.option("--originals", is_flag=True, help="Label original validation images (matched-frequency sampling needs their frequencies).")
@click.option("--dry-run", is_flag=True, help="Show the plan without storing it.")
@click.option("--target", type=float, default=None, help="Instead of a plan: how many annotators give +- this (e.g. 0.1), and the cost.")
def plan(study_folder: Path, as_json: bool, originals: bool, dry_run: bool, target: float | None) -> None:
    """Plan HITs for the images that still need answers, and state what they cost. Nothing is published.

    \b
    Examples:
      retest label plan --study my-study
      retest label plan --study my-study --originals
      retest label plan --study my-study --target 0.15
    """
    with opened(study_folder) as study:
        asked = study if target is None else _with_target(study, target)
        made = stage.plan(asked, stamp=stamp_now(), originals=originals, store=not dry_run and target is None)
        number = asked.config.labeling.assignments_per_hit
        waiting = stage.waiting_hits(study)
    if as_json:
        extra = {} if target is None else {"target": target, "assignments_per_hit": number}
        figures = {"added": made.added, "estimate": made.estimate, "skipped": made.skipped, "hits": [h.uuid for h in made.hits]}
        print_json({**figures, "waiting": waiting, **extra})
        return
    _print_estimate(made.estimate)
    for code, count in sorted(made.skipped.items()):
        if code != "selected":
            click.echo(f"  not planned: {count} ({code})")
    if waiting:
        number_waiting = "1 HIT waits" if waiting == 1 else f"{waiting} HITs wait"
        click.echo(f"{number_waiting} to be published: retest label submit (a look first: retest label preview)")
    if target is not None:
        click.echo(f"For +- {target:g}: {number} annotators per HIT. Nothing is stored; set [labeling] assignments_per_hit = {number}")


def _with_target(study: Study, target: float) -> Study:
    cost = study.config.cost
    number = assignments_for_width(target, expected_frequency=cost.expected_frequency, confidence=cost.confidence)
    labeling = replace(study.config.labeling, assignments_per_hit=number, min_assignments=number)
    return replace(study, config=replace(study.config, labeling=labeling))


def _print_estimate(estimate: PlanEstimate) -> None:
    rows = [
        ("HITs", f"{estimate.hits:,}"),
        ("assignments", f"{estimate.assignments:,}"),
        ("images to label", f"{estimate.images_to_label:,}"),
        ("reward", f"{estimate.reward_cents / 100:,.2f} USD"),
        ("fee (Mechanical Turk's)", f"{estimate.fee_cents / 100:,.2f} USD"),
        ("together", f"{(estimate.reward_cents + estimate.fee_cents) / 100:,.2f} USD"),
        ("hours of work", f"{estimate.hours:,.1f} at {estimate.seconds_per_image:g} s per image"),
        ("hourly wage", f"{estimate.hourly_wage_cents / 100:,.2f} USD"),
        ("interval of a selection frequency", f"+- {estimate.frequency_half_width:.2f}"),
    ]
    print_table("Plan", ["what", "value"], rows)


@label.command()
@study_option
@click.option("--hit", "uuid", default=None, metavar="UUID", help="Which HIT; default: the first that waits to be published.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Folder to write; default: STUDY/preview.")
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
def preview(study_folder: Path, uuid: str | None, out: Path | None, show: bool) -> None:
    """Write the real page of a planned HIT to a file. Nothing is published, and the page cannot be handed in.

    \b
    Example:
      retest label preview --study my-study --open
    """
    from retest.crowd import render_page

    with opened(study_folder) as study:
        made = stage.preview(study, uuid=uuid)
        folder = study.folder / "preview" if out is None else out
        for url, data in made.images.items():
            path = folder / url
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        page = folder / "preview.html"
        page.write_text(render_page(made.task), encoding="utf-8")
    click.echo(f"HIT {made.task.hit.uuid}: {len(made.images)} images of class {made.task.info.name}")
    click.echo(str(page))
    if show and not webbrowser.open(page.resolve().as_uri()):
        click.echo("No browser could be opened; open the file yourself.", err=True)


@label.command()
@study_option
@json_option
@crowd_options
@click.option("--image-url", default=None, metavar="URL", help="Address under which annotators' browsers find the study's public/ images.")
def submit(study_folder: Path, as_json: bool, choice: CrowdChoice, image_url: str | None) -> None:
    """Publish the planned HITs, each at most once. For real money it asks for the word LIVE.

    \b
    Examples:
      retest label submit --study my-study --crowd simulated
      retest label submit --study my-study --crowd server --endpoint http://127.0.0.1:8000
      retest label submit --study my-study --crowd mturk --live
    """
    with opened(study_folder) as study, opened_crowd(study, choice) as crowd:
        confirmed = False
        if crowd.live:
            number, cost = stage.waiting_cost_cents(study, crowd)
            if number:
                click.echo(f"{number} HITs on {crowd.name} cost {cost / 100:.2f} USD, fees included.", err=True)
                confirmed = click.prompt("Type LIVE to publish", default="", show_default=False, err=True) == "LIVE"
        done = stage.submit(
            study,
            crowd,
            stamp=stamp_now(),
            image_url=image_url_of(study, choice, image_url),
            confirmed_live=confirmed,
            progress=bars,
        )
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.published} HITs published on {crowd.name}, {done.cost_cents / 100:.2f} USD")
    _label_manage.exit_with(done.failures)


@label.command()
@study_option
@json_option
@crowd_options
@click.option(
    "--watch", type=click.FloatRange(min=0.1), default=None, metavar="SECONDS", help="Ask the back end again until all is answered."
)
@click.option("--collected", is_flag=True, help="Count the collected answers instead of asking the back end.")
def progress(study_folder: Path, as_json: bool, choice: CrowdChoice, watch: float | None, collected: bool) -> None:
    """Show how many published HITs have 0, 1, ... valid answers.

    \b
    Examples:
      retest label progress --study my-study --collected
      retest label progress --study my-study --crowd server --watch 10
    """
    with opened(study_folder) as study:
        if collected:
            histogram: Mapping[int, int] = stage.answer_histogram(study)
            _print_histogram(histogram, as_json, {})
            return
        with opened_crowd(study, choice) as crowd:
            found = label_crowd.crowd_progress(study, crowd)
            if watch is not None and not found.done:
                with bars("Answers", total=found.assignments) as advance:
                    advance(shown := found.valid)
                    while not found.done:
                        time.sleep(watch)
                        found = label_crowd.crowd_progress(study, crowd)
                        advance(found.valid - shown)
                        shown = found.valid
    names = ("hits", "unknown", "assignments", "valid", "rejected", "pending", "available", "ended")
    figures = {name: getattr(found, name) for name in names}
    _print_histogram(found.histogram, as_json, figures)


def _print_histogram(histogram: Mapping[int, int], as_json: bool, figures: dict[str, int]) -> None:
    if as_json:
        print_json({"hits_by_valid_answers": histogram, **figures})
        return
    if not any(histogram.values()):
        click.echo("No HIT is published yet. Publish the planned ones with: retest label submit")
        return
    top = max(histogram.values(), default=0)
    rows = [(number, hits, "█" * round(30 * hits / top) if top else "") for number, hits in histogram.items()]
    print_table("", ["valid answers", "HITs", ""], rows)
    if figures:
        click.echo(", ".join(f"{name} {number:,}" for name, number in figures.items()))


@label.command()
@study_option
@json_option
@crowd_options
def collect(study_folder: Path, as_json: bool, choice: CrowdChoice) -> None:
    """Fetch answers and derive the selection frequencies. Raw answers are kept; running it again adds only what is new.

    \b
    Examples:
      retest label collect --study my-study
      retest label collect --study my-study --crowd server
    """
    with opened(study_folder) as study, opened_crowd(study, choice) as crowd:
        found = stage.collect(study, crowd, stamp=stamp_now(), progress=bars)
        stage.compute_frequencies(study)
    if as_json:
        figures = {"new_answers": found.new_answers, "hits_by_valid_answers": found.histogram}
        print_json({**figures, "unreadable": found.unreadable, "ended": found.ended})
    else:
        click.echo(f"{found.new_answers} new answers from {crowd.name}")
        if found.ended:
            click.echo(f"{len(found.ended)} HITs ended before all had answered; retest label plan asks for what they lack")
        for problem in found.unreadable:
            click.echo(f"Left out: {problem}", err=True)


@label.command()
@study_option
@json_option
@click.option("--name", default=None, help="Whom to invite; the name stays in the study's participants.db.")
@click.option("--revoke", default=None, metavar="NAME", help="Close the invitation of this name.")
@click.option("--list", "show", is_flag=True, help="List the participants, without links (only their hashes are stored).")
@click.option("--public-url", default=None, help="Address of the labelling server; default: [serve] public_url, else this machine.")
def invite(study_folder: Path, as_json: bool, name: str | None, revoke: str | None, show: bool, public_url: str | None) -> None:
    """Make the personal link by which an annotator comes in. Inviting a name again replaces the link.

    \b
    Examples:
      retest label invite --study my-study --name ALICE
      retest label invite --study my-study --list
    """
    from contextlib import closing

    from retest.cli._label_crowd import LOCAL_SERVER
    from retest.web import open_participants

    if sum((name is not None, revoke is not None, show)) != 1:
        raise click.UsageError("Give one of --name NAME, --revoke NAME and --list")
    with opened(study_folder) as study, closing(open_participants(study)) as participants:
        if show:
            found = participants.all()
            if as_json:
                print_json([{"way": p.way, "name": p.name, "active": p.active, "answered": p.answered} for p in found])
            else:
                print_table(
                    "", ["name", "way", "active", "answered"], [(p.name, p.way, "yes" if p.active else "no", p.answered) for p in found]
                )
            return
        if revoke is not None:
            participants.revoke(revoke)
            click.echo(f"The link of {revoke} is closed.")
            return
        made = participants.invite(str(name), now=time.time())
        address = (study.config.serve.public_url if public_url is None else public_url) or LOCAL_SERVER
    link = f"{address.rstrip('/')}/join/{made.token}"
    if as_json:
        print_json({"link": link, "replaced": made.replaced})
        return
    if made.replaced:
        click.echo("The earlier link of this name has stopped working.", err=True)
    click.echo(link)


for _command in (*_label_manage.COMMANDS, *_label_judge.COMMANDS, _two_pass.two_pass):
    label.add_command(_command)
