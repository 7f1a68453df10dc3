"""The command export."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import bars, json_option, opened, print_json, study_option


@click.command()
@click.argument("name")
@study_option
@json_option
@click.option("--format", "form", type=click.Choice(["imagefolder"]), default="imagefolder", show_default=True, help="Form of the export.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write.")
@click.option("--by-index", is_flag=True, help="Name class folders by class index, padded with zeros, instead of by wnid.")
def export(study_folder: Path, name: str, as_json: bool, form: str, out: Path, by_index: bool) -> None:
    """Export a revision as a folder of images with a manifest of checksums and attribution.

    \b
    Example:
      retest export my-a-1 --study my-study --out my-a-1/
    """
    from retest.stages.export import export_imagefolder

    with opened(study_folder) as study:
        done = export_imagefolder(study, name, out, by_index=by_index, progress=bars)
    if as_json:
        print_json({"format": form, "folder": done.folder, "images": done.images, "written": done.written})
    else:
        click.echo(f"{done.images} images in {done.folder} ({done.written} written now)")
