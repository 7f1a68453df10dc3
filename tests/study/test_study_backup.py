"""Backups: one moment of a study in use, every byte checked, stopped anywhere, whole or not there."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
import stage_studies as tiny
from click.testing import CliRunner
from test_study_copy import content

from retest.cli import cli
from retest.errors import ConflictError, InputError, NotFoundError, StoreError, UsageError
from retest.stages._archive import Archive
from retest.stages._common import Stamp
from retest.stages._folder_lock import locked_folder
from retest.stages.study_backup import back_up, list_snapshots, restore, verify_backup
from retest.stages.study_copy import copy_study
from retest.stages.study_verify import verify_study
from retest.store import BlobStore, open_blobs
from retest.study import Study, open_study
from retest.testing.database import differences
from retest.testing.postgres import PostgresServer


@pytest.fixture
def place(tmp_path: Path) -> BlobStore:
    return open_blobs("backup", base=tmp_path)


@pytest.fixture
def mine(study: Study, tmp_path: Path):
    """A study of this test's own."""
    copy_study(study, tmp_path / "mine")
    with closing(open_study(tmp_path / "mine")) as opened:
        yield opened


def at(hour: int) -> Stamp:
    return Stamp("tester", f"2026-02-01T{hour:02}:00:00+00:00")


def test_a_backup_comes_back_equal(study: Study, place: BlobStore, tmp_path: Path):
    done = back_up(study, place, stamp=at(9))
    assert done.damaged == ()
    assert verify_backup(place) == (done.snapshot, [])
    back = restore(place, tmp_path / "again")
    assert (back.rows, back.blobs, back.files) == (done.rows, done.blobs, done.files - 1)
    with closing(open_study(tmp_path / "again")) as again:
        assert differences(content(study), content(again)) == []
        assert verify_study(again, deep=True).ok
        assert not (again.folder / "cache").exists()


def test_a_study_in_postgresql_is_backed_up_and_restored_anywhere(study: Study, place: BlobStore, tmp_path: Path, postgres: PostgresServer):
    copy_study(study, tmp_path / "pg", database=postgres.create(empty=True), share_blobs=True)
    with closing(open_study(tmp_path / "pg")) as moved:
        back_up(moved, place, stamp=at(9))
    restore(place, tmp_path / "lite")
    restore(place, tmp_path / "pg2", database=postgres.create(empty=True))
    for name in ("lite", "pg2"):
        with closing(open_study(tmp_path / name)) as again:
            assert differences(content(study), content(again)) == []
            assert verify_study(again).ok


def test_snapshots_share_what_is_equal_and_each_comes_back(mine: Study, place: BlobStore, tmp_path: Path):
    first = back_up(mine, place, stamp=at(9))
    before = content(mine)
    mine.blobs.put("extra", b"new")
    with mine.database.write() as tables:
        tables.settings.put("later", 1)
    second = back_up(mine, place, stamp=at(10))
    assert (first.blobs_written, second.blobs_written, second.blobs) == (first.blobs_written, 1, first.blobs + 1)
    assert [name for name, _ in list_snapshots(place)] == [first.snapshot, second.snapshot]
    restore(place, tmp_path / "old", name=first.snapshot)
    restore(place, tmp_path / "new")
    for name, expected in (("old", before), ("new", content(mine))):
        with closing(open_study(tmp_path / name)) as again:
            assert differences(expected, content(again)) == []
    (tmp_path / "new/blobs/extra").unlink()
    pruned = back_up(mine, place, stamp=at(11), prune=True)
    assert pruned.removed > 0
    assert [name for name, _ in list_snapshots(place)] == [pruned.snapshot]
    assert verify_backup(place) == (pruned.snapshot, [])
    with pytest.raises(NotFoundError, match=pruned.snapshot):
        restore(place, tmp_path / "gone", name=first.snapshot)


