"""Changing settings of a file that people edit: what stands as written is changed, the rest is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retest.duplicates import ReviewParameters
from retest.study import StudyConfig, StudySettings, format_config, read_config
from retest.study.editing import rewrite_settings

OLD = StudyConfig(study=StudySettings(name="a"))
NEW = replace(OLD, review=ReviewParameters(targets={"l2": 1.0}), study=replace(OLD.study, workers=7))


def test_only_the_lines_that_differ_are_written(tmp_path):
    path = tmp_path / "study.toml"
    text = format_config(OLD).replace("# Settings of this study.", "# Ours. Do not touch the next line:\n# Settings of this study.")
    path.write_text(text)
    assert rewrite_settings(path, OLD, NEW)
    assert read_config(path) == NEW
    kept = [line for line in path.read_text().splitlines() if line in text.splitlines()]
    assert len(kept) == len(text.splitlines()) - 2
    assert path.read_text().startswith("# Ours.")


@pytest.mark.parametrize("changed", ["workers = 3", "", "# workers = 2\n# workers = 2"])
def test_nothing_is_written_where_a_line_is_not_as_it_was(tmp_path, changed):
    path = tmp_path / "study.toml"
    path.write_text(format_config(OLD).replace("# workers = 2", changed))
    before = path.read_bytes()
    assert not rewrite_settings(path, OLD, NEW)
    assert path.read_bytes() == before


def test_line_ends_stay_as_they_are(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(format_config(OLD).replace("\n", "\r\n").encode())
    assert rewrite_settings(path, OLD, NEW)
    assert read_config(path) == NEW
    assert path.read_bytes().count(b"\r\n") == path.read_bytes().count(b"\n")
