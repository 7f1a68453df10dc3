"""Requests of people: annotators who want to be forgotten, photographers who want an image gone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import stage_studies as tiny
from click.testing import CliRunner

from retest.cli import cli
from retest.crowd.taskserver import SqliteTaskRepository, TaskDesk
from retest.crowd.taskserver.forgetting import forget_worker as forget_on_server
from retest.errors import NotFoundError, StoreError, UsageError
from retest.labeling import count_answers
from retest.records import AssignmentStatus
from retest.stages import images, sample
from retest.stages._review_memo import Memo
from retest.stages.people import forget_worker
from retest.stages.review_hits import refresh_figures
from retest.stages.study_copy import copy_study
from retest.stages.study_verify import verify_study
from retest.stages.takedown import take_down
from retest.store import Tables
from retest.study import Study, open_study
from retest.testing.database import canonical_dump, differences
from retest.web.participants import Participants


@pytest.fixture(params=["sqlite", "postgresql"])
def mine(request: pytest.FixtureRequest, study: Study, tmp_path: Path) -> Iterator[Study]:
    """A study of this test's own, on either kind of database."""
    url = "sqlite:///study.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create(empty=True)
    copy_study(study, tmp_path / "mine", database=url)
    with closing(open_study(tmp_path / "mine")) as opened:
        yield opened


def worker_of(study: Study) -> str:
    with study.database.read() as tables:
        return next(tables.assignments.all()).worker


def on_disk(folder: Path) -> bytes:
    """All bytes of all files of a study."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def counted(tables: Tables) -> dict[tuple[str, str], tuple[int, int]]:
    """Selection frequencies from the raw answers, and as stored: they must be the same."""
    counter = count_answers(tables.hits.all(), tables.assignments.all(), excluded_hits=set(tables.hits.excluded()))
    fresh = {(f.wnid, f.image_id): (f.num_assignments, f.num_selected) for f in counter.frequencies()}
    assert fresh == {(f.wnid, f.image_id): (f.num_assignments, f.num_selected) for f in tables.frequencies.all()}
    return fresh


# ------------------------------------------------------------------------------------------------------------- annotators


def test_the_raw_id_goes_and_does_not_come_back(mine: Study):
    worker = worker_of(mine)
    before = canonical_dump(mine)
    done = forget_worker(mine, worker, stamp=tiny.STAMP)
    assert (done.workers, done.raw_ids, done.answers_removed, done.frequencies, done.revisions) == ((worker,), 1, 0, 0, ())
    assert done.answers_kept > 0
    changed = differences(before, canonical_dump(mine), most=1000)
    assert [line for line in changed if line.startswith("-")] == [f'- workers {{"worker": "{worker}", "worker_id": "raw {worker}"}}']
    with mine.database.write() as tables:
        tables.assignments.add_workers({worker: f"raw {worker}", "other": "raw other"})  # collected again
        assert tables.assignments.raw_ids(worker) == {}
        assert tables.assignments.raw_ids("raw other") == {"other": "raw other"}
        assert f"raw {worker}" not in json.dumps([str(decision) for decision in tables.decisions.all()])
    with pytest.raises(NotFoundError, match="retest label workers"):
        forget_worker(mine, f"raw {worker}", stamp=tiny.STAMP)


def test_with_answers_the_frequencies_are_those_without_this_person(mine: Study):
    worker = worker_of(mine)
    with mine.database.read() as tables:
        before, answers = counted(tables), list(tables.assignments.of_worker(worker))
        others = [a for a in tables.assignments.all() if a.worker != worker]
        shown = {(hit.wnid, image) for hit in tables.hits.get(a.hit_uuid for a in answers).values() for image in hit.images_all}
    assert refresh_figures(mine, Memo())
    done = forget_worker(mine, f"raw {worker}", stamp=tiny.STAMP, answers=True)
    with mine.database.read() as tables:
        after = counted(tables)
        assert tables.hit_figures.times_of(worker) == (0, None, None)
        assert worker not in {row.quality.worker for row in tables.hit_figures.workers()}
        assert list(tables.assignments.all()) == others
    assert {key for key in before if after.get(key) != before[key]} == shown
    assert (done.answers_removed, done.answers_kept, done.frequencies, done.revisions) == (len(answers), 0, len(shown), ("tiny-a-1",))
    assert done.short_hits == len({a.hit_uuid for a in answers})
    with mine.database.write() as tables:  # collected again
        assert tables.assignments.add(answers) == 0
        tables.assignments.set_status(answers[0].id, AssignmentStatus.APPROVED)
        assert list(tables.assignments.of_worker(worker)) == []
        assert tables.assignments.add([replace(answers[0], id="new", worker="somebody else")]) == 1


def test_nothing_of_the_raw_id_lingers_in_any_file(study: Study, tmp_path: Path):
    """Deleted rows stay readable in a database file until they are overwritten."""
    copy_study(study, tmp_path / "mine")
    with closing(open_study(tmp_path / "mine")) as mine:
        worker, raw = worker_of(mine), "PLANTEDRAWID7777"
        with closing(Participants(mine.folder / "participants.db")) as people:
            raw = people.invite("Alice Exampleperson", now=1.0).worker_id
        with mine.database.write() as tables:
            tables.assignments.forget(worker, answers=False)
            tables.settings.put("forgotten_workers", {})
            tables.assignments.add_workers({worker: raw})
        _answer(mine, raw)
        assert raw.encode() in on_disk(mine.folder)
        run = CliRunner().invoke(cli, ["people", "forget", "Alice Exampleperson", "--study", str(mine.folder), "--yes"])
        assert run.exit_code == 0, run.output
        assert "1 raw ids; 0 answers removed" in run.output
    found = on_disk(tmp_path / "mine")
    assert raw.encode() not in found
    assert b"Alice" not in found
    assert worker.encode() in found


def _answer(study: Study, worker_id: str) -> str:
    """Somebody takes a task on the study's server, saves a draft and hands one in."""
    from retest.crowd.taskserver import RequesterApi

    repository = SqliteTaskRepository(study.folder / "label-server.db")
    with closing(repository):
        question = (
            '<HTMLQuestion xmlns="http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd">'
            "<HTMLContent><![CDATA[x]]></HTMLContent><FrameHeight>0</FrameHeight></HTMLQuestion>"
        )
        request = {"Title": "t", "Description": "d", "Reward": "0.10", "AssignmentDurationInSeconds": 600, "LifetimeInSeconds": 6000}
        hit = RequesterApi(repository, now=lambda: 1.0).handle("CreateHIT", {**request, "MaxAssignments": 1, "Question": question})["HIT"][
            "HITId"
        ]
        desk = TaskDesk(repository, now=lambda: 2.0)
        lease = desk.accept(hit, worker_id)
        desk.save(lease.assignment_id, [("selected", "[]")])
        desk.submit(lease.assignment_id, [("selected", "[]")])
    return str(hit)


