"""The command line as a user meets it: help, usage errors, exit codes, errors without tracebacks."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import run_here
from retest.cli import _COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    """A process of its own; ``run_here`` where another test has seen that of this command."""
    return subprocess.run([sys.executable, "-m", "retest", *map(str, arguments)], capture_output=True, text=True)


def test_help_lists_every_command():
    text = run("--help").stdout
    for name in _COMMANDS:
        assert re.search(rf"^  {name} ", text, re.MULTILINE), name


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_has_help_with_an_example(name):
    import click

    from retest.cli import cli

    with click.Context(cli) as context:
        waiting = [cli.get_command(context, name)]
        while waiting:
            one = waiting.pop()
            waiting += one.commands.values() if isinstance(one, click.Group) else []
            assert re.search(r"Examples?(, .*)?:\n\s+retest ", one.help or ""), one.name
            for parameter in one.params:
                assert isinstance(parameter, click.Argument) or parameter.help, (one.name, parameter.name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'.\n"),
        (["sampel", "threshold"], "No such command 'sampel'. Did you mean 'sample'?"),
        (["label", "prewiew"], "No such command 'prewiew'."),
        (["status"], "Name the study"),
        (["sample", "best", "--study", "x"], "is not one of"),
        (["fit"], "--study STUDY or --table"),
        (["accuracy"], "Give --study"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, message):
    done = run_here(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_names_item_and_remedy_without_traceback(tmp_path):
    done = run("status", tmp_path / "none")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert str(tmp_path / "none") in done.stderr
    assert "retest init" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_system_refuses_names_item_and_remedy(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    done = run_here("demo", "--out", tmp_path / "notes.txt")
    assert (done.returncode, done.stderr) == (1, f"Error: {tmp_path}/notes.txt: File exists. Check the path and its permissions\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_without_a_file_name_says_what_helps():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "retest", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    remedy = "Free some space and run the same command again: finished work is kept"
    assert (done.returncode, done.stderr) == (1, f"Error: No space left on device. {remedy}\n")


def test_debug_shows_the_traceback(tmp_path):
    assert "Traceback" in run("--debug", "status", tmp_path / "none").stderr


def test_a_misspelt_setting_is_named(tmp_path):
    assert run_here("init", tmp_path / "s").returncode == 0
    path = tmp_path / "s" / "study.toml"
    path.write_text(path.read_text().replace("[labeling]", "[labeling]\nimages_to_lable = 40"))
    done = run("status", tmp_path / "s")
    assert done.returncode == 2
    assert "images_to_lable" in done.stderr
    assert "images_to_label" in done.stderr
    assert "study.toml" in done.stderr


def test_init_and_status(tmp_path):
    assert run("init", tmp_path / "s").returncode == 0
    done = run("status", "--study", tmp_path / "s", "--json")
    counts = json.loads(done.stdout)
    assert counts["candidates"] == 0
    assert counts["next"].startswith("retest benchmark")
    assert run_here("init", tmp_path / "s").returncode == 0  # again: no change, no error


def test_fit_of_two_tables(tmp_path):
    for name, shift in (("a", 0.0), ("b", -10.0)):
        rows = "".join(f"m{i},{60 + 3 * i + shift}\n" for i in range(6))
        (tmp_path / f"{name}.csv").write_text("model,top1\n" + rows)
    done = run("fit", "--table", tmp_path / "a.csv", "--table", tmp_path / "b.csv", "--bootstrap", "200", "--json")
    found = json.loads(done.stdout)
    assert found["slope"] == pytest.approx(1.0)
    assert found["intercept"] == pytest.approx(-10.0)
    assert found["n_models"] == 6
    (tmp_path / "b.csv").write_text("model,top1,n\n" + rows.replace("\n", ",nan\n"))
    broken = run_here("fit", "--table", tmp_path / "a.csv", "--table", tmp_path / "b.csv")
    assert (broken.returncode, broken.stderr.count("Traceback")) == (1, 0)
    assert f"{tmp_path / 'b.csv'}, row 1, column n: 'nan' is no number" in broken.stderr


def test_fit_shows_what_lies_above_the_line_of_a_baseline(tmp_path):
    for name, shift, robust in (("a", 0.0, 72.0), ("b", -10.0, 67.0)):
        rows = "".join(f"m{i},{60 + 3 * i + shift}\n" for i in range(6))
        (tmp_path / f"{name}.csv").write_text(f"model,top1\n{rows}robust,{robust}\n")
    (tmp_path / "standard.txt").write_text("".join(f"m{i}\n" for i in range(6)))
    tables = ("fit", "--table", tmp_path / "a.csv", "--table", tmp_path / "b.csv", "--bootstrap", "200")
    found = json.loads(run_here(*tables, "--baseline", f"@{tmp_path}/standard.txt", "--json").stdout)
    assert found["robustness"][0]["model"] == "robust"
    assert found["robustness"][0]["rho_points"] == pytest.approx(5.0)
    assert {row["model"] for row in found["robustness"] if row["in_baseline"]} == {f"m{i}" for i in range(6)}
    assert "+5.00 [" in run_here(*tables, "--baseline", "m0,m1,m2,m3,m4,m5").stdout
    assert len(json.loads(run_here(*tables, "--exclude", "robust", "--baseline", "all", "--json").stdout)["robustness"]) == 7
    wrong = run_here(*tables, "--baseline", "m0,m1,nobody")
    assert (wrong.returncode, "nobody" in wrong.stderr) == (2, True)


def test_plan_of_a_study():
    from retest.analysis import PlanParameters, plan_study

    done = run_here("plan", "study", "--classes", "10", "--per-class", "200", "--replications", "0", "--json")
    found = json.loads(done.stdout)
    expected = plan_study(PlanParameters(classes=10, per_class=200, replications=0))
    assert found["n_new"] == 2000
    assert found["half_width_points"] == pytest.approx(expected.half_width_points)
    assert found["cost"]["cost_cents"] == expected.cost.cost_cents
    assert run_here("plan", "study", "--drop", "1.5").returncode == 2
