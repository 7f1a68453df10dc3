"""Studies made in bulk: what commands say of them agrees with an independent count, and nothing depends on how they were written."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import asdict

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from retest.cli import cli
from retest.errors import ConflictError, UsageError
from retest.stages import duplicates, label
from retest.stages._facts import refresh
from retest.stages.status import study_status
from retest.store import schema
from retest.study import open_study
from retest.testing.postgres import postgres_missing, postgres_server
from retest.testing.scale import ScaleParameters, fill_at_scale, generate_study

SIZES = {"classes": 4, "candidates": 400, "hits": 40, "assignments_per_hit": 10}
SMALL = ScaleParameters(annotators=20, val_per_class=30, train_per_class=5, neighbors=6)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scale") / "study"
    return folder, generate_study(folder, **SIZES, seed=3, parameters=SMALL)


def figures(*arguments):
    done = CliRunner().invoke(cli, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def rows(folder, query):
    with closing(sqlite3.connect(folder / "study.db")) as connection:
        return connection.execute(query).fetchall()


def counted_by_hand(folder):
    """(image, wnid) -> (assignments, selections) by the rule of the method, section 5, from the rows alone."""
    shown, wnid_of = {}, {}
    for uuid, wnid, images in rows(folder, "SELECT uuid, wnid, images_all FROM hits WHERE excluded IS NULL"):
        shown[uuid], wnid_of[uuid] = json.loads(images), wnid
    counts, selections = Counter(), Counter()
    for uuid, selected in rows(folder, "SELECT hit_uuid, selected FROM assignments WHERE status != 'Rejected'"):
        for image in shown.get(uuid, ()):
            counts[image, wnid_of[uuid]] += 1
            selections[image, wnid_of[uuid]] += image in set(json.loads(selected))
    return {key: (number, selections[key]) for key, number in counts.items()}


def test_status_agrees_with_what_was_written(made):
    folder, facts = made
    counts = figures("status", "--study", folder)
    expected = asdict(facts)
    same = ("classes", "originals_val", "originals_train", "candidates", "excluded", "hits", "hits_excluded", "images_to_label")
    same += ("positive_controls", "negative_controls", "assignments", "reviewed_neighbors", "near_duplicate_pairs")
    assert {name: counts[name] for name in same} == {name: expected[name] for name in same}
    assert sum(counts["neighbor_lists"].values()) == facts.neighbor_lists == 3 * (facts.candidates - facts.excluded)
    assert counts["images_waiting"] == counts["opaque_names_missing"] == 0
    assert counts["image_problems"] == facts.excluded
    assert counts["images_stored"] == facts.candidates - facts.excluded + facts.originals_val


def test_a_study_made_in_bulk_is_whole(made):
    folder, _ = made
    found = figures("study", "verify", "--study", folder, "--deep")
    assert not found["problems"]


def test_frequencies_are_those_counted_by_hand(made):
    folder, facts = made
    assert rows(folder, "SELECT count(*), sum(json_array_length(selected)) FROM assignments") == [
        (facts.assignments, facts.selected_images)
    ]
    figures("label", "plan", "--study", folder, "--dry-run")
    stored = rows(folder, "SELECT image_id, wnid, num_assignments, num_selected FROM selection_frequencies WHERE num_assignments > 0")
    assert {(image, wnid): (number, selected) for image, wnid, number, selected in stored} == counted_by_hand(folder)


def test_commands_run_on_it(made, tmp_path):
    folder, facts = made
    resolved = figures("duplicates", "resolve", "--study", folder)["candidates"]
    in_pairs = {image for pair in rows(folder, "SELECT first, second FROM near_duplicate_pairs") for image in pair}
    candidates = {row[0] for row in rows(folder, "SELECT id FROM candidates")}
    assert {one["candidate"] for one in resolved} == in_pairs & candidates
    quality = figures("label", "quality", "--study", folder)
    (excluded,) = rows(
        folder, "SELECT count(*) FROM assignments a JOIN hits h ON h.uuid = a.hit_uuid WHERE h.excluded IS NOT NULL OR status = 'Rejected'"
    )
    assert quality["assignments"] == facts.assignments - excluded[0]
    assert quality["workers"] == 20
    for name in ("threshold", "matched-frequency", "top-images"):
        sampled = CliRunner().invoke(
            cli, ["sample", name, "--study", str(folder), "--per-class", "3", "--name", f"scale-{name}-1", "--allow-invalid"]
        )
        assert sampled.exit_code == 0, sampled.output
    assert figures("status", "--study", folder)["revisions"] == 3
    report = CliRunner().invoke(cli, ["report", "--study", str(folder), "--out", str(tmp_path / "report.html")])
    assert report.exit_code == 0, report.output
    assert "SIMULATED" in (tmp_path / "report.html").read_text()


def test_answers_per_hit_are_those_counted_by_hand(made):
    folder, _ = made
    valid = Counter(uuid for (uuid,) in rows(folder, "SELECT hit_uuid FROM assignments WHERE status != 'Rejected'"))
    hits = rows(folder, "SELECT uuid FROM hits WHERE submitted AND excluded IS NULL")
    expected = Counter(valid[uuid] for (uuid,) in hits)
    found = figures("label", "progress", "--study", folder, "--collected")["hits_by_valid_answers"]
    assert {int(number): count for number, count in found.items()} == {number: expected[number] for number in range(11)}
    assert expected[10]
    assert len(hits) > expected[10] > 0  # some answers are rejected


def test_facts_read_class_by_class_are_those_of_single_candidates(made):
    folder, facts = made
    metrics = ("l2", "dssim")
    with closing(open_study(folder)) as study:
        with study.database.write() as tables:
            refresh(study, tables)
            flagged = tables.candidates.ids()[7]
            tables.flags.put({flagged: "odd"}, user="test", time="2026-01-01T00:00:00+00:00")
        with study.database.read() as tables:
            streamed = list(tables.facts.candidates(metrics))
            alone = {found.id: found for image in tables.candidates.ids() for found in tables.facts.candidates(metrics, ids=[image])}
        with study.database.write() as tables:
            tables.flags.remove([flagged])
    assert [(found.wnid, found.id) for found in streamed] == sorted((found.wnid, found.id) for found in streamed)
    assert {found.id: found for found in streamed} == alone
    assert len(streamed) == facts.candidates
    assert alone[flagged].excluded
    thresholds = {}
    for image, metric, value in rows(folder, "SELECT candidate_id, metric, threshold FROM review_thresholds"):
        thresholds.setdefault(image, {})[metric] = value
    for found in streamed:
        assert found.review_thresholds == {m: v for m, v in thresholds.get(found.id, {}).items() if m in metrics}
    assert len({len(set(found.review_thresholds.values())) for found in streamed}) > 1


def test_the_same_seed_gives_the_same_study(made, tmp_path):
    folder, facts = made
    assert generate_study(tmp_path / "again", **SIZES, seed=3, parameters=SMALL) == facts
    for table in ("candidates", "hits", "hit_images", "assignments", "neighbors", "reviewed_neighbors", "near_duplicate_pairs", "variants"):
        query = f"SELECT * FROM {table} ORDER BY 1, 2, 3"
        assert rows(tmp_path / "again", query) == rows(folder, query), table
    other = generate_study(tmp_path / "other", **SIZES, seed=4, parameters=SMALL)
    assert other.selected_images != facts.selected_images


def test_postgresql_holds_and_derives_the_same(made, tmp_path):
    if reason := postgres_missing():
        pytest.skip(reason)
    folder, facts = made
    with postgres_server() as server:
        url = server.create()
        assert generate_study(tmp_path / "pg", **SIZES, seed=3, parameters=SMALL, database=url) == facts
        with closing(open_study(folder)) as one, closing(open_study(tmp_path / "pg")) as other:
            for study in (one, other):
                with study.database.write() as tables:
                    refresh(study, tables)
            with one.database.read() as left, other.database.read() as right:
                for name in ("hits", "assignments", "hit_images", "neighbors", "decisions", "selection_frequencies", "review_thresholds"):
                    table = schema.metadata.tables[name]
                    query = sa.select(table).order_by(*table.primary_key.columns)
                    found = [[tuple(row) for row in tables.connection.execute(query)] for tables in (left, right)]
                    assert found[0] == found[1], name
                assert left.pairs.resolutions() == right.pairs.resolutions()
            assert label.answer_histogram(one) == label.answer_histogram(other)
            with one.database.read() as left, other.database.read() as right:
                facts_of = [list(tables.facts.candidates(("l2", "dssim"))) for tables in (left, right)]
            assert facts_of[0] == facts_of[1]
            queues = [duplicates.queue(study) for study in (one, other)]
            assert queues[0] == queues[1]
            assert study_status(one).counts.keys() == study_status(other).counts.keys()
        server.give_back(url)


def test_a_study_with_rows_is_left_alone(made):
    folder, _ = made
    with closing(open_study(folder)) as study, pytest.raises(ConflictError, match="rows already"):
        fill_at_scale(study, parameters=SMALL, seed=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"classes": 1}, "classes"), ({"hits": 3}, "hits"), ({"excluded": 1.5}, "from 0 to 1"), ({"unlabelled": 1.0}, "nothing to label")],
)
def test_sizes_are_checked(wrong, message):
    with pytest.raises(UsageError, match=message):
        ScaleParameters(**wrong)