def test_on_the_server_the_place_of_a_removed_answer_is_free_again(study: Study, tmp_path: Path):
    copy_study(study, tmp_path / "mine")
    with closing(open_study(tmp_path / "mine")) as mine:
        hit = _answer(mine, "A1WORKER")
        path = mine.folder / "label-server.db"
        assert forget_on_server(path, "A1WORKER", name="GONE", answers=False) == 1
        with closing(SqliteTaskRepository(path)) as repository, repository.reading() as session:
            assert (session.hit(hit).taken, session.assignment_of(hit, "GONE").answer != "") == (1, True)
        for _ in range(2):
            forget_on_server(path, "A1WORKER", name="GONE", answers=True)
            with closing(SqliteTaskRepository(path)) as repository, repository.reading() as session:
                assert session.hit(hit).taken == 0
                assert session.assignment_of(hit, "GONE").answer == ""
        with closing(SqliteTaskRepository(path)) as repository:
            assert TaskDesk(repository, now=lambda: 3.0).accept(hit, "A2OTHER").assignment_id
    with pytest.raises(StoreError, match="labelling server's state"):
        forget_on_server(tmp_path / "none.db", "A", name="B", answers=False)


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_stopped_anywhere_it_is_finished_under_the_same_name(study: Study, tmp_path: Path, stop_at: int):
    """The name leads to the raw id, the raw id to the hash: whichever link is cut first, the rest must still be found."""
    copy_study(study, tmp_path / "mine")
    with closing(open_study(tmp_path / "mine")) as mine, closing(Participants(mine.folder / "participants.db")) as people:
        raw, worker = people.invite("BOB", now=1.0).worker_id, worker_of(mine)
        with mine.database.write() as tables:
            tables.connection.exec_driver_sql(f"UPDATE workers SET worker_id = '{raw}' WHERE worker = '{worker}'")
        calls = 0

        def step(worker_id: str) -> None:
            nonlocal calls
            calls += 1
            if stop_at == 1:
                raise KeyboardInterrupt
            people.forget(worker_id)
            if stop_at == 2:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            forget_worker(mine, "BOB", stamp=tiny.STAMP, answers=True, known_ids=people.find("BOB"), forget_elsewhere=step)
        if stop_at < 3:  # somebody else, who is forgotten meanwhile, makes nothing of this be forgotten
            with mine.database.read() as tables:
                other = next(answer.worker for answer in tables.assignments.all() if answer.worker != worker)
            forget_worker(mine, other, stamp=tiny.STAMP)
            done = forget_worker(mine, "BOB", stamp=tiny.STAMP, answers=True, known_ids=people.find("BOB"), forget_elsewhere=people.forget)
            assert done.workers == (worker,)
        assert people.find("BOB") == people.find(raw) == []
        with mine.database.read() as tables:
            assert tables.assignments.raw_ids(raw) == {}
            assert list(tables.assignments.of_worker(worker)) == []
            assert tables.settings.get("forgetting") == {}


