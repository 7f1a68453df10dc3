"""A study copied from SQLite to PostgreSQL and back is the same study, whatever stops the copy on its way."""

from __future__ import annotations

import dataclasses
import hashlib
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
import stage_studies as tiny
from click.testing import CliRunner

from retest.cli import cli
from retest.errors import ConflictError, StoreError, UsageError
from retest.stages import label, neighbors, sample
from retest.stages.status import study_status
from retest.stages.study_copy import copy_study
from retest.study import Study, open_study
from retest.testing.database import canonical_dump, canonical_predictions, differences
from retest.testing.postgres import PostgresServer


def content(study: Study) -> list[str]:
    """Everything of a study: every row of every table, bookkeeping included, every blob, every further file."""
    blobs = [f"{key} {hashlib.sha256(study.blobs.get(key)).hexdigest()}" for key, _ in study.blobs.list()]
    return [*canonical_dump(study, skip=()), *blobs, *canonical_predictions(study)]


def test_to_postgresql_and_back_it_is_equal_and_goes_on_as_the_original_would(study: Study, tmp_path: Path, postgres: PostgresServer):
    url = postgres.create(empty=True)
    done = copy_study(study, tmp_path / "pg", database=url, share_blobs=True)
    assert done.rows == len(canonical_dump(study, skip=()))
    with closing(open_study(tmp_path / "pg")) as moved:
        assert moved.database.engine.dialect.name == "postgresql"
        assert differences(content(study), content(moved)) == []
        back = copy_study(moved, tmp_path / "back")
        assert back == dataclasses.replace(done, blobs=back.blobs, blobs_written=back.blobs)
        assert back.blobs > 50
        with closing(open_study(tmp_path / "back")) as returned:
            assert returned.database.engine.dialect.name == "sqlite"
            assert differences(content(study), content(returned)) == []
            for copied in (moved, returned):  # nothing is done again, and what is new gets numbers behind the old ones
                assert study_status(copied).counts == study_status(study).counts
                assert [count.computed for count in neighbors.find_neighbors(copied)] == [0]
                assert label.compute_frequencies(copied) is None
                with copied.database.write() as tables:
                    tables.decisions.add(time="t", user="u", kind="k", item="i")
                    assert (
                        tables.connection.execute(sa.text("SELECT max(no), count(*) FROM decisions")).one()
                        == (tables.decisions.count(),) * 2
                    )
                sample.sample(copied, "threshold", name="tiny-b-1", parameters=copied.config.sampling, stamp=tiny.STAMP, allow_invalid=True)
            assert differences(canonical_dump(moved, skip=()), canonical_dump(returned, skip=())) == []
    postgres.drop(url)


def test_a_copy_appears_only_when_it_is_whole_and_goes_on_where_it_was_stopped(study: Study, tmp_path: Path):
    for allow in (0, 1, 7, 30):
        broken = tiny.BreakingBlobs(study.blobs, allow=allow, error=StoreError("full"))
        target = tmp_path / f"copy-{allow}"

        _stopped(study, target, broken)
        assert not (target / "study.toml").exists()
        done = copy_study(study, target)
        assert done.blobs_written == done.blobs - allow
        with closing(open_study(target)) as copied:
            assert differences(content(study), content(copied)) == []
        assert copy_study(study, target).blobs_written == 0  # again: nothing to do


def _stopped(study: Study, target: Path, broken: tiny.BreakingBlobs) -> None:
    import retest.stages.study_copy as stage

    opened = stage.open_new_study

    def failing(folder, config):
        made = opened(folder, config)
        broken._blobs = made.blobs
        return dataclasses.replace(made, blobs=broken)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "open_new_study", failing)
        patch.setattr(stage, "_STREAMS", 1)
        with pytest.raises(StoreError, match="full"):
            copy_study(study, target)


def test_what_a_copy_may_not_overwrite(study: Study, tmp_path: Path):
    with pytest.raises(UsageError, match="is the study itself"):
        copy_study(study, study.folder)
    with pytest.raises(UsageError, match="the database of the study itself"):
        copy_study(study, tmp_path / "other", database=f"sqlite:///{study.folder / 'study.db'}")
    copy_study(study, tmp_path / "copy")
    with closing(open_study(tmp_path / "copy")) as copied:
        with copied.database.write() as tables:
            tables.settings.put("mine", 1)
        with pytest.raises(ConflictError, match=r"holds other rows already \(table (generations|settings)\)"):
            copy_study(study, tmp_path / "copy")
        with pytest.raises(ConflictError, match="study with other settings"):
            copy_study(study, tmp_path / "copy", database="sqlite:///other.db")


def test_the_command(study: Study, tmp_path: Path):
    run = CliRunner().invoke
    done = run(cli, ["study", "copy", str(tmp_path / "copy"), "--study", str(study.folder)])
    assert done.exit_code == 0, done.output
    assert f"and 2 further files in {tmp_path / 'copy'}" in done.output
    assert run(cli, ["study", "verify", "--study", str(tmp_path / "copy"), "--deep"]).exit_code == 0
