"""The command demo."""

from __future__ import annotations

from pathlib import Path

import click

from retest.cli._common import bars


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo-study"), show_default=True, help="Folder for everything it makes."
)
@click.option("--small", is_flag=True, help="A reduced size that takes some seconds.")
@click.option("--database", default=None, metavar="URL", help="Database of the study, such as postgresql+psycopg:///demo. Default: a file.")
def demo(out: Path, small: bool, database: str | None) -> None:
    """Run a whole replication study on embedded data: handwritten digits, a simulated crowd, a simulated reviewer.

    Stopped anywhere, run it again: it goes on where it stopped.

    \b
    Example:
      retest demo --out my-demo
    """
    import dataclasses

    from retest.demo import DemoParameters, run_demo, small_demo
    from retest.report import accuracy_text

    parameters = small_demo() if small else DemoParameters()
    if database is not None:
        parameters = dataclasses.replace(parameters, database=database)
    result = run_demo(out, parameters=parameters, progress=bars, say=lambda line: click.echo(line, err=True))
    planted = result.planted
    click.echo("")
    for kind in planted.kinds:
        click.echo(f"Planted {kind.kind}: {kind.found} of {kind.planted} found")
    click.echo(
        f"Planted copies: recall {planted.recall or 0:.3f}, precision {planted.precision or 0:.3f} ({planted.marked} candidates marked)"
    )
    click.echo("")
    sets = [name for name in dict.fromkeys(row.dataset for row in result.rows) if name != "original"]
    click.echo(accuracy_text(result.rows, original="original", datasets=sets, labels=result.labels, notes=result.notices))
    click.echo(result.report)