def test_somebody_without_answers_is_forgotten_when_it_is_started_again(study: Study, tmp_path: Path):
    copy_study(study, tmp_path / "mine")
    with closing(open_study(tmp_path / "mine")) as mine, closing(Participants(mine.folder / "participants.db")) as people:
        raw = people.invite("IDLE", now=1.0).worker_id

        def stop(worker_id: str) -> None:
            people.forget(worker_id)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            forget_worker(mine, "IDLE", stamp=tiny.STAMP, known_ids=people.find("IDLE"), forget_elsewhere=stop)
        done = forget_worker(mine, "IDLE", stamp=tiny.STAMP, known_ids=people.find("IDLE"), forget_elsewhere=people.forget)
        assert (done.workers, done.raw_ids) == ((), 1)
        with mine.database.read() as tables:
            assert tables.settings.get("forgetting") == {}
    assert raw.encode() not in on_disk(tmp_path / "mine")


def test_who_is_half_forgotten_under_one_name_is_forgotten_whole_under_another(study: Study, tmp_path: Path):
    copy_study(study, tmp_path / "mine")
    with closing(open_study(tmp_path / "mine")) as mine:

        def stop(_worker_id: str) -> None:
            raise KeyboardInterrupt

        with mine.database.read() as tables:
            ((worker, raw),) = tables.assignments.raw_ids(worker_of(mine)).items()
        with pytest.raises(KeyboardInterrupt):
            forget_worker(mine, raw, stamp=tiny.STAMP, forget_elsewhere=stop)
        forget_worker(mine, worker, stamp=tiny.STAMP)
        with mine.database.read() as tables:
            assert tables.settings.get("forgetting") == {}
    assert raw.encode() not in on_disk(tmp_path / "mine")


def test_the_command_asks_first(study: Study, tmp_path: Path):
    copy_study(study, tmp_path / "mine")
    arguments = ["people", "forget", worker_of(study), "--study", str(tmp_path / "mine"), "--answers"]
    refused = CliRunner().invoke(cli, arguments, input="n\n")
    assert refused.exit_code == 1
    assert "Remove raw id and answers" in refused.output
    unknown = CliRunner().invoke(cli, ["people", "forget", "nobody", "--study", str(tmp_path / "mine")], input="y\n")
    assert isinstance(unknown.exception, NotFoundError)
    assert "Remove" not in unknown.output, "there is nothing to ask about"
    done = CliRunner().invoke(cli, [*arguments, "--json"], input="y\n")
    assert json.loads(done.stdout)["answers_removed"] > 0


# ------------------------------------------------------------------------------------------------------------- take-down


def test_later_revisions_go_without_a_taken_down_image_and_existing_ones_are_named(mine: Study):
    with mine.database.read() as tables:
        revision = tables.revisions.get("tiny-a-1")
        position, (image, wnid) = 1, revision.images[1]
        before = canonical_dump(mine)
    done = take_down(mine, image, reason="the owner asked", stamp=tiny.STAMP)
    assert (done.images, done.new) == ((image,), 1)
    assert [(h.revision, h.image, h.wnid, h.position) for h in done.held_by] == [("tiny-a-1", image, wnid, position)]
    assert take_down(mine, image, reason="again", stamp=tiny.STAMP).new == 0
    changed = differences(before, canonical_dump(mine), most=100)
    assert [line.split()[:2] for line in changed] == [["+", "decisions"], ["+", "exclusions"]]
    for strategy, name, start in (("top-images", "b-1", "tiny-a-1"), ("threshold", "c-1", "tiny-a-1"), ("threshold", "d-1", None)):
        later = sample.sample(
            mine, strategy, name=name, parameters=mine.config.sampling, stamp=tiny.STAMP, starting_from=start, allow_invalid=True
        )
        assert later.stored
        assert image not in {i for i, _ in later.result.images}
    with mine.database.read() as tables:
        assert tables.revisions.get("tiny-a-1") == revision
        kept = tables.revisions.get("b-1").images
        assert len(set(revision.images) & set(kept)) >= len(revision.images) - 1  # nothing else went


