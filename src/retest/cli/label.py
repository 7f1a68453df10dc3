"""Commands of labelling: plan, submit, progress, collect."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from retest.cli._common import bars, json_option, opened, print_json, print_table, stamp_now, study_option
from retest.crowd import SimulatedCrowd, SimulatedCrowdParameters
from retest.errors import UsageError
from retest.labeling import PlanEstimate
from retest.stages import label as stage
from retest.study import Study

_SIMULATED_START = "2026-01-01T00:00:00+00:00"


@click.group()
def label() -> None:
    """Plan, submit and collect labelling tasks (HITs)."""


@label.command()
@study_option
@json_option
@click.option("--originals", is_flag=True, help="Label original validation images (matched-frequency sampling needs their frequencies).")
@click.option("--dry-run", is_flag=True, help="Show the plan without storing it.")
def plan(study_folder: Path, as_json: bool, originals: bool, dry_run: bool) -> None:
    """Plan HITs for the images that still need answers, and state what they cost. Nothing is published.

    \b
    Example:
      retest label plan --study my-study
      retest label plan --study my-study --originals
    """
    with opened(study_folder) as study:
        made = stage.plan(study, stamp=stamp_now(), originals=originals, store=not dry_run)
    if as_json:
        print_json({"added": made.added, "estimate": made.estimate, "skipped": made.skipped, "hits": [hit.uuid for hit in made.hits]})
        return
    _print_estimate(made.estimate)
    for code, number in sorted(made.skipped.items()):
        if code != "selected":
            click.echo(f"  not planned: {number} ({code})")


def _print_estimate(estimate: PlanEstimate) -> None:
    rows = [
        ("HITs", f"{estimate.hits:,}"),
        ("assignments", f"{estimate.assignments:,}"),
        ("images to label", f"{estimate.images_to_label:,}"),
        ("reward", f"{estimate.reward_cents / 100:,.2f} USD"),
        ("fee (Mechanical Turk's)", f"{estimate.fee_cents / 100:,.2f} USD"),
        ("hours of work", f"{estimate.hours:,.1f} at {estimate.seconds_per_image:g} s per image"),
        ("hourly wage", f"{estimate.hourly_wage_cents / 100:,.2f} USD"),
        ("interval of a selection frequency", f"+- {estimate.frequency_half_width:.2f}"),
    ]
    print_table("Plan", ["what", "value"], rows)


@label.command()
@study_option
@json_option
@click.option("--crowd", "backend", default="simulated", show_default=True, help="Who answers. Only 'simulated' so far.")
@click.option("--seed", default=0, show_default=True, help="Seed of the simulated annotators.")
def submit(study_folder: Path, as_json: bool, backend: str, seed: int) -> None:
    """Publish the planned HITs, each at most once.

    \b
    Example:
      retest label submit --study my-study --crowd simulated
    """
    with opened(study_folder) as study, closing(_open_crowd(study, backend, seed)) as crowd:
        done = stage.submit(study, crowd, stamp=stamp_now(), progress=bars)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.published} HITs published on {crowd.name}, {done.cost_cents / 100:.2f} USD")
        for uuid, problem in done.failures.items():
            click.echo(f"  failed: {uuid}: {problem}", err=True)
    if done.failures:
        raise click.exceptions.Exit(1)


@label.command()
@study_option
@json_option
def progress(study_folder: Path, as_json: bool) -> None:
    """Show how many published HITs have 0, 1, ... valid answers.

    \b
    Example:
      retest label progress --study my-study
    """
    with opened(study_folder) as study:
        histogram = stage.answer_histogram(study)
    if as_json:
        print_json({"hits_by_valid_answers": histogram})
    else:
        print_table("", ["valid answers", "HITs"], list(histogram.items()))


@label.command()
@study_option
@json_option
@click.option("--crowd", "backend", default="simulated", show_default=True, help="Who answered. Only 'simulated' so far.")
@click.option("--seed", default=0, show_default=True, help="Seed of the simulated annotators.")
def collect(study_folder: Path, as_json: bool, backend: str, seed: int) -> None:
    """Fetch answers and derive the selection frequencies.

    \b
    Example:
      retest label collect --study my-study
    """
    with opened(study_folder) as study, closing(_open_crowd(study, backend, seed)) as crowd:
        found = stage.collect(study, crowd, progress=bars)
        stage.compute_frequencies(study)
    if as_json:
        print_json({"new_answers": found.new_answers, "hits_by_valid_answers": found.histogram, "unreadable": found.unreadable})
    else:
        click.echo(f"{found.new_answers} new answers from {crowd.name}")
        for problem in found.unreadable:
            click.echo(f"Left out: {problem}", err=True)


def _open_crowd(study: Study, backend: str, seed: int) -> SimulatedCrowd:
    from retest.stages.simulate import simulated_crowd

    if backend != "simulated":
        raise UsageError(f"unknown crowd {backend!r}", item="--crowd", remedy="Use simulated")
    return simulated_crowd(study, parameters=SimulatedCrowdParameters(seed=seed), start_time=_SIMULATED_START)
