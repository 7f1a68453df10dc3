"""Commands that look at answers: quality, workers, inspect."""

from __future__ import annotations

import csv
import webbrowser
from collections.abc import Iterable
from pathlib import Path

import click

from retest.cli._common import json_option, opened, print_json, print_table, study_option
from retest.labeling import ControlAccuracy
from retest.stages import label_judge as stage


@click.command()
@study_option
@json_option
@click.option("--threshold", default=0.7, show_default=True, help="Selection frequency whose crossings are counted.")
@click.option(
    "--posteriors",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Also write a CSV: frequency of every (image, class) beside Dawid-Skene, one-coin and MACE.",
)
def quality(study_folder: Path, as_json: bool, threshold: float, posteriors: Path | None) -> None:
    """Judge the answers: controls, agreement, flags, and what leaving out the flagged annotators would change.

    Flags are reasons to look; nothing is left out by itself.

    \b
    Example:
      retest label quality --study my-study
    """
    with opened(study_folder) as study:
        found = stage.judge(study, threshold=threshold)
        if posteriors is not None:
            _write_posteriors(posteriors, stage.posteriors(study))
    if as_json:
        print_json(_quality_figures(found))
    else:
        _print_quality(found, threshold)


def _quality_figures(found: stage.LabelQuality) -> dict[str, object]:
    report, change = found.report, found.sensitivity
    names = (
        "assignments_left_out",
        "mean_absolute_change",
        "max_absolute_change",
        "threshold",
        "now_above",
        "now_below",
        "without_answers",
    )
    return {
        "assignments": report.answers,
        "workers": len(report.workers),
        "controls": _controls(report.controls),
        "controls_by_class": {wnid: _controls(value) for wnid, value in report.controls_by_class.items()},
        "alpha": found.agreement.alpha,
        "median_duration_s": found.median_duration_s,
        "hourly_wage_cents": found.hourly_wage_cents,
        "flagged_workers": report.flagged_workers,
        "flagged_assignments": [{"assignment": f.assignment_id, "flags": [code for code, _ in f.flags]} for f in report.flagged],
        "without_flagged_workers": {name: getattr(change, name) for name in names},
    }


def _print_quality(found: stage.LabelQuality, threshold: float) -> None:
    report, change, flagged = found.report, found.sensitivity, found.report.flagged
    wage = "-" if found.hourly_wage_cents is None else f"{found.hourly_wage_cents / 100:.2f} USD at the median"
    rows = [
        ("valid answers", f"{report.answers:,} by {len(report.workers):,} annotators"),
        ("positive controls selected", _share(report.controls.positive)),
        ("negative controls left out", _share(report.controls.negative)),
        ("Krippendorff's alpha", "-" if found.agreement.alpha is None else f"{found.agreement.alpha:.3f}"),
        ("median duration", "-" if found.median_duration_s is None else f"{found.median_duration_s:.0f} s"),
        ("hourly wage", wage),
        ("flagged", f"{len(flagged):,} answers, {len(report.flagged_workers):,} annotators"),
    ]
    if report.flagged_workers:
        words = f"{change.mean_absolute_change:.3f} on average, {change.max_absolute_change:.2f} at most"
        moves = f"{change.now_above} rise to {threshold:g}, {change.now_below} fall below, {change.without_answers} keep no answer"
        rows += [("frequencies without them move", words), ("", moves)]
    print_table("", ["what", "value"], rows)
    for item in flagged:
        click.echo(f"  {item.assignment_id} by {item.worker}: {'; '.join(words for _, words in item.flags)}")


def _write_posteriors(path: Path, rows: Iterable[stage.PosteriorRow]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "wnid", "num_assignments", "selection_frequency", "dawid_skene", "one_coin", "mace"])
        count = 0
        for r in rows:
            count += 1
            writer.writerow([r.image_id, r.wnid, r.num_assignments, r.frequency, r.dawid_skene, r.one_coin, r.mace])
    click.echo(f"{path}: {count:,} rows", err=True)


