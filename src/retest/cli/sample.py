"""The command sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from retest.cli._common import json_option, opened, print_json, stamp_now, study_option
from retest.cli._sampling_files import read_reference, read_strata, read_thresholds
from retest.labeling.two_pass import ACCEPTED_FREQUENCY
from retest.sampling import CIFAR101_V4, CIFAR101_V6, SampleResult, SamplingParameters, StratifiedParameters
from retest.stages import sample as stage
from retest.stages.two_pass import has_judgements
from retest.study import Study

F = TypeVar("F", bound=Callable[..., Any])
_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
_PRESETS: Final = {"cifar10.1-v4": CIFAR101_V4, "cifar10.1-v6": CIFAR101_V6}


def _stratified_options(command: F) -> F:
    """An option per field of :class:`StratifiedParameters`; the dataclass gives names, defaults and help."""
    for setting in reversed(dataclasses.fields(StratifiedParameters)):
        name = "stratum_threshold" if setting.name == "threshold" else setting.name
        kind = {"top_strata": int, "divisor": float, "min_quota": float, "threshold": float}.get(setting.name, str)
        command = click.option(f"--{name.replace('_', '-')}", name, type=kind, help=f"stratified: {setting.metadata['help']}.")(command)
    return command


@click.command()
@click.argument("strategy", type=click.Choice(stage.STRATEGIES))
@study_option
@json_option
@click.option("--name", help="Name of the revision, such as mystudy-a-1. Required unless --dry-run.")
@click.option("--per-class", type=click.IntRange(1), help="Images per class.")
@click.option("--seed", type=int, help="Seed of the one random generator.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Least selection frequency of the threshold strategy.")
@click.option("--class-thresholds", type=_FILE, help="JSON file wnid -> threshold.")
@click.option("--allow-upward-sampling", is_flag=True, help="Fill a short bin from the nearest higher one.")
@click.option("--allow-invalid", is_flag=True, help="Store the set although some class lacks images.")
@click.option("--starting-from", metavar="NAME", help="Carry the usable images of this revision over.")
@click.option("--dry-run", is_flag=True, help="Show the report of what is missing and why; store nothing.")
@click.option("--reference", type=_FILE, help="stratified: reference counts, JSON {wnid: {stratum: count}} or CSV wnid,stratum,count.")
@click.option("--strata", type=_FILE, help="stratified: JSON {candidate: stratum} or CSV candidate,stratum; else the search terms.")
@click.option("--preset", type=click.Choice(list(_PRESETS)), help="stratified: start from the settings of a published set.")
@_stratified_options
def sample(study_folder: Path, strategy: str, as_json: bool, name: str | None, dry_run: bool, **options: Any) -> None:
    """Sample a new test set from the labelled, reviewed candidates and store it as a revision.

    Strategies: threshold (Threshold0.7), matched-frequency, top-images, stratified (match a sub-category histogram, as CIFAR-10.1
    did with keywords), original-annotated, original.

    \b
    Examples:
      retest sample threshold --study my-study --per-class 10 --seed 1 --name my-a-1
      retest sample matched-frequency --study my-study --name my-b-2 --starting-from my-b-1
      retest sample stratified --study my-study --reference counts.json --strata keywords.csv --name my-d-1
    """
    if name is None and not dry_run:
        raise click.UsageError("Give --name NAME, or --dry-run")
    with opened(study_folder) as study:
        parameters = _parameters(study.config.sampling, options)
        _warn_of_stray_thresholds(study, parameters)
        done = stage.sample(
            study,
            strategy,
            name=name or "(dry run)",
            parameters=parameters,
            stratification=_accepted_only(study, _stratification(strategy, options)),
            stamp=stamp_now(),
            starting_from=options["starting_from"],
            allow_invalid=options["allow_invalid"],
            store=not dry_run,
        )
    _print_sample(done, as_json=as_json, dry_run=dry_run)
    if not done.result.is_valid and not options["allow_invalid"]:
        raise click.exceptions.Exit(1)


def _parameters(configured: SamplingParameters, options: dict[str, Any]) -> SamplingParameters:
    given = {key: options[key] for key in ("per_class", "seed", "threshold") if options[key] is not None}
    if options["class_thresholds"] is not None:
        given["class_thresholds"] = read_thresholds(options["class_thresholds"])
    if options["allow_upward_sampling"]:
        given["allow_upward_sampling"] = True
    return dataclasses.replace(configured, **given)


def _warn_of_stray_thresholds(study: Study, parameters: SamplingParameters) -> None:
    """A mistyped wnid would otherwise leave its class at the general threshold unnoticed."""
    with study.database.read() as tables:
        stray = sorted(parameters.class_thresholds.keys() - {info.wnid for info in tables.classes.all()})
    if stray:
        shown = ", ".join(stray[:5]) + (f" and {len(stray) - 5} more" if len(stray) > 5 else "")
        click.echo(f"Warning: class thresholds for classes that the study does not have: {shown}", err=True)


def _stratification(strategy: str, options: dict[str, Any]) -> stage.Stratification | None:
    names = {("stratum_threshold" if f.name == "threshold" else f.name): f.name for f in dataclasses.fields(StratifiedParameters)}
    given = {field: options[option] for option, field in names.items() if options[option] is not None}
    if strategy != "stratified":
        stray = [name for name in ("reference", "strata", "preset", *names) if options[name] is not None]
        if stray:
            raise click.UsageError(f"--{stray[0].replace('_', '-')} is an option of the strategy stratified only")
        return None
    if options["reference"] is None:
        raise click.UsageError("The strategy stratified needs --reference FILE")
    if options["allow_upward_sampling"]:
        given.setdefault("shortfall", "upward")
    settings = dataclasses.replace(_PRESETS[options["preset"]] if options["preset"] else StratifiedParameters(), **given)
    strata = None if options["strata"] is None else read_strata(options["strata"])
    return stage.Stratification(read_reference(options["reference"]), strata, settings)


def _accepted_only(study: Study, stratification: stage.Stratification | None) -> stage.Stratification | None:
    """Where candidates were labelled in two passes and no threshold is asked for: only what these accepted."""
    if stratification is None or stratification.parameters.threshold is not None or not has_judgements(study):
        return stratification
    click.echo(f"Only candidates that the two passes accepted (--stratum-threshold {ACCEPTED_FREQUENCY:g})", err=True)
    return dataclasses.replace(stratification, parameters=dataclasses.replace(stratification.parameters, threshold=ACCEPTED_FREQUENCY))


def _print_sample(done: stage.Sampled, *, as_json: bool, dry_run: bool) -> None:
    result = done.result
    if as_json:
        print_json(
            {
                "name": None if dry_run else done.name,
                "stored": done.stored,
                "is_valid": result.is_valid,
                "images": len(result.images),
                "unusable": result.unusable,
                "shortfalls": result.shortfalls,
                "dropped": result.dropped,
            }
        )
        return
    click.echo(f"{len(result.images)} images of {len(result.classes)} classes by {result.sampling_function}, seed {result.seed}")
    for reason, number in result.unusable.items():
        click.echo(f"  unusable candidates: {number} ({reason})")
    _print_shortfalls(result)
    if dry_run:
        click.echo("Nothing was stored (dry run)")
    elif done.stored:
        click.echo(f"Stored as {done.name}")
    elif result.is_valid:
        click.echo(f"{done.name} is there already, with the same images")
    else:
        click.echo(
            "Not stored, because it is incomplete. Label more candidates, or use --allow-upward-sampling or --allow-invalid", err=True
        )


def _print_shortfalls(result: SampleResult) -> None:
    for report in result.shortfalls[:20]:
        click.echo(f"  {report}")
    if len(result.shortfalls) > 20:
        click.echo(f"  ... and {len(result.shortfalls) - 20} more classes (all with --json)")
