"""Every form of export, loaded back with the ecosystem's own library; checksums, descriptions, resuming."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tracemalloc
import warnings
from contextlib import closing

import numpy as np
import pyarrow
import pytest
from export_study import make_export_study
from PIL import Image

from retest.errors import ConflictError
from retest.records import ClassInfo, Revision
from retest.stages.export import export_revision
from retest.study import open_study

FORMS = ("imagefolder", "webdataset", "parquet", "huggingface", "croissant")
LABELS = {"n02": 0, "n10": 1, "n01": 2}


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def metadata(folder):
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_lists_the_images_in_order_with_attribution_and_checksums(exported, revision, form):
    out = exported(form)
    rows = metadata(out)
    assert [(row["image_id"], row["wnid"]) for row in rows] == revision
    assert [int(row["label"]) for row in rows] == [LABELS[wnid] for _, wnid in revision]
    assert {row["license"] for row in rows} == {"", "CC BY 2.0"}
    assert all(row["title"] == "a | title\nof two lines" and row["owner"].endswith("Zoë") for row in rows)
    assert all(0.2 <= float(row["selection_frequency"]) <= 0.9 and row["num_assignments"] == "10" for row in rows)
    with (out / "ATTRIBUTION.csv").open(newline="", encoding="utf-8") as file:
        assert [row["image_id"] for row in csv.DictReader(file)] == [image for image, _ in revision]
    sums = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    assert sums == {
        path: hashlib.sha256(data).hexdigest() for path, data in tree(out).items() if path not in ("SHA256SUMS", "manifest.json")
    }
    manifest = json.loads((out / "manifest.json").read_text())
    assert [(image["id"], image["wnid"]) for image in manifest["images"]] == revision
    assert manifest["revision"]["name"] == "small-c-1"
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize("form", FORMS)
def test_the_datasheet_is_filled_from_the_study(exported, form):
    text = (exported(form) / "DATASHEET.md").read_text()
    for line in (
        "| images | 15 |",
        "| images per class | 5 |",
        "| candidates from flickr | 24 |",
        "| candidates excluded | 3 |",
        "| excluded: synthetic | 3 |",
        "| HITs (labelling tasks) | 3 |",
        "| HITs made | 2026-01-01 |",
        "| answers approved | 30 |",
        "| annotators | 10 |",
        "| function | sample_best |",
        "| licence: CC BY 2.0 | 10 |",
        "| licence: not known | 5 |",
        "| classes reviewed | 0 of 3 |",
    ):
        assert line in text, line


@pytest.mark.parametrize("form", FORMS)
def test_croissant_is_valid_and_gives_the_records(exported, revision, pixels, form):
    mlcroissant = pytest.importorskip("mlcroissant")
    out = exported(form)
    dataset = mlcroissant.Dataset(jsonld=str(out / "croissant.json"))
    assert dataset.metadata.ctx.issues.errors == set()
    records = list(dataset.records(record_set="images"))
    assert [(row["images/image_id"].decode(), row["images/wnid"].decode()) for row in records] == revision
    assert [row["images/label"] for row in records] == [LABELS[wnid] for _, wnid in revision]
    if form in ("imagefolder", "huggingface", "croissant"):
        ids = {row["sha256"]: row["image_id"] for row in metadata(out)}
        found = list(dataset.records(record_set="pixels"))
        assert len(found) == len(revision)
        for row in found:
            assert any(np.array_equal(np.asarray(row["pixels/image"]), pixels[image]) for image in ids.values())


def test_croissant_refuses_a_file_that_was_changed(exported, tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant")
    shutil.copytree(exported("imagefolder"), tmp_path / "out")
    with (tmp_path / "out/metadata.csv").open("a") as file:
        file.write("x\n")
    with pytest.raises(Exception, match="metadata") as raised:
        list(mlcroissant.Dataset(jsonld=str(tmp_path / "out/croissant.json")).records(record_set="images"))
    assert "hash" in repr(raised.value.__cause__).lower()


@pytest.mark.parametrize("by_index", [False, True])
def test_an_image_folder_sorts_its_classes_as_named(command, revision, pixels, tmp_path, by_index):
    command("export", "small-c-1", "--out", tmp_path / "out", *(["--by-index"] if by_index else []))
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert folders == (["0", "1", "2"] if by_index else ["n01", "n02", "n10"])
    for image, wnid in revision:
        path = tmp_path / "out" / (str(LABELS[wnid]) if by_index else wnid) / f"{image}.jpg"
        np.testing.assert_array_equal(decoded(path.read_bytes()), pixels[image])


def test_webdataset_loads_the_shards(exported, revision, pixels):
    wds = pytest.importorskip("webdataset")
    shards = sorted(map(str, exported("webdataset").glob("*.tar")))
    assert len(shards) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(wds.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert [(one["json"]["image_id"], one["json"]["wnid"]) for one in samples] == revision
    assert [one["cls"] for one in samples] == [LABELS[wnid] for _, wnid in revision]
    for one, (image, _) in zip(samples, revision, strict=True):
        np.testing.assert_array_equal(one["jpg"], pixels[image])


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return pytest.importorskip("datasets")


def test_datasets_loads_the_parquet_shards(exported, revision, pixels, datasets, tmp_path):
    files = [str(path) for path in sorted((exported("parquet") / "data").glob("*.parquet"))]
    found = datasets.load_dataset("parquet", data_files={"test": files}, split="test", cache_dir=str(tmp_path / "cache"))
    assert list(zip(found["image_id"], found["wnid"], strict=True)) == revision
    assert found.features["label"].names == list(LABELS)
    assert found["label"] == [LABELS[wnid] for _, wnid in revision]
    for row, (image, _) in zip(found, revision, strict=True):
        np.testing.assert_array_equal(np.asarray(row["image"]), pixels[image])


def test_pandas_reads_the_parquet_shards_too(exported, revision):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(exported("parquet") / "data")
    assert frame["image_id"].tolist() == [image for image, _ in revision]
    assert [hashlib.sha256(picture["bytes"]).hexdigest() for picture in frame["image"]] == frame["sha256"].tolist()


def test_datasets_loads_the_hugging_face_folder(exported, revision, pixels, datasets, tmp_path):
    out = exported("huggingface")
    for found in (
        datasets.load_dataset(str(out), split="test", cache_dir=str(tmp_path / "one")),
        datasets.load_dataset("imagefolder", data_dir=str(out), split="test", cache_dir=str(tmp_path / "two")),
    ):
        assert len(found) == len(revision)
        rows = {row["image_id"]: row for row in found}
        for image, wnid in revision:
            assert (rows[image]["wnid"], rows[image]["label"]) == (wnid, LABELS[wnid])
            np.testing.assert_array_equal(np.asarray(rows[image]["image"]), pixels[image])
    card = (out / "README.md").read_text()
    assert card.startswith("---\n")
    assert "image-classification" in card


@pytest.mark.parametrize("form", FORMS)
def test_exporting_again_writes_nothing_and_an_interrupted_export_goes_on(exported, command, tmp_path, form):
    before = tree(exported(form))
    again = command("export", "small-c-1", "--format", form, "--out", exported(form), "--json")
    assert again["written"] == 0
    assert tree(exported(form)) == before
    # As a killed process leaves it: no manifest, some of the files, a temporary file, the note that was written first.
    shutil.copytree(exported(form), tmp_path / "out")
    (tmp_path / "out/manifest.json").rename(tmp_path / "manifest.json")
    note = json.loads((tmp_path / "manifest.json").read_text())["export"]
    (tmp_path / "out/.export.json").write_text(json.dumps(note))
    data = sorted(path for path in (tmp_path / "out").rglob("*") if path.suffix in (".jpg", ".tar", ".parquet"))
    data[0].unlink()
    data[-1].with_name(f".{data[-1].name}.123.tmp").write_bytes(b"half")
    done = command("export", "small-c-1", "--format", form, "--out", tmp_path / "out", "--json")
    assert done["written"] == (1 if len(data) > 1 else 15)
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("form", ["webdataset", "parquet", "imagefolder"])
def test_a_damaged_file_of_a_finished_export_is_written_again(exported, command, tmp_path, form):
    before = tree(exported(form))
    shutil.copytree(exported(form), tmp_path / "out")
    data = next(path for path in sorted((tmp_path / "out").rglob("*")) if path.suffix in (".jpg", ".tar", ".parquet"))
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    command("export", "small-c-1", "--format", form, "--out", tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_shards_are_cut_in_order(study_folder, revision, tmp_path, monkeypatch):
    from retest.stages import _export_forms

    wds = pytest.importorskip("webdataset")
    monkeypatch.setattr(_export_forms, "SHARD_IMAGES", 4)
    with closing(open_study(study_folder)) as study:
        export_revision(study, "small-c-1", tmp_path / "w", form="webdataset")
        export_revision(study, "small-c-1", tmp_path / "p", form="parquet")
    shards = sorted(map(str, (tmp_path / "w").glob("*.tar")))
    assert [path.rpartition("/")[2] for path in shards] == [f"small-c-1-test-{number:06d}.tar" for number in range(4)]
    samples = list(wds.WebDataset(shards, shardshuffle=False).decode())
    assert [one["json"]["image_id"] for one in samples] == [image for image, _ in revision]
    assert len(list((tmp_path / "p/data").glob("test-0000?-of-00004.parquet"))) == 4


class BigImages:
    """Blobs of a mebibyte each; ``watch`` is called before one is handed out."""

    def __init__(self, watch):
        self.watch = watch

    def get(self, key):
        self.watch()
        return key.encode().ljust(1 << 20, b"x")


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_an_archive_of_any_size_needs_little_memory(study_folder, tmp_path, monkeypatch, form):
    from retest.stages import _export_forms

    monkeypatch.setattr(_export_forms, "_ROW_GROUP", 2)
    seen = []

    def watch():
        seen.append(tracemalloc.get_traced_memory()[0] + pyarrow.total_allocated_bytes())

    with closing(open_study(study_folder)) as study:
        tracemalloc.start()
        try:
            done = export_revision(dataclasses.replace(study, blobs=BigImages(watch)), "small-c-1", tmp_path / "out", form=form)
        finally:
            tracemalloc.stop()
    assert (done.written, len(seen)) == (15, 15)
    (archive,) = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".tar", ".parquet")]
    # The pictures differ in a few bytes only, and tables are compressed.
    assert form == "parquet" or archive.stat().st_size > 15 << 20
    assert max(seen) - seen[0] < 6 << 20


@pytest.mark.parametrize("form", FORMS)
def test_two_exports_into_one_folder_do_not_meet(exported, study_folder, tmp_path, form):

    seen = []
    with closing(open_study(study_folder)) as study:

        class Blobs:
            def get(self, key):
                if not seen:
                    seen.append(tree(tmp_path / "out").keys())
                    with pytest.raises(ConflictError, match="another process is writing this folder"):
                        export_revision(study, "small-c-1", tmp_path / "out", form=form)
                return study.blobs.get(key)

        export_revision(dataclasses.replace(study, blobs=Blobs()), "small-c-1", tmp_path / "out", form=form)
        assert export_revision(study, "small-c-1", tmp_path / "out", form=form).written == 0
    assert len(seen) == 1
    assert tree(tmp_path / "out") == tree(exported(form))


def test_the_lock_of_a_killed_export_keeps_nobody_out(exported, study_folder, tmp_path):

    code = (
        "import os, sys; from pathlib import Path; from retest.stages._folder_lock import locked_folder\n"
        "with locked_folder(Path(sys.argv[1])):\n    os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False).returncode == 9
    assert (tmp_path / "out/.retest.lock").exists()
    with closing(open_study(study_folder)) as study:
        assert export_revision(study, "small-c-1", tmp_path / "out").written == 15
    assert tree(tmp_path / "out") == tree(exported("imagefolder"))


def test_another_set_or_form_is_never_mixed_in(exported, command, tmp_path, revision):
    shutil.copytree(exported("parquet"), tmp_path / "out")
    for arguments in (("small-val-0", "--format", "parquet"), ("small-c-1", "--format", "webdataset")):
        with pytest.raises(AssertionError, match="holds small-c-1"):
            command("export", *arguments, "--out", tmp_path / "out")
    with pytest.raises(AssertionError, match="no class folders"):
        command("export", "small-c-1", "--format", "parquet", "--by-index", "--out", tmp_path / "new")


def test_original_images_can_be_exported_as_well(command, tmp_path, pixels):
    command("export", "small-val-0", "--format", "imagefolder", "--out", tmp_path / "out")
    rows = metadata(tmp_path / "out")
    assert len(rows) == 6
    for row in rows:
        assert row["image_id"].startswith(f"val/{row['wnid']}/")
        assert row["file_name"].count("/") == 1
        np.testing.assert_array_equal(decoded((tmp_path / "out" / row["file_name"]).read_bytes()), pixels[row["image_id"]])
        assert (row["source"], row["license"]) == ("", "")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by_index", [False, True])
def test_names_of_classes_lead_nowhere_else(tmp_path, form, by_index):
    """Imported studies name their classes; no name may be a path, hidden, too long, or meet that of another class."""
    if by_index and form in ("webdataset", "parquet"):
        pytest.skip("there are no class folders")
    names = ["../../evil", "/evil", "a/b", "a_b", "A_B", "..", ".hidden", "a\\b", "x" * 300, "plain"]
    with closing(open_study(make_export_study(tmp_path / "here/study", revisions=False))) as study:
        with study.database.write() as tables:
            tables.classes.put(
                ClassInfo(name, 10 + number) for number, name in enumerate(names[:-1])
            )  # "plain" is known by the revision only
            ids = [candidate.id for candidate in tables.candidates.all()][: len(names)]
            tables.revisions.add(Revision("names-a-1", "imported", tuple(zip(ids, names, strict=True)), is_valid=True, seed=0))
        before = tree(tmp_path)
        out = tmp_path / "here/out"
        export_revision(study, "names-a-1", out, form=form, by_index=by_index)
        assert {path: data for path, data in tree(tmp_path).items() if not path.startswith("here/out/")}.keys() == before.keys()
    if form in ("imagefolder", "huggingface", "croissant"):
        folders = [path.parent for path in out.rglob("*.jpg")]
        assert len({str(folder).lower() for folder in folders}) == len(folders) == len(names)
        assert all(folder.parent == (out / "test" if form == "huggingface" else out) and folder.name[0] != "." for folder in folders)
        classes = json.loads((out / "manifest.json").read_text())["classes"]
        assert {classes[name] for name in names} == {folder.name for folder in folders}
        assert classes["plain"] == "plain"
