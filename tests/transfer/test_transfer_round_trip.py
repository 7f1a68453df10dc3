"""import -> export -> import gives an equal study; what the export writes equals what was published."""

from __future__ import annotations

import json
import shutil
import tarfile
from contextlib import closing

import numpy as np
import pytest
from transfer_content import content, hit_order

from retest.errors import InputError
from retest.models import read_predictions
from retest.stages import layout
from retest.stages._common import Stamp
from retest.stages.imagenetv2 import import_repository
from retest.stages.layout import export_repository
from retest.study import StudyConfig, StudySettings, create_study, open_study

STAMP = Stamp("tester", "2026-01-01T00:00:00+00:00")
# The same key for answers of both studies is not needed: what is exported is hashed already.


def imported(folder, source):
    with closing(create_study(folder, StudyConfig(study=StudySettings(name=folder.name)))) as study:
        return import_repository(study, source, stamp=STAMP)


def exported(folder, out):
    with closing(create_study(folder, StudyConfig(study=StudySettings(name=folder.name)))) as study:
        return export_repository(study, out)


def assert_same(first, second):
    assert first.keys() == second.keys()
    different = [name for name in first if second[name] != first[name]]  # a diff of a whole table would take minutes to print
    for name in different[:1]:
        if isinstance(first[name], list):
            pairs = zip(first[name], second[name], strict=False)
            at = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
            raise AssertionError(f"{name}: {len(first[name])} and {len(second[name])} rows; {at[0][:400]} != {at[1][:400]}")
        raise AssertionError(name)


