"""A study folder: made, opened, refused."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ordinary_user import without_privileges
from retest.errors import ConfigError, ConflictError, NotFoundError, RetestError
from retest.study import StudyConfig, StudySettings, create_study, open_study

CONFIG = StudyConfig(study=StudySettings(name="mine"))


def test_a_study_is_a_folder_with_settings_database_and_blobs(tmp_path: Path):
    with closing(create_study(tmp_path / "new/mine", CONFIG)) as study:
        study.blobs.put_new("a/b", b"x")
        assert study.config == CONFIG
    assert {path.name for path in (tmp_path / "new/mine").iterdir()} >= {"study.toml", "study.db", "blobs"}
    with closing(open_study(tmp_path / "new/mine")) as study:
        assert study.config == CONFIG
        assert study.blobs.get("a/b") == b"x"


def test_a_study_can_be_moved(tmp_path: Path):
    with closing(create_study(tmp_path / "here", CONFIG)) as study:
        study.blobs.put_new("a", b"x")
        with study.database.write() as tables:
            tables.settings.put("key", 1)
    (tmp_path / "here").rename(tmp_path / "there")
    with closing(open_study(tmp_path / "there")) as study, study.database.read() as tables:
        assert (tables.settings.get("key"), study.blobs.get("a")) == (1, b"x")


def test_a_study_is_found_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    create_study(Path("mine"), CONFIG).close()
    with closing(open_study(Path("mine"))) as study:
        monkeypatch.chdir("/")
        study.blobs.put_new("a", b"x")
        with study.database.read() as tables:
            assert tables.classes.count() == 0
        assert study.path("images") == tmp_path / "mine/images"
        assert study.path(str(tmp_path / "elsewhere")) == tmp_path / "elsewhere"


def test_creating_again_changes_nothing_and_other_settings_are_refused(tmp_path: Path):
    create_study(tmp_path, CONFIG).close()
    before = (tmp_path / "study.toml").stat().st_mtime_ns
    create_study(tmp_path, CONFIG).close()
    assert (tmp_path / "study.toml").stat().st_mtime_ns == before
    with pytest.raises(ConflictError, match="a study with other settings is here already") as caught:
        create_study(tmp_path, replace(CONFIG, study=StudySettings(name="other")))
    assert caught.value.item == str(tmp_path / "study.toml")
    assert caught.value.remedy


def test_the_database_may_lie_elsewhere(tmp_path: Path):
    (tmp_path / "fast disk").mkdir()
    settings = StudySettings(name="mine", database=f"sqlite:///{tmp_path / 'fast disk/x.db'}", blobs=str(tmp_path / "big disk"))
    with closing(create_study(tmp_path / "study", StudyConfig(study=settings))) as study:
        study.blobs.put_new("a", b"x")
    assert (tmp_path / "fast disk/x.db").is_file()
    assert (tmp_path / "big disk/a").read_bytes() == b"x"
    assert not (tmp_path / "study/study.db").exists()


def test_what_is_no_study(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(NotFoundError, match=r"there is no study in this folder.*retest init") as caught:
            open_study(folder)
        assert caught.value.item == str(folder)
    (tmp_path / "study.toml").write_text("[studdy]\n")
    with pytest.raises(ConfigError, match="Did you mean 'study'"):
        open_study(tmp_path)


def test_a_file_where_the_folder_should_be(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RetestError, match="file") as caught:
        create_study(tmp_path / "file", CONFIG)
    assert caught.value.remedy


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_folder_that_cannot_be_written():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with without_privileges():
            for path in (folder, folder / "new"):
                with pytest.raises(RetestError, match=r"[Pp]ermission") as caught:
                    create_study(path, CONFIG)
                assert str(folder) in str(caught.value.item)
                assert caught.value.remedy
        folder.chmod(0o755)
        assert list(folder.iterdir()) == []


def test_a_study_shows_its_name_and_folder(tmp_path):
    with closing(create_study(tmp_path, StudyConfig(study=StudySettings(name="lakes")))) as study:
        assert repr(study) == f"Study('lakes' in {str(tmp_path)!r})"
