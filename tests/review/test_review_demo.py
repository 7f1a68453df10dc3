"""Two sizes of the demo in one folder must not mix."""

from dataclasses import replace

import pytest

from retest.demo import DigitsParameters
from retest.demo.digits import write_digits
from retest.errors import ConflictError
from retest.files import write_atomic

SMALL = DigitsParameters(train=4, val=3, pool=6, exact_copies=2, near_copies=2, wrong_class=1, ambiguous=1, broken=1)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("stage", ["finished", "killed"])
def test_another_size_in_the_same_folder_is_refused_before_anything_is_written(tmp_path, stage):
    write_digits(tmp_path, SMALL)
    if stage == "killed":
        (tmp_path / "planted.json").unlink()
    before = content(tmp_path)
    with pytest.raises(ConflictError, match="Choose another"):
        write_digits(tmp_path, replace(SMALL, pool=8))
    assert content(tmp_path) == before


def test_a_killed_preparation_ends_with_the_same_files(tmp_path):
    whole = write_digits(tmp_path / "a", SMALL)
    write_digits(tmp_path / "b", SMALL)
    (tmp_path / "b/planted.json").unlink()
    for path in sorted((tmp_path / "b/pool").rglob("*.png"))[::3]:
        path.unlink()
    again = write_digits(tmp_path / "b", SMALL)
    assert again.planted == whole.planted
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_no_file_lies_in_the_pool_for_a_moment_only(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("retest.demo.digits.write_atomic", lambda path, data: (written.append(path), write_atomic(path, data)))
    write_digits(tmp_path, SMALL)
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