@click.command()
@study_option
@json_option
def workers(study_folder: Path, as_json: bool) -> None:
    """List the annotators (by keyed hash) with their answers, controls, agreement with the others, and flags.

    \b
    Example:
      retest label workers --study my-study
    """
    with opened(study_folder) as study:
        found = stage.judge(study).report.workers
    if as_json:
        print_json(
            [
                {
                    "worker": w.worker,
                    "assignments": w.assignments,
                    "controls": _controls(w.controls),
                    "selected_share": w.selected / w.images if w.images else None,
                    "median_duration_s": w.median_duration_s,
                    "agreement": w.agreement,
                    "flagged_assignments": w.flagged_assignments,
                    "flags": [code for code, _ in w.flags],
                }
                for w in found
            ]
        )
        return
    columns = ["annotator", "answers", "positive controls", "negative controls", "selected", "median s", "agreement", "flags"]
    cells = [
        (
            w.worker,
            w.assignments,
            _share(w.controls.positive),
            _share(w.controls.negative),
            _share(w.selected / w.images if w.images else None),
            "-" if w.median_duration_s is None else f"{w.median_duration_s:.0f}",
            _share(w.agreement),
            "; ".join(words for _, words in w.flags),
        )
        for w in found
    ]
    print_table("", columns, cells)


@click.command()
@click.argument("hit")
@study_option
@json_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Write the page of the HIT here.")
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
def inspect(hit: str, study_folder: Path, as_json: bool, out: Path | None, show: bool) -> None:
    """Look at one HIT, by uuid or by the crowd's id: who selected what, delays, durations, controls.

    \b
    Example:
      retest label inspect 2c1a... --study my-study --out hit.html
    """
    from retest.web.inspection import inspection_page

    with opened(study_folder) as study:
        found = stage.inspect_hit(study, hit)
        path = study.folder / f"hit-{found.hit.uuid}.html" if show and out is None else out
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(inspection_page(study, found), encoding="utf-8")
    if as_json:
        print_json(_inspection_figures(found))
    else:
        _print_inspection(found)
    if path is not None:
        click.echo(str(path), err=as_json)
        if show and not webbrowser.open(path.resolve().as_uri()):
            click.echo("No browser could be opened; open the file yourself.", err=True)


def _inspection_figures(found: stage.HitInspection) -> dict[str, object]:
    answers = [
        {
            "assignment": a.assignment.id,
            "worker": a.assignment.worker,
            "status": str(a.assignment.status),
            "delay_s": a.delay_s,
            "duration_s": None if a.quality is None else a.quality.duration_s,
            "controls": None if a.quality is None else _controls(a.quality.controls),
            "selected": a.assignment.selected,
            "flags": [] if a.quality is None else [code for code, _ in a.quality.flags],
        }
        for a in found.answers
    ]
    images = [{"image": i.image_id, "role": i.role, "selected": len(i.selected_by), "selected_by": i.selected_by} for i in found.images]
    hit = {"uuid": found.hit.uuid, "hit_id": found.hit.hit_id, "wnid": found.hit.wnid, "excluded": found.excluded}
    return {**hit, "valid": found.valid, "answers": answers, "images": images}


def _print_inspection(found: stage.HitInspection) -> None:
    click.echo(f"HIT {found.hit.uuid} ({found.hit.hit_id or 'not published'}), class {found.class_name}, {found.valid} valid answers")
    rows = [
        (
            a.assignment.worker,
            str(a.assignment.status),
            "-" if a.delay_s is None else f"{a.delay_s:.0f}",
            "-" if a.quality is None or a.quality.duration_s is None else f"{a.quality.duration_s:.0f}",
            len(a.assignment.selected),
            "-" if a.quality is None else f"{_share(a.quality.controls.positive)} / {_share(a.quality.controls.negative)}",
            "" if a.quality is None else "; ".join(code for code, _ in a.quality.flags),
        )
        for a in found.answers
    ]
    print_table("", ["annotator", "status", "delay s", "duration s", "selected", "controls + / -", "flags"], rows)
    print_table("", ["image", "role", "selected"], [(i.image_id, i.role, f"{len(i.selected_by)} of {found.valid}") for i in found.images])


def _controls(value: ControlAccuracy) -> dict[str, float | int | None]:
    return {
        "positive": value.positive,
        "positive_shown": value.positive_shown,
        "negative": value.negative,
        "negative_shown": value.negative_shown,
    }


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


COMMANDS = (quality, workers, inspect)
