"""Commands of labelling in two passes: sheet, record, show."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import click

from retest.cli._common import json_option, opened, print_json, print_table, stamp_now, study_option
from retest.cli._files import read_csv, read_json
from retest.errors import InputError
from retest.labeling.two_pass import Pass, Verdict
from retest.stages import two_pass as stage

_WORDS = {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}
_STEP = click.option("--pass", "step", type=click.Choice([str(step) for step in Pass]), required=True, help="Which pass.")
_LABELLER = click.option("--labeller", required=True, help="Name of the person who judges; stored with every judgement.")


@click.group("two-pass")
def two_pass() -> None:
    """Label by named people in two passes with reconciliation, as CIFAR-10.1 was made.

    \b
    Examples:
      retest label two-pass sheet --study my-study --pass first --labeller ann --out first.html
      retest label two-pass record first.csv --study my-study --pass first --labeller ann
    """


@two_pass.command()
@study_option
@_STEP
@_LABELLER
@click.option("--class", "wnid", default=None, help="Only candidates of this class.")
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1), help="At most so many images.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Page to write (.html), or a CSV to fill in.")
def sheet(study_folder: Path, step: str, labeller: str, wnid: str | None, limit: int, out: Path) -> None:
    """Write the candidates that a labeller is to judge: a page with images that saves a CSV, or the CSV to fill in.

    \b
    Examples:
      retest label two-pass sheet --study my-study --pass first --labeller ann --class cat --out cats.html
      retest label two-pass sheet --study my-study --pass second --labeller bob --out second.csv
    """
    from retest.web.two_pass import sheet_page

    with opened(study_folder) as study:
        items = stage.waiting(study, Pass(step), labeller=labeller, wnid=wnid, limit=limit)
    if out.suffix.lower() in (".html", ".htm"):
        text = sheet_page(items, step=Pass(step), labeller=labeller)
    else:
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["candidate", "selected", "class", "found_by", "photo", "remarks"])
        writer.writerows([i.candidate.id, "", i.class_name, i.candidate.search_key, i.candidate.photo_id, i.remarks] for i in items)
        text = table.getvalue()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    click.echo(f"{len(items)} candidates for {labeller}'s {step} pass in {out}")


@two_pass.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@study_option
@_STEP
@_LABELLER
@json_option
def record(file: Path, study_folder: Path, step: str, labeller: str, as_json: bool) -> None:
    """Enter judgements: FILE is CSV with the columns candidate and selected (yes or no), or JSON {"CANDIDATE": true}.

    Rows without yes or no are left for later. Entering a file again changes nothing; a corrected one replaces what it corrects.

    \b
    Example:
      retest label two-pass record cats.csv --study my-study --pass first --labeller ann
    """
    judged = read_judgements(file)
    with opened(study_folder) as study:
        done = stage.record(study, Pass(step), labeller, judged, stamp=stamp_now())
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.new} judgements new, {done.changed} changed, {done.unchanged} as before")


@two_pass.command()
@study_option
@json_option
@click.option("--verdict", type=click.Choice([str(verdict) for verdict in Verdict]), help="Also list the candidates with this verdict.")
def show(study_folder: Path, as_json: bool, verdict: str | None) -> None:
    """Show verdicts, how far the passes agree, and what waits for whom.

    \b
    Examples:
      retest label two-pass show --study my-study
      retest label two-pass show --study my-study --verdict open
    """
    with opened(study_folder) as study:
        found = stage.state(study)
    listed = [outcome for outcome in found.outcomes.values() if outcome.verdict == verdict]
    waits = Counter(str(outcome.waits_for) for outcome in found.outcomes.values() if outcome.waits_for is not None)
    counts = {str(one): found.count(one) for one in Verdict}
    if as_json:
        candidates = [{"candidate": o.image_id, "verdict": o.verdict, "reason": o.reason} for o in listed]
        figures = {**counts, "untouched": found.untouched, "waits_for": dict(waits), "agreement": found.agreement}
        print_json({**figures, "candidates": candidates})
        return
    rows = [*counts.items(), ("not judged yet", found.untouched), *((f"waits for: {name}", n) for name, n in sorted(waits.items()))]
    print_table("Two passes", ["what", "candidates"], rows)
    share = found.agreement
    if share.both:
        kappa = "undefined" if share.kappa is None else f"{share.kappa:.3f}"
        click.echo(f"The passes agree about {share.agreed} of {share.both} images (Cohen's kappa {kappa})")
    for outcome in listed:
        click.echo(f"  {outcome.image_id}: {outcome.reason}")


def read_judgements(path: Path) -> dict[str, bool]:
    """candidate id -> yes or no, from CSV or JSON.

    Raises:
        InputError: the file has another form, or a candidate comes twice.
    """
    remedy = 'Write CSV with the columns candidate and selected (yes or no), or JSON {"CANDIDATE": true}'
    rows = _json_rows(path, remedy) if path.suffix.lower() == ".json" else _csv_rows(path, remedy)
    judged: dict[str, bool] = {}
    for candidate, word in rows:
        if not word:
            continue
        if word.lower() not in _WORDS:
            raise InputError(f"{word!r} is neither yes nor no", item=f"{path} {candidate}", remedy=remedy)
        if candidate in judged:
            raise InputError("comes twice", item=f"{path} {candidate}", remedy="Give each candidate once")
        judged[candidate] = _WORDS[word.lower()]
    if not judged:
        raise InputError("holds no judgement", item=str(path), remedy=remedy)
    return judged


def _json_rows(path: Path, remedy: str) -> list[tuple[str, str]]:
    table = read_json(path, remedy=remedy)
    if not isinstance(table, dict) or not all(isinstance(value, bool) for value in table.values()):
        raise InputError("is no JSON object candidate -> true or false", item=str(path), remedy=remedy)
    return [(candidate, "yes" if value else "no") for candidate, value in table.items()]


def _csv_rows(path: Path, remedy: str) -> list[tuple[str, str]]:
    rows = read_csv(path, ("candidate", "selected"), remedy=remedy)
    return [(row["candidate"].strip(), row["selected"].strip()) for row in rows]
