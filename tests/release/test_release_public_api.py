"""The public names as an interactive session meets them: rooms by attribute, paths as texts, documented names."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import retest
from retest.errors import NotFoundError
from retest.study import Study, StudyConfig, StudySettings, create_study, open_study

MODULES = sorted(json.loads((Path(__file__).parent / "public_names.json").read_text()))


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_room_is_imported_when_it_is_named():
    code = "import sys, retest; light = 'numpy' not in sys.modules; print(light, retest.analysis.__name__, 'numpy' in sys.modules)"
    assert python(code) == "True retest.analysis True"


def test_dir_lists_the_rooms_and_imports_none():
    names = python("import sys, retest; print(*dir(retest), 'numpy' in sys.modules)").split()
    assert names[-1] == "False"
    assert {name.split(".")[1] for name in MODULES} <= set(names)
    assert "__version__" in names
    assert "importlib" not in names


def test_a_misspelt_room_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'retest' has no attribute 'anlysis'"):
        _ = retest.anlysis


def functions_of(module: str):
    room = importlib.import_module(module)
    for name in room.__all__:
        thing = getattr(room, name)
        if inspect.isfunction(thing):
            yield f"{module}.{name}", thing
        elif inspect.isclass(thing) and "__dataclass_fields__" not in vars(thing) and inspect.isfunction(vars(thing).get("__init__")):
            yield f"{module}.{name}", thing.__init__


@pytest.mark.parametrize("module", MODULES)
def test_whoever_takes_a_path_takes_a_text(module):
    """In a notebook a folder is a string; ``'str' / 'study.toml'`` would be a bare TypeError."""
    strict = [
        f"{name}({argument})"
        for name, function in functions_of(module)
        for argument, kind in function.__annotations__.items()
        if argument != "return" and "Path" in str(kind) and "str" not in str(kind)
    ]
    assert strict == []


def test_a_study_is_made_and_opened_by_a_text(tmp_path):
    config = StudyConfig(study=StudySettings(name="mine"))
    create_study(str(tmp_path / "mine"), config).close()
    with closing(open_study(str(tmp_path / "mine"))) as study:
        assert (study.folder, study.config) == (tmp_path / "mine", config)


def test_a_study_is_closed_at_the_end_of_a_with_block(tmp_path, monkeypatch):
    closed, close = [], Study.close
    monkeypatch.setattr(Study, "close", lambda study: (closed.append(study), close(study)))
    with create_study(tmp_path / "mine", StudyConfig(study=StudySettings(name="mine"))) as study:
        assert closed == []
    assert closed == [study]


def test_a_file_is_no_study(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(NotFoundError, match=r"notes\.txt: is a file, not the folder of a study\. Give the folder that holds study\.toml"):
        open_study(tmp_path / "notes.txt")
