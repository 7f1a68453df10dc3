"""The commands of export: a revision in several forms, or the whole study in the published layout."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import bars, json_option, opened, print_json, study_option

_FORMS = ("imagefolder", "webdataset", "parquet", "huggingface", "croissant")


class _RevisionByDefault(click.Group):
    """A group whose first argument is the revision to export where it names no command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["revision", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_RevisionByDefault)
def export() -> None:
    """Export a test set, or the whole study in the published layout.

    A first argument that is no command is the name of a revision: "export NAME ..." means "export revision NAME ...".

    \b
    Examples:
      retest export my-a-1 --study my-study --out my-a-1/
      retest export imagenetv2-layout --study my-study --out layout/
    """


@export.command()
@click.argument("name")
@study_option
@json_option
@click.option("--format", "form", type=click.Choice(_FORMS), default="imagefolder", show_default=True, help="Form of the export.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write.")
@click.option("--by-index", is_flag=True, help="Name class folders by class index, padded with zeros, instead of by wnid.")
def revision(study_folder: Path, name: str, as_json: bool, form: str, out: Path, by_index: bool) -> None:
    """Export a revision with metadata, datasheet, attribution, Croissant description and checksums.

    Forms: imagefolder (CLASS/IMAGE.jpg), webdataset (tar shards), parquet (shards with the images' bytes), huggingface (a folder
    that datasets.load_dataset takes), croissant (the image folder, which every export describes in croissant.json).

    \b
    Examples:
      retest export my-a-1 --study my-study --out my-a-1/
      retest export my-a-1 --study my-study --format webdataset --out shards/
    """
    from retest.stages.export import export_revision

    with opened(study_folder) as study:
        done = export_revision(study, name, out, form=form, by_index=by_index, progress=bars)
    if as_json:
        print_json({"format": form, "folder": done.folder, "images": done.images, "written": done.written})
    else:
        click.echo(f"{done.images} images in {done.folder} ({done.written} written now)")


@export.command("imagenetv2-layout")
@study_option
@json_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="New or empty folder to write.")
def imagenetv2_layout(study_folder: Path, as_json: bool, out: Path) -> None:
    """Write the whole study in the layout of the published ImageNetV2 repository (OUT/data/...).

    Importing the result into an empty study gives an equal study.

    \b
    Example:
      retest export imagenetv2-layout --study my-study --out layout/
    """
    from retest.stages.layout import export_repository

    with opened(study_folder) as study:
        done = export_repository(study, out, progress=bars)
    if as_json:
        print_json({"folder": done.folder, "files": list(done.files)})
    else:
        click.echo(f"{len(done.files)} files below {done.folder}")