def test_one_moment_of_a_study_that_others_write_to(mine: Study, place: BlobStore, tmp_path: Path):
    """A writer keeps two rows equal and writes a blob before the row that mentions it: so it must be in every backup."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            mine.blobs.put_new(f"live/{number}", str(number).encode())
            with mine.database.write() as tables:
                tables.settings.put("left", number)
                tables.settings.put("right", number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for hour in range(4):
            back_up(mine, place, stamp=at(hour))
    finally:
        stop.set()
        writer.join()
    seen = []
    for number, (name, _) in enumerate(list_snapshots(place)):
        restore(place, tmp_path / str(number), name=name)
        with closing(open_study(tmp_path / str(number))) as again, again.database.read() as tables:
            assert tables.settings.get("left") == tables.settings.get("right")
            if tables.settings.get("left"):
                assert again.blobs.get(f"live/{tables.settings.get('left')}")
            seen.append(tables.settings.get("left"))
    assert len(set(seen)) == 4


@pytest.mark.parametrize("allow", [0, 3, 20])
def test_a_stopped_backup_is_no_snapshot_and_goes_on(study: Study, place: BlobStore, allow: int):
    with pytest.raises(StoreError, match="full"):
        back_up(study, tiny.BreakingBlobs(place, allow=allow, error=StoreError("full")), stamp=at(9))
    assert list_snapshots(place) == []
    with pytest.raises(NotFoundError, match="none: make one with retest study backup"):
        verify_backup(place)
    written = sum(1 for _ in place.list("objects"))
    done = back_up(study, place, stamp=at(9))
    assert verify_backup(place) == (done.snapshot, [])
    assert written >= allow
    assert list((study.folder / "cache" / "backup").iterdir()) == []


def test_of_two_backups_at_once_the_second_is_refused_and_what_a_killed_one_left_goes(study: Study, place: BlobStore):
    left = study.folder / "cache" / "backup" / "backup-left"
    left.mkdir(parents=True)
    with locked_folder(left.parent), pytest.raises(ConflictError, match="another backup of this study is under way"):
        back_up(study, place, stamp=at(9))
    assert left.is_dir()
    back_up(study, place, stamp=at(9))
    assert not left.exists()


def test_damage_anywhere_in_a_backup_is_found_and_never_restored(study: Study, place: BlobStore, tmp_path: Path):
    made = back_up(study, place, stamp=at(9))
    _, snapshot = Archive(place).read()
    entry = next(iter(Archive(place).entries(snapshot)))[1]
    pieces = {
        "database": snapshot.database[0],
        "study.toml": snapshot.files["study.toml"][0],
        "list of blobs": snapshot.blob_list[0],
        "a blob": entry,
    }
    for what, piece in pieces.items():
        good = place.get(piece.key)
        place.put(piece.key, bytes([good[0] ^ 1]) + good[1:])
        _, problems = verify_backup(place)
        assert piece.key in problems[0], what
        with pytest.raises(InputError, match="damaged"):
            restore(place, tmp_path / f"from {what}")
        assert not (tmp_path / f"from {what}" / "study.toml").exists()
        place.delete(piece.key)
        assert "holds no such key" in verify_backup(place)[1][0]
        place.put(piece.key, good)
        restore(place, tmp_path / f"from {what}")  # goes on
    key = f"snapshots/{made.snapshot}.json"
    text = place.get(key)
    for damaged in (
        text.replace(b"tiny", b"tony"),
        text[:-20],
        b"[]",
        b"\xff\x00",
        text.replace(b"retest-backup-1", b"retest-backup-9"),
        b'{"a": NaN}',
    ):
        place.put(key, damaged)
        with pytest.raises(InputError, match=r"the list of this snapshot|unknown form"):
            restore(place, tmp_path / "other")


def test_a_backup_cannot_write_outside_the_study(study: Study, place: BlobStore, tmp_path: Path):
    import dataclasses

    back_up(study, place, stamp=at(9))
    archive = Archive(place)
    _, snapshot = archive.read()
    for number, path in enumerate(("../evil", "/tmp/evil", "a/../../evil")):
        evil = dataclasses.replace(snapshot, files={**snapshot.files, path: snapshot.files["study.toml"]}, time=at(10 + number).time)
        name = archive.write(evil)
        with pytest.raises(UsageError, match="leads out of the study's folder"):
            restore(place, tmp_path / "victim", name=name)
    assert not (tmp_path / "evil").exists()


def test_restoring_never_overwrites_another_study(mine: Study, place: BlobStore, tmp_path: Path):
    back_up(mine, place, stamp=at(9))
    restore(place, tmp_path / "again")
    assert restore(place, tmp_path / "again").rows  # the same once more is nothing new
    with closing(open_study(tmp_path / "again")) as again, again.database.write() as tables:
        tables.settings.put("worked on", 1)
    with pytest.raises(ConflictError, match="holds other rows already"):
        restore(place, tmp_path / "again")
    with pytest.raises(ConflictError, match="other settings"):
        restore(place, tmp_path / "again", blobs="elsewhere")


# -------------------------------------------------------------------------------------------------------------- verify


def test_a_whole_study_has_no_problems(study: Study):
    found = verify_study(study, deep=True)
    assert found.ok
    assert (found.rows > 300, found.blobs > 50, found.files) == (True, True, 2)


def test_every_kind_of_loss_is_named(mine: Study):
    with mine.database.read() as tables:
        first, second, third = islice(tables.variants.by_blob_key(), 3)
    mine.blobs.delete(first.blob_key)
    data = mine.blobs.get(second.blob_key)
    mine.blobs.put(second.blob_key, data[:-1])
    mine.blobs.put(third.blob_key, bytes([mine.blobs.get(third.blob_key)[0] ^ 1]) + mine.blobs.get(third.blob_key)[1:])
    with mine.database.write() as tables:
        execute = tables.connection.exec_driver_sql
        execute("DELETE FROM hits WHERE no = 1")
        execute("DELETE FROM revision_images WHERE position = 1")
        execute("INSERT INTO prediction_sets VALUES ('original', 'm', 'predictions/gone.parquet', 1, 'x', '[]')")
    (mine.folder / "label-server.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    shallow, deep = verify_study(mine), verify_study(mine, deep=True)
    text = [f"{p.part}: {p.item}: {p.problem}" for p in shallow.problems]
    for expected in (
        "database: hit_images: ",
        "hit_no is not in hits (1",
        "database: assignments: ",
        "revision is not in a list without gaps (tiny-a-1)",
        "predictions: predictions/gone.parquet: the file is missing",
        f"blobs: {first.blob_key}: the blob is missing",
        f"blobs: {second.blob_key}: the blob has {len(data) - 1} bytes instead of {len(data)}",
        "database: label-server.db: ",
    ):
        assert any(expected in line for line in text), (expected, text)
    assert not any(third.blob_key in line for line in text)
    assert {p.item for p in deep.problems} - {p.item for p in shallow.problems} == {third.blob_key}


def test_a_damaged_database_file_is_reported_not_a_crash(mine: Study, tmp_path: Path):
    folder = mine.folder
    mine.close()
    path = folder / "study.db"
    data = bytearray(path.read_bytes())
    page = 4096
    for start in range(20 * page, len(data) - page, 3 * page):
        data[start : start + 40] = b"\xa5" * 40
    path.write_bytes(data)
    run = CliRunner().invoke(cli, ["study", "verify", "--study", str(folder)])
    assert run.exit_code == 1
    assert run.exception is None or isinstance(run.exception, (SystemExit, StoreError))


# ------------------------------------------------------------------------------------------------------------ commands


def test_the_commands(study: Study, tmp_path: Path):
    run = CliRunner().invoke
    place, folder = str(tmp_path / "backup"), str(study.folder)
    first = run(cli, ["study", "backup", place, "--study", folder, "--json"])
    assert first.exit_code == 0, first.output
    name = json.loads(first.stdout)["snapshot"]
    assert json.loads(run(cli, ["study", "backup", place, "--list", "--json"]).stdout)[0]["snapshot"] == name
    assert "everything is whole" in run(cli, ["study", "backup", place, "--verify"]).stdout
    assert run(cli, ["study", "backup", place]).exit_code == 2
    assert run(cli, ["study", "backup", place, "--list", "--verify"]).exit_code == 2
    assert run(cli, ["study", "restore", place, str(tmp_path / "again"), "--snapshot", name]).exit_code == 0
    done = run(cli, ["study", "verify", "--study", str(tmp_path / "again"), "--json"])
    assert json.loads(done.stdout)["ok"] is True
    (tmp_path / "again/label-server.db").write_bytes(b"SQLite format 3\0broken")
    assert run(cli, ["study", "verify", "--study", str(tmp_path / "again")]).exit_code == 1
