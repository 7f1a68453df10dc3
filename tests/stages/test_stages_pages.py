"""Stages that walk a large study page by page or class by class find what looking at everything at once finds."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
import stage_studies as tiny

from retest.crowd import CrowdParameters, SimulatedCrowd, progress_histogram
from retest.duplicates import review_queue, review_thresholds
from retest.labeling import ClassImages, candidates_needing_labels, count_answers, outstanding_assignments, plan_hits
from retest.records import Split
from retest.stages import _consistency, _hit_pages, check, duplicates, label, label_crowd, label_judge, near_originals, plan, publish
from retest.stages._closing import record_closed
from retest.stages._duplicates import near_duplicates_of_originals, shared_photos
from retest.stages._neighbor_plan import find_groups
from retest.store import Tables, schema
from retest.study import Study, open_study
from retest.testing.scale import ScaleParameters, generate_study

SMALL = ScaleParameters(annotators=20, val_per_class=30, train_per_class=5, neighbors=6)
STATES = ("planned", "planned", "closed", "excluded", "published", "imported")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study in every state at once: HITs wait, are published, closed, excluded or were answered elsewhere; answers lack."""
    folder = tmp_path_factory.mktemp("pages") / "study"
    generate_study(folder, classes=4, candidates=300, hits=9, seed=5, parameters=SMALL)
    with closing(sqlite3.connect(folder / "study.db")) as connection, connection:
        uuids = [row[0] for row in connection.execute("SELECT uuid FROM hits ORDER BY uuid")]
        states = {uuid: STATES[number] for number, uuid in enumerate(uuids[: len(STATES)])}
        for uuid, state in states.items():
            if state in ("planned", "imported"):
                connection.execute("UPDATE hits SET crowd = NULL, submitted = ? WHERE uuid = ?", (state == "imported", uuid))
            if state == "excluded":
                connection.execute("UPDATE hits SET excluded = 'odd' WHERE uuid = ?", (uuid,))
            connection.execute("DELETE FROM assignments WHERE hit_uuid = ? AND id LIKE '%-3'", (uuid,))
    with closing(open_study(folder)) as study, study.database.write() as tables:
        record_closed(tables, [uuid for uuid, state in states.items() if state == "closed"], "test", stamp=tiny.STAMP)
    return folder


@pytest.fixture
def mixed(template: Path, tmp_path: Path) -> Iterator[Study]:
    shutil.copytree(template, tmp_path / "study")
    with closing(open_study(tmp_path / "study")) as study:
        yield study