def by_content(value):
    """A JSON value whose lists have no order."""
    if isinstance(value, list):
        return sorted((by_content(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    if isinstance(value, dict):
        return {key: by_content(one) for key, one in value.items()}
    return value


def first_records(folder):
    """The record that counts of every candidate, in every detail; sizes as numbers, unknown dates (1969-12-31) without their time."""
    found = {}
    for path in sorted((folder / "data/search_results").glob("*.json")):
        for row in json.loads(path.read_text()):
            if row["id_ours"] not in found:
                sizes = {key: None if row[key] is None else int(row[key]) for key in ("width", "height")}
                unknown = {key: value[:10] for key, value in row.items() if isinstance(value, str) and value.startswith("1969-12-31")}
                found[row["id_ours"]] = {**row, **sizes, **unknown, "file": path.name}
    return found


@pytest.fixture(scope="module")
def round_trip(tmp_path_factory, layout_tree):
    folder = tmp_path_factory.mktemp("round")
    tree = layout_tree.write_tree(folder / "tree")
    # Big enough for the rule that tells a file that is stored worst first.
    rng = np.random.default_rng(0)
    images = [[f"{number:040x}", layout_tree.WNIDS[number % 2]] for number in range(200)]
    labels = np.array([number % 2 for number in range(200)])
    revision = {"sampling_function": "sample_best", "seed": 1, "time_string": "2018-12-13_10:26:51_UTC", "username": "becca"}
    revision |= {"image_filenames": images, "is_valid": True, "output_filename": "imagenetv2-c-9.json"}
    (tree / "data/datasets/imagenetv2-c-9.json").write_text(json.dumps(revision))
    top = np.stack([labels, 1 - labels, labels + 2], axis=1)
    wrong = rng.random(200) < 0.3
    top[wrong] = top[wrong][:, [1, 0, 2]]
    for name, array in {"good": top, "fv_16k_model": top[:, ::-1]}.items():
        place = tree / f"data/predictions/imagenetv2-c-9/{name}.npy"
        place.parent.mkdir(exist_ok=True)
        np.save(place, array)
    counts = imported(folder / "one", tree)
    exported(folder / "one", folder / "out")
    again = imported(folder / "two", folder / "out")
    return folder, tree, counts, again


def test_the_second_study_equals_the_first(round_trip):
    folder = round_trip[0]
    assert_same(content(folder / "one"), content(folder / "two"))
    assert hit_order(folder / "one") == hit_order(folder / "two")


def test_the_comparison_sees_a_difference(round_trip):
    first = content(round_trip[0] / "one")
    assert sum(len(rows) for rows in first.values()) > 300
    for name in ("candidates", "hits", "assignments", "neighbors", "reviewed_neighbors", "revisions", "class_reviews", "settings"):
        assert first[name], name
    with pytest.raises(AssertionError):
        assert_same(first, {**first, "candidates": first["candidates"][:-1]})


def test_a_file_stored_worst_first_is_written_as_it_was_published(round_trip):
    folder, tree, _, _ = round_trip
    for name in ("good.npy", "fv_16k_model.npy"):
        path = f"data/predictions/imagenetv2-c-9/{name}"
        np.testing.assert_array_equal(np.load(folder / "out" / path), np.load(tree / path))
    notes = content(folder / "two")["predictions of fv_16k on imagenetv2-c-9"][-1]
    assert any("worst first" in note for note in notes)
    assert any("fv_16k_model" in note for note in notes)


def test_what_the_import_corrected_is_among_the_warnings_that_it_counts(round_trip):
    folder, _, counts, again = round_trip
    assert counts.warnings["stored_worst_first"] == again.warnings["stored_worst_first"] == 1
    with closing(open_study(folder / "one")) as study, study.database.read() as tables:
        assert counts.warnings == tables.warnings.counts()


def test_files_equal_the_published_ones(round_trip, layout_tree):
    folder, _, _, _ = round_trip
    differing = []
    for path, value in layout_tree.documents().items():
        out = folder / "out/data" / path
        if not out.exists() or by_content(json.loads(out.read_text())) != by_content(value):
            differing.append(path)
    # Parts that are broken or repeated on purpose are not written again: a record that counts as a duplicate occurrence keeps no URL,
    # sizes that were texts are numbers, the small test file of neighbours lies beside the full one, the answers of several files (with
    # raw names of annotators) come together in one with hashed names.
    assert set(differing) == {
        "metadata/nearest_neighbor_results_test.json",
        "mturk/results/2018-09-01.json",
        "mturk/results/2018-09-02.json",
        "search_results/2018-09-09_b.json",
    }, differing


def test_importing_again_adds_nothing(round_trip):
    folder, tree, _, _ = round_trip
    before = content(folder / "one")
    counts = imported(folder / "one", tree)
    assert set(counts.added.values()) == {0}
    assert_same(before, content(folder / "one"))


def test_predictions_can_come_later_than_the_revisions_that_they_belong_to(round_trip, tmp_path):
    """Any part of the repository can be imported, in any number of steps."""
    folder, tree, counts, _ = round_trip
    shutil.copytree(tree, tmp_path / "first", ignore=shutil.ignore_patterns("predictions"))
    shutil.copytree(tree / "data/predictions", tmp_path / "later/data/predictions")
    imported(tmp_path / "parts", tmp_path / "first")
    assert not [name for name in content(tmp_path / "parts") if name.startswith("predictions of")]
    assert imported(tmp_path / "parts", tmp_path / "later").added["predictions"] == counts.added["predictions"]
    whole, parts = content(folder / "one"), content(tmp_path / "parts")
    names = [name for name in whole if name.startswith("predictions of")]
    assert len(names) == counts.added["predictions"] > 1
    assert_same({name: whole[name] for name in names}, {name: parts[name] for name in names})


def test_predictions_follow_the_files_revision_where_the_study_has_another(round_trip, tmp_path, layout_tree):
    _, tree, _, _ = round_trip
    shutil.copytree(tree, tmp_path / "changed", ignore=shutil.ignore_patterns("predictions"))
    path = tmp_path / "changed/data/datasets/imagenetv2-c-9.json"
    revision = json.loads(path.read_text())
    path.write_text(json.dumps({**revision, "image_filenames": revision["image_filenames"][::-1]}))
    imported(tmp_path / "parts", tmp_path / "changed")
    imported(tmp_path / "parts", tree)
    stored = read_predictions(tmp_path / "parts/predictions/imagenetv2-c-9/good.parquet")
    assert [[image, layout_tree.WNIDS[label]] for image, label in zip(stored.image_ids, stored.labels, strict=True)] == revision[
        "image_filenames"
    ]


def test_an_archive_gives_the_same_study(round_trip, layout_tree, tmp_path):
    folder, tree, _, _ = round_trip
    archive = layout_tree.tar_tree(tree, tmp_path / "published.tar.gz")
    with tarfile.open(archive) as tar:
        assert len(tar.getnames()) > 20
    imported(tmp_path / "from-archive", archive)
    first, second = content(folder / "one"), content(tmp_path / "from-archive")
    # Names of annotators are hashed with a key of the study.
    assert len(first.pop("assignments")) == len(second.pop("assignments"))
    assert_same(first, second)


def test_selection_frequencies_follow_the_imported_answers(round_trip, layout_tree):
    rows = [json.loads(row) for row in content(round_trip[0] / "one")["selection_frequencies"]]
    found = {(row["wnid"], row["image_id"]): (row["num_assignments"], row["num_selected"]) for row in rows}
    # HIT u1: a1 approved (A and many[0]), a2 rejected, a3 approved (A), a6 approved (D, which the HIT does not show).
    wnid = layout_tree.WNIDS[0]
    assert found[wnid, layout_tree.A] == (3, 2)
    assert found[wnid, layout_tree.ONLY_IN_HIT] == (3, 0)
    assert found[wnid, layout_tree.reference_id("many 0")] == (3, 1)


def test_export_refuses_a_folder_with_something_in_it(round_trip, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not empty"):
        exported(round_trip[0] / "one", tmp_path)


def test_a_failing_export_leaves_nothing_and_two_at_once_do_not_mix(round_trip, tmp_path, monkeypatch):
    real = layout.export_layout

    def interrupted(content, folder):
        real(content, folder)
        raise KeyboardInterrupt

    with closing(open_study(round_trip[0] / "one")) as study:
        monkeypatch.setattr(layout, "export_layout", interrupted)
        with pytest.raises(KeyboardInterrupt):
            layout.export_repository(study, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

        def overtaken(content, folder):
            files = real(content, folder)
            (tmp_path / "out/data").mkdir(parents=True)
            (tmp_path / "out/data/first").touch()
            return files

        monkeypatch.setattr(layout, "export_layout", overtaken)
        with pytest.raises(InputError, match="is not empty"):
            layout.export_repository(study, tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "data", "first"]


@pytest.mark.long
def test_the_published_repository_survives_import_export_import(published, part_of, tmp_path):
    part = part_of(published, tmp_path / "part", predictions=1)
    imported(tmp_path / "one", part)
    exported(tmp_path / "one", tmp_path / "out")
    imported(tmp_path / "two", tmp_path / "out")
    assert_same(content(tmp_path / "one"), content(tmp_path / "two"))
    assert hit_order(tmp_path / "one") == hit_order(tmp_path / "two")
    differing = []
    for path in sorted((part / "data").rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(part)
        out = tmp_path / "out" / name
        if path.suffix == ".npy":
            equal = out.exists() and np.array_equal(np.load(out), np.load(path))
        else:
            equal = out.exists() and by_content(json.loads(out.read_text())) == by_content(json.loads(path.read_text()))
        if not equal:
            differing.append(name.as_posix())
    searches = [name for name in differing if name.startswith("data/search_results/")]
    # The small test file of neighbours comes back under the name of the full one.
    assert sorted(set(differing) - set(searches)) == ["data/metadata/nearest_neighbor_results_test.json"]
    # Search results differ in what was normalised: sizes that were texts, and duplicate occurrences, which keep no details.
    assert first_records(tmp_path / "out") == first_records(part)
