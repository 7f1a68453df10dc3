"""The command line: thin commands that parse, call a stage and print.

Commands are imported when they are used, so that ``retest --help`` starts fast.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from retest import __version__
from retest.errors import RetestError

# command -> (module of this package, summary shown by --help)
_COMMANDS = {
    "demo": ("demo", "Run a whole replication study on embedded data; ends with the path of report.html."),
    "init": ("study", "Make a study folder: study.toml, study.db, blobs/."),
    "status": ("study", "Show counts per stage and what to do next."),
    "benchmark": ("study", "Register the classes and original images of the benchmark."),
    "import": ("transfer", "Bring published data into a study."),
    "search": ("collect", "Find candidates in the study's source."),
    "download": ("collect", "Fetch images and store their three variants."),
    "publish": ("collect", "Give every image its opaque name and write the copy that annotators see."),
    "check": ("collect", "Check that every image is stored and published."),
    "label": ("label", "Plan, preview, submit and collect labelling tasks (HITs)."),
    "serve": ("serve", "Serve the labelling pages, the review pages and the requester protocol."),
    "people": ("people", "Say who may review: tokens with roles; forget an annotator."),
    "neighbors": ("neighbors", "Find the nearest neighbours of every candidate."),
    "neighbors-of": ("neighbors", "Find nearest neighbours between two folders of images."),
    "duplicates": ("duplicates", "Review queue, resolution and statistics of near-duplicates."),
    "strata": ("strata", "Find the sub-categories that stratified sampling matches."),
    "sample": ("sample", "Sample a new test set."),
    "revision": ("revision", "List, show, compare, review, check and import test sets."),
    "export": ("export", "Export a test set in one of several forms, or the study in the published layout."),
    "evaluate": ("evaluate", "Run classifiers on test sets."),
    "accuracy": ("accuracy", "Accuracy table with intervals and ranks."),
    "disagreements": ("models", "Images that all models miss, and images on which they disagree most."),
    "models": ("models", "Find models that can be evaluated by name."),
    "fit": ("accuracy", "Fit new accuracy against original accuracy."),
    "plan": ("plan", "What a design can tell, and what it costs."),
    "report": ("report", "Write the HTML report."),
    "study": ("custody", "Copy, verify, back up and restore a whole study."),
    "take-down": ("takedown", "Take an image down: later test sets go without it."),
}

_FUNCTIONS = {"import": "import_"}


class _LazyGroup(click.Group):
    """A group whose commands live in modules that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"retest.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, _FUNCTIONS.get(cmd_name, cmd_name.replace("-", "_")))
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            # click proposes commands of other groups by itself; those of this one it has not seen.
            if near := get_close_matches(args[0], _COMMANDS):
                raise click.UsageError(f"{error.message} Did you mean {' or '.join(map(repr, near))}?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="retest")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Does my benchmark's test set still measure what it should?

    retest builds a new test set for an existing image-classification benchmark the way ImageNetV2 did for ImageNet, and puts
    models to the test on it.

    \b
    Examples:
      retest demo
      retest status my-study --json
    """
    ctx.obj = {"debug": debug}


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the ``retest`` command; errors are one or two lines, without a traceback unless ``--debug``."""
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    try:
        # A command that ends with click's Exit comes back with its code, one that simply ends with None.
        sys.exit(cli.main(args=arguments, prog_name="retest", standalone_mode=False))
    except click.exceptions.Abort:
        click.echo("Aborted. Run the same command again to go on where it stopped.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except RetestError as error:
        if debug:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (retest ... | head): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if debug:
            raise
        click.echo(f"Error: {_of_the_system(error)}", err=True)
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        click.echo(f"Internal error: {type(error).__name__}: {error}. This is a bug: run again with --debug and report it.", err=True)
        sys.exit(70)


def _of_the_system(error: OSError) -> RetestError:
    """What the operating system refused, in the words of all other errors."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "Free some space and run the same command again: finished work is kept" if full else "Check the path and its permissions"
    item = None if error.filename is None else str(error.filename)
    return RetestError(error.strerror or str(error), item=item, remedy=remedy if full or item else None)