def test_the_list_of_hits(mixed: Study, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(label_crowd, "_LINES_AT_ONCE", 7)
    with mixed.database.read() as tables:
        counts, wanted, excluded = tables.assignments.counts_by_hit(), tables.hits.requested_assignments(), tables.hits.excluded()
        closed = {row["item"] for row in tables.decisions.all(kind="close_hit")}
        hits = list(tables.hits.all())
    expected = []
    for hit in hits:
        by_status = counts.get(hit.uuid, {})
        state = "excluded" if hit.uuid in excluded else "closed" if hit.uuid in closed else "published" if hit.submitted else "planned"
        valid, rejected = by_status.get("Submitted", 0) + by_status.get("Approved", 0), by_status.get("Rejected", 0)
        row = (hit.uuid, hit.wnid, state, hit.hit_id or "", wanted[hit.uuid], valid, rejected, len(hit.images_to_label))
        expected.append(label_crowd.HitRow(*row))
    found = list(label_crowd.list_hits(mixed))
    assert found == expected
    assert Counter(row.state for row in found) == {"planned": 2, "closed": 1, "excluded": 1, "published": 5}
    assert list(label_crowd.list_hits(mixed, state="closed")) == [row for row in expected if row.state == "closed"]
    assert label.waiting_hits(mixed) == 2
    assert label_crowd.unknown_hits(mixed, [hits[0].uuid, "nobody", hits[1].uuid]) == ["nobody"]


def _outstanding(tables: Tables) -> dict[tuple[str, str], int]:
    counts, wanted, excluded = tables.assignments.counts_by_hit(), tables.hits.requested_assignments(), tables.hits.excluded()
    closed = {row["item"] for row in tables.decisions.all(kind="close_hit")}
    own = set(tables.connection.execute(sa.select(schema.hits.c.uuid).where(schema.hits.c.crowd.is_not(None))).scalars())
    missing = {}
    for hit in tables.hits.all():
        open_ = hit.uuid not in closed and hit.uuid not in excluded and (not hit.submitted or hit.uuid in own)
        lacking = wanted[hit.uuid] - sum(counts.get(hit.uuid, {}).values())
        if open_ and lacking > 0:
            missing[hit.uuid] = lacking
    return outstanding_assignments(tables.hits.all(), missing)


def test_a_plan(mixed: Study):
    """Planned class by class, it is the plan of all classes together."""
    label.compute_frequencies(mixed)
    with mixed.database.read() as tables:
        infos = {info.wnid: info for info in tables.classes.all()}
        selection = candidates_needing_labels(
            tables.candidates.all(),
            parameters=mixed.config.labeling,
            num_assignments={(f.image_id, f.wnid): f.num_assignments for f in tables.frequencies.all()},
            outstanding=_outstanding(tables),
            excluded=tables.exclusions.ids(),
            near_duplicates_of_originals=near_duplicates_of_originals(tables),
            wnids=list(infos),
        )
        pools = {wnid: tables.originals.ids(split=Split.VAL, wnid=wnid) for wnid in infos}
        work = [ClassImages(w, ids, tuple(pools[w]), tuple(pools[infos[w].most_similar[1]])) for w, ids in selection.by_class().items()]
        expected = plan_hits(work, mixed.config.labeling, taken_uuids=set(tables.hits.requested_assignments()))
        assert any(_outstanding(tables).values())
    made = label.plan(mixed, stamp=tiny.STAMP, store=False)
    assert [(hit.uuid, hit.images_all) for hit in made.hits] == [(hit.uuid, hit.images_all) for hit in expected]
    assert len({hit.wnid for hit in expected}) > 1
    assert made.skipped == selection.counts
    assert {"selected", "excluded", "labelled", "outstanding", "near_duplicate_of_original"} <= set(made.skipped)


def test_the_review_queue_and_its_thresholds(mixed: Study):
    parameters = mixed.config.review
    with mixed.database.write() as tables:
        tables.connection.exec_driver_sql("DELETE FROM reviewed_neighbors WHERE candidate_id < '8' AND metric = 'l2'")
    with mixed.database.read() as tables:
        excluded, photos = tables.exclusions.ids(), shared_photos(tables)
        reviewed = {metric: tables.reviews.reviewed(metric) for metric in parameters.targets}
        lists: dict[str, dict[str, tuple]] = {}
        for image, metric, found in tables.neighbors.by_candidate():
            lists.setdefault(image, {})[metric] = found
    seen = {image: {metric: reviewed[metric].get(image, set()) for metric in parameters.targets} for image in lists}
    shown = {image: found for image, found in lists.items() if image not in excluded}
    expected = list(review_queue(shown, parameters=parameters, reviewed=seen, excluded=excluded, photos=photos))
    queue = duplicates.queue(mixed)
    assert list(queue.items) == expected
    assert len({item.metric for item in expected}) == len(parameters.targets)
    counts = duplicates.count_queue(mixed)
    assert counts.by_metric == Counter(item.metric for item in expected)
    assert (counts.candidates, counts.reviewed_candidates) == (queue.candidates, queue.reviewed_candidates)
    assert (queue.candidates, len(shown) - queue.reviewed_candidates) == (len(shown), len({item.candidate_id for item in expected}))
    duplicates.resolve_duplicates(mixed)
    with mixed.database.read() as tables:
        stored = tables.reviews.thresholds()
    for image, found in lists.items():
        derived = review_thresholds(image, found, parameters=parameters, reviewed=seen[image], excluded=excluded, photos=photos)
        assert stored[image] == {metric: min(value, 1e100) for metric, value in derived.items()}
    item = expected[0]
    decided = duplicates.decide(mixed, item.candidate_id, metric=item.metric, stamp=tiny.STAMP)
    assert list(decided.references) == [neighbor.reference for neighbor in item.neighbors]


def test_candidates_near_originals(mixed: Study, monkeypatch: pytest.MonkeyPatch):
    with mixed.database.read() as tables:
        originals = set(tables.originals.ids())
        nearest = [
            (neighbor.distance, image)
            for image, found in tables.neighbors.all("l2")
            for neighbor in [next((n for n in found if n.reference in originals), None)]
            if neighbor is not None
        ]
        complete = min(found[-1].distance for _, found in tables.neighbors.all("l2"))
    for size in (3, 500):
        monkeypatch.setattr(near_originals, "_LISTS_AT_ONCE", size)
        for distance in (0.0, sorted(nearest)[len(nearest) // 2][0]):
            within = min(distance, complete * 0.999)
            made = near_originals.exclude_near_originals(mixed, metric="l2", distance=within, stamp=tiny.STAMP, store=False)
            assert made.within == sum(found <= within for found, _ in nearest)
            assert made.candidates == tables_count(mixed, "l2")
    assert made.within > 0


def tables_count(study: Study, metric: str) -> int:
    with study.database.read() as tables:
        return tables.neighbors.counts()[metric]


def test_posteriors_stand_beside_the_frequencies_counted_together(mixed: Study):
    with mixed.database.read() as tables:
        counter = count_answers(tables.hits.all(), tables.assignments.all(), excluded_hits=set(tables.hits.excluded()))
    found = [(row.image_id, row.wnid, row.num_assignments, row.frequency) for row in label_judge.posteriors(mixed)]
    assert found == [(f.image_id, f.wnid, f.num_assignments, f.value) for f in counter.frequencies() if f.num_assignments]


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_the_back_end_is_asked_block_by_block(ready: Study, monkeypatch: pytest.MonkeyPatch, size: int):
    label.plan(ready, stamp=tiny.STAMP)
    crowd = SimulatedCrowd(tiny.affinity, start_time=tiny.STAMP.time)
    label.submit(ready, crowd, stamp=tiny.STAMP)
    with ready.database.read() as tables:
        hits = list(tables.hits.all())
    for hit in hits[4:]:
        with ready.database.write() as tables:
            tables.hits.exclude([hit.uuid], "odd")
    asked: list[int] = []
    progress = crowd.progress
    monkeypatch.setattr(crowd, "progress", lambda some: asked.append(len(some)) or progress(some))
    monkeypatch.setattr(_hit_pages, "_ASKED_AT_ONCE", size)
    found = label_crowd.crowd_progress(ready, crowd)
    whole = progress(hits[:4])
    assert found.histogram == progress_histogram(whole)
    assert (found.hits, found.unknown, found.valid) == (4, 0, sum(item.valid for item in whole.values()))
    assert asked == [min(size, 4)] * (4 // min(size, 4))
    assert label.collect(ready, crowd, stamp=tiny.STAMP).new_answers == sum(item.answered for item in progress(hits).values())
    assert label_crowd.check_crowd(ready, crowd) == []
    assert label_crowd.submitted_answers(ready) == sorted(answer.assignment.id for answer in crowd.collect(hits))


def test_images_are_checked_and_published_page_by_page(ready: Study, monkeypatch: pytest.MonkeyPatch):
    with ready.database.write() as tables:
        candidates = tables.candidates.ids()
        tables.variants.forget(candidates[:3])
        gone = [variant.blob_key for variant in tables.variants.all() if variant.image_id == candidates[4]]
    for key in gone[:1]:
        ready.blobs.delete(key)
    reports = []
    for size in (1000, 4):
        monkeypatch.setattr(_consistency, "_IMAGES_PER_PAGE", size)
        reports.append(check.check_images(ready, deep=True))
    assert reports[0] == reports[1]
    assert {finding.image_id for finding in reports[0].findings} == {*candidates[:3], candidates[4]}
    with ready.database.read() as tables:
        assert reports[0].images == tables.originals.counts().get("train", 0) + tables.originals.counts()["val"] + len(candidates)
        names = tables.opaque_names.all(1)
    with ready.database.write() as tables:
        tables.connection.exec_driver_sql("DELETE FROM opaque_names WHERE image_id > 'm'")
    monkeypatch.setattr(publish, "_IMAGES_PER_PAGE", 4)
    again = tiny.publish_all(ready)
    with ready.database.read() as tables:
        assert tables.opaque_names.all(1) == {image: name for image, name in names.items() if image not in candidates[:3]} | {
            image: name for image, name in names.items() if image in candidates[:3] and image <= "m"
        }
    assert again.written == 0


def test_the_size_of_a_search_is_that_of_its_lists(mixed: Study):
    with mixed.database.read() as tables:
        stored = tables.variants.complete(["compare"]) or tables.variants.complete([next(iter(tables.variants.counts()))])
        images = {*tables.candidates.ids(), *tables.originals.ids()} - (set(tables.problems.all()) - stored)
    sizes, number, _ = plan.study_sizes(mixed, ["l2", "dssim"], {})
    assert number == len(images)
    for metric, size in sizes.items():
        assert size.pairs == sum(len(group.queries) * len(group.references) for group in find_groups(mixed, metric, images))


def test_what_waits_costs_what_each_costs(mixed: Study):
    crowd = SimulatedCrowd(tiny.affinity, start_time=tiny.STAMP.time)
    reward = CrowdParameters().reward_cents
    with mixed.database.write() as tables:
        tables.connection.exec_driver_sql("UPDATE hits SET assignments = 3 WHERE no = (SELECT min(no) FROM hits WHERE NOT submitted)")
        wanted = tables.hits.requested_assignments()
        waiting = list(tables.hits.all(submitted=False, include_excluded=False))
    assert sorted(wanted[hit.uuid] for hit in waiting) == [3, 10]
    expected = sum(crowd.cost_cents(assignments=wanted[hit.uuid], reward_cents=reward) for hit in waiting)
    assert label.waiting_cost_cents(mixed, crowd) == (2, expected)
