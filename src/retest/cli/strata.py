"""The command strata."""

from __future__ import annotations

import json
from pathlib import Path

import click

from retest.cli._common import json_option, opened, print_json, print_table, study_option
from retest.cli._sampling_files import read_strata
from retest.records import Split


@click.command()
@study_option
@json_option
@click.option("--reference-out", type=click.Path(path_type=Path, dir_okay=False), help="Write the counts of original images here (JSON).")
@click.option("--strata-out", type=click.Path(path_type=Path, dir_okay=False), help="Write the candidates' sub-categories here (JSON).")
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice([str(s) for s in Split]),
    help="Original images to count; repeatable. [default: train, val]",
)
@click.option(
    "--original-strata", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Sub-categories of original images that do not lie in folders of their own: JSON or CSV candidate,stratum.",
)  # fmt: skip
def strata(
    study_folder: Path,
    as_json: bool,
    reference_out: Path | None,
    strata_out: Path | None,
    splits: tuple[str, ...],
    original_strata: Path | None,
) -> None:
    """Find sub-categories (strata, CIFAR-10.1's keywords) of candidates and original images, for: retest sample stratified.

    An image in CLASS/SUB-CATEGORY/FILE belongs to that sub-category; a candidate that a search term found belongs to the term.

    \b
    Example:
      retest strata --study my-study --reference-out counts.json --strata-out strata.json
    """
    from retest.stages.strata import find_strata

    given = None if original_strata is None else read_strata(original_strata)
    chosen = tuple(Split(split) for split in splits) or (Split.TRAIN, Split.VAL)
    with opened(study_folder) as study:
        found = find_strata(study, splits=chosen, originals=given)
    for path, content in ((reference_out, found.reference), (strata_out, {i: list(names) for i, names in found.candidates.items()})):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=1, ensure_ascii=False, default=dict) + "\n", encoding="utf-8")
    if as_json:
        print_json({"reference": found.reference, "candidates": len(found.candidates), "originals_without": found.without})
        return
    rows = [(wnid, name, number) for wnid, counts in found.reference.items() for name, number in counts.items()]
    print_table("Original images", ["class", "sub-category", "images"], rows)
    click.echo(f"{len(found.candidates)} candidates have a sub-category; {found.without} original images have none")
