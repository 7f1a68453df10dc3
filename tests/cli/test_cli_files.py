"""Files that users hand to commands: whatever is in them, a command ends with a message and never with an internal error."""

from __future__ import annotations

from contextlib import closing

import pytest
from click.testing import CliRunner

from retest.cli import cli
from retest.cli._files import read_csv, read_json, read_lines, read_text
from retest.errors import InputError, RetestError
from retest.study import StudyConfig, create_study

BINARY = bytes(range(256))
TABLE = "model,top1\nA,0.5\nB,0.6\nC,0.7\n"


def failure(*arguments):
    """What the user reads."""
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code != 0
    assert isinstance(done.exception, (RetestError, SystemExit)), done.exception
    return str(done.exception) if isinstance(done.exception, RetestError) else done.stderr


@pytest.mark.parametrize("which", [0, 1])
def test_tables_of_accuracies_that_are_none(tmp_path, which):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(TABLE)
    bad.write_bytes(BINARY)
    tables = [good, good]
    tables[which] = bad
    arguments = [part for path in tables for part in ("--table", path)]
    assert f"{bad}: is not UTF-8 text. Save it as UTF-8" in failure("fit", *arguments)
    assert f"{bad}: is not UTF-8 text" in failure("report", *arguments, "--out", tmp_path / "report.html")


def test_a_list_of_baseline_models_that_is_none(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    (tmp_path / "models.txt").write_bytes(BINARY)
    tables = ("--table", tmp_path / "table.csv", "--table", tmp_path / "table.csv")
    assert "models.txt: is not UTF-8 text" in failure("fit", *tables, "--baseline", f"@{tmp_path}/models.txt")


def test_readers_take_what_spreadsheets_write(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("\ufeffcandidate,selected,note\r\na,yes,\r\nb\r\n".encode())
    assert read_csv(path, ("selected", "candidate")) == [{"selected": "yes", "candidate": "a"}, {"selected": "", "candidate": "b"}]
    assert read_csv(path)[0] == {"candidate": "a", "selected": "yes", "note": ""}
    path.write_bytes("\ufeff# names\r\n\r\n one \r\ntwo\r\n".encode())
    assert read_lines(path) == ["one", "two"]
    path.write_bytes('\ufeff{"a": [1]}'.encode())
    assert read_json(path) == {"a": [1]}


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_text, BINARY, "is not UTF-8 text"),
        (read_json, b"{", "is not JSON"),
        (read_json, b"[" * 100_000, "is not JSON"),
        (lambda path: read_csv(path, ("a", "b")), b"a,c\n1,2\n", "cannot be read as CSV \\(has no column 'b'\\)"),
        (read_csv, b"a\n" + b"x" * 200_000 + b"\n", "cannot be read as CSV"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, read, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert caught.value.remedy


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_text(tmp_path / "absent")


def test_a_preprocessing_that_is_not_there_is_said_before_anything_is_read(tmp_path):
    arguments = ("--dataset", tmp_path / "nowhere", "--models", "m.onnx", "--preprocessing", "m=absent.json", "--out", tmp_path / "out")
    done = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    assert done.exit_code == 2
    assert "there is no file absent.json" in done.stderr


@pytest.mark.parametrize("command", [["status"], ["study", "verify"]])
def test_a_folder_that_holds_a_study_is_not_one_but_leads_there(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    with closing(create_study(tmp_path / "demo" / "study", StudyConfig())):
        pass
    assert failure(*command, "demo") == "demo: there is no study in this folder. There is one in demo/study"
    assert failure(*command, "demo/digits").endswith("Create one with: retest init STUDY")
    for arguments in (["demo/study"], ["--study", "demo/study"]):
        assert CliRunner().invoke(cli, [*command, *arguments]).exit_code == 0
    assert "not both" in failure(*command, "demo/study", "--study", "demo/study")
    assert "Name the study" in failure(*command)
