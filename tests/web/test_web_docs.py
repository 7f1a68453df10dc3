"""docs/labelling.md: its Python runs, its commands and options exist, its settings are settings."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
from web_server import KEYS, ServeThread, retest

from retest.cli import cli
from retest.crowd.taskserver import OPERATIONS
from retest.study.config import parse_config

TEXT = (Path(__file__).parents[2] / "docs" / "labelling.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return [text for found, text in re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE) if found == kind]


def test_every_command_and_option_exists():
    lines = [line.split("  #")[0].rstrip(" &") for block in blocks("") for line in block.splitlines() if line.startswith("retest ")]
    assert len(lines) >= 20
    for line in lines:
        arguments = shlex.split(line.partition(" # ")[0])[1:]
        command: click.Command = cli
        context = click.Context(cli, info_name="retest")
        while isinstance(command, click.Group):
            command = command.get_command(context, arguments[0])
            assert command is not None, line
            arguments = arguments[1:]
        command.make_parser(click.Context(command)).parse_args(args=arguments)


def test_settings_are_settings():
    for block in blocks("toml"):
        assert parse_config(tomllib.loads(block)).serve.tasks_per_participant == 5


def test_the_python_runs(study, capsys):
    with ServeThread(study, requester_keys=("my-lab", KEYS[1])) as server:
        signed = {"RETEST_SERVER_KEY_ID": "my-lab", "RETEST_SERVER_SECRET_KEY": KEYS[1]}
        retest("label", "submit", "--study", study, "--crowd", "server", "--endpoint", server.url, **signed)
        uuid = retest("label", "list", "--study", study).stdout.split("\n")[1].split()[0]
        names = {"URL": server.url, "STUDY": str(study), "HIT": uuid}
        first, second = blocks("python")
        exec(first.replace('"..."', repr(KEYS[1])), names)
        said = capsys.readouterr().out
        assert said.count("Assignable 3") == 4
        assert uuid in said
        exec(second.replace("view_hit(open", "view = view_hit(opened := open").replace("), HIT)", "), HIT)"), names)
        names["opened"].close()
        assert names["view"]._repr_html_().startswith("<iframe srcdoc=")
        assert names["view"].record.hit.uuid == uuid


def test_every_operation_is_named():
    listed = re.search(r"is there: ([^.]+)\.", TEXT.replace("\n", " "))[1]
    assert {name.strip() for name in listed.split(",")} == set(OPERATIONS)