def test_neither_reviewers_nor_retries_nor_searches_bring_it_back(mine: Study):
    with mine.database.write() as tables:
        candidate = next(tables.candidates.all())
        tables.problems.put(candidate.id, "not_fetched", "404")
    take_down(mine, candidate.id, reason="r", stamp=tiny.STAMP)
    images.retry_failed(mine)
    with mine.database.write() as tables:
        tables.exclusions.remove([candidate.id])
        tables.candidates.add([candidate])
        found = tables.exclusions.get([candidate.id])[candidate.id]
    assert (found.reason, found.detail, found.user, found.time) == ("taken_down", "r", tiny.STAMP.user, tiny.STAMP.time)


def test_an_image_that_was_excluded_before_is_taken_down_all_the_same(mine: Study):
    from retest.records import Exclusion

    with mine.database.write() as tables:
        candidate = next(tables.candidates.all())
        tables.exclusions.add([Exclusion(candidate.id, "blurred", "d", "u", "t")])
    assert take_down(mine, candidate.id, reason="r", stamp=tiny.STAMP).new == 1
    with mine.database.write() as tables:
        tables.exclusions.remove([candidate.id])
        assert tables.exclusions.get([candidate.id])[candidate.id].reason == "taken_down"


def test_every_candidate_of_the_photo_goes_and_look_alikes_are_named(mine: Study):
    with mine.database.write() as tables:
        first, second, third = (candidate for candidate, _ in zip(tables.candidates.all(), range(3), strict=False))
        twin = replace(first, id="f" * 40, wnid=second.wnid, source_page="https://example.org/page")
        tables.candidates.add([twin])
        tables.pairs.add([(third.id, first.id), (first.id, "val/x")], user="u", time="t")
    done = take_down(mine, "https://example.org/page", reason="r", stamp=tiny.STAMP)
    assert set(done.images) == {first.id, twin.id}
    assert done.resembling == tuple(sorted([third.id, "val/x"]))


def test_bytes_go_where_asked_and_stay_gone(study: Study, tmp_path: Path):
    copy_study(study, tmp_path / "mine")
    with closing(open_study(tmp_path / "mine")) as mine:
        with mine.database.read() as tables:
            image = tables.revisions.get("tiny-a-1").images[0][0]
            keys = [variant.blob_key for variant in tables.variants.of_image(image).values()]
            others = {key for key, _ in mine.blobs.list()} - set(keys)
        old = keys[0].replace(keys[0].split("/")[1], "0ld5ett1")  # from when the settings were other ones
        mine.blobs.put(old, b"old bytes")
        data = mine.blobs.get(keys[0])
        (mine.folder / "cache").mkdir()
        (mine.folder / "cache/pixels").write_bytes(data)
        done = take_down(mine, image, reason="r", stamp=tiny.STAMP, remove_blobs=True)
        assert done.blobs_removed == len(keys) + 2  # the old one, and the copy that annotators see
        left = {key for key, _ in mine.blobs.list()}
        assert others - left == {key for key in others if key.startswith("public/")} - left
        assert len(others - left) == 1
        assert data not in on_disk(mine.folder)
        assert take_down(mine, image, reason="r", stamp=tiny.STAMP, remove_blobs=True).blobs_removed == 0
        assert verify_study(mine, deep=True).ok
        assert tiny.store(mine).stored == 0


@pytest.mark.parametrize(
    ("image", "reason", "error", "message"),
    [
        ("nonsense", "r", NotFoundError, "no such candidate. Give its id, or the address"),
        ("val/cat/00.png", "r", UsageError, "image of the benchmark itself"),
        ("nonsense", "  ", UsageError, "a reason is needed"),
    ],
)
def test_what_cannot_be_taken_down(study: Study, image: str, reason: str, error: type[Exception], message: str):
    before = canonical_dump(study, skip=())
    with pytest.raises(error, match=message):
        take_down(study, image, reason=reason, stamp=tiny.STAMP)
    assert differences(before, canonical_dump(study, skip=())) == []


def test_the_take_down_command(study: Study, tmp_path: Path):
    copy_study(study, tmp_path / "mine")
    with study.database.read() as tables:
        image = tables.revisions.get("tiny-a-1").images[0][0]
    run = CliRunner().invoke(cli, ["take-down", image, "--study", str(tmp_path / "mine"), "--reason", "asked", "--remove-blobs"])
    assert run.exit_code == 0, run.output
    assert "Existing revisions that hold it, unchanged" in run.output
    assert "tiny-a-1" in run.output
    assert CliRunner().invoke(cli, ["take-down", image, "--study", str(tmp_path / "mine")]).exit_code == 2


def test_sqlite_overwrites_what_it_deletes_only_when_told(tmp_path: Path):
    """Guards the test above: without secure_delete the bytes do linger."""
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("CREATE TABLE t (a TEXT)")
        db.execute("INSERT INTO t VALUES ('LINGERING')")
        db.commit()
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("DELETE FROM t")
        db.commit()
    assert b"LINGERING" in (tmp_path / "x.db").read_bytes()
