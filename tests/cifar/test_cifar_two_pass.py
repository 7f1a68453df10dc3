"""The stages of a study in CIFAR-10.1's manner: two passes by name, near originals, strata; small images, few classes."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from chromium_browser import MISSING, launch
from retest.cli import cli
from retest.errors import InputError, NotFoundError, StageError, UsageError
from retest.labeling.two_pass import Pass, Verdict
from retest.records import Split
from retest.sources import FolderSource
from retest.stages import benchmark, collect, images, near_originals, neighbors, sample, strata, two_pass
from retest.stages._common import Stamp
from retest.study import BenchmarkSettings, SourceSettings, StudyConfig, create_study
from retest.study.kinds import settings_like

STAMP = Stamp("keeper", "2026-01-31T09:00:00+00:00")


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def study(tmp_path):
    """Two classes; original images and candidates in sub-categories; one candidate is a copy of an original image."""
    seed = 0
    for wnid in ("cat", "dog"):
        for part, count in (("train", 2), ("val", 3), ("pool", 4)):
            for keyword in ("big", "small"):
                for number in range(count):
                    seed += 1
                    picture(tmp_path / part / wnid / keyword / f"{number}.png", seed)
    shutil.copy(tmp_path / "val/cat/big/0.png", tmp_path / "pool/cat/big/copy.png")
    config = StudyConfig(benchmark=BenchmarkSettings(train="../train", val="../val"), source=SourceSettings(location="../pool"))
    made = create_study(tmp_path / "study", settings_like("cifar10.1", config))
    source = FolderSource(tmp_path / "pool")
    benchmark.register_benchmark(made)
    collect.search(made, source, stamp=STAMP)
    images.store_images(made, source.fetch, stamp=STAMP)
    yield made
    made.close()


def ids(study, prefix=""):
    with study.database.read() as tables:
        return {c.photo_id: c.id for c in tables.candidates.all() if c.photo_id.startswith(prefix)}


def frequencies(study):
    with study.database.read() as tables:
        return {f.image_id: (f.num_selected, f.num_assignments) for f in tables.frequencies.all()}


def judge(study, step, labeller, answers):
    return two_pass.record(study, Pass(step), labeller, answers, stamp=STAMP)


def test_judgements_become_history_frequencies_and_verdicts(study):
    a, b, c = list(ids(study, "cat/big").values())[:3]
    assert judge(study, "first", "ann", {a: True, b: True, c: False}) == two_pass.Recorded(3, 0, 0)
    assert judge(study, "second", "bob", {a: True, b: False}) == two_pass.Recorded(2, 0, 0)
    assert frequencies(study) == {a: (2, 2), b: (1, 2), c: (0, 1)}
    judge(study, "reconcile", "ann and bob", {b: True})
    assert frequencies(study)[b] == (2, 3)
    found = two_pass.state(study)
    assert {image: outcome.verdict for image, outcome in found.outcomes.items()} == {
        a: Verdict.ACCEPTED, b: Verdict.ACCEPTED, c: Verdict.REJECTED,
    }  # fmt: skip
    assert found.untouched == 14
    with study.database.read() as tables:
        rows = tables.decisions.all(item=b)
        answers = {(answer.worker, answer.selected) for answer in tables.assignments.all()}
    assert [(row["kind"], row["user"], row["after"]) for row in rows] == [
        ("two_pass/first", "ann", {"selected": True, "entered_by": "keeper"}),
        ("two_pass/second", "bob", {"selected": False, "entered_by": "keeper"}),
        ("two_pass/reconcile", "ann and bob", {"selected": True, "entered_by": "keeper"}),
    ]
    assert answers == {("ann", tuple(sorted((a, b)))), ("bob", (a,)), ("ann and bob", (b,))}


def test_a_correction_replaces_and_the_history_remembers(study):
    a, b = list(ids(study, "cat/big").values())[:2]
    judge(study, "first", "ann", {a: True, b: True})
    assert judge(study, "first", "ann", {a: True, b: True}) == two_pass.Recorded(0, 0, 2)
    assert judge(study, "first", "ann", {a: False}) == two_pass.Recorded(0, 1, 0)
    assert frequencies(study) == {a: (0, 1), b: (1, 1)}
    assert judge(study, "first", "ann", {a: True}) == two_pass.Recorded(0, 1, 0)
    assert frequencies(study) == {a: (1, 1), b: (1, 1)}
    with study.database.read() as tables:
        assert [row["after"]["selected"] for row in tables.decisions.all(item=a)] == [True, False, True]
        assert [row["before"] for row in tables.decisions.all(item=a)] == [None, {"selected": True}, {"selected": False}]
        assert len(tables.hits.excluded()) == 2
        assert all("newer HIT" in reason for reason in tables.hits.excluded().values())


def test_all_or_nothing(study):
    a, b = list(ids(study, "cat/big").values())[:2]
    judge(study, "first", "ann", {a: True})
    for error, message, answers in (
        (NotFoundError, "nobody: is no candidate", ("second", "bob", {a: True, "nobody": True})),
        (InputError, "was judged by ann in the first pass already", ("first", "eve", {b: True, a: False})),
        (InputError, "was judged in both passes by ann", ("second", "ann", {a: True})),
        (InputError, "nobody disagrees", ("reconcile", "eve", {a: True})),
        (UsageError, "no usable name", ("first", " ", {b: True})),
    ):
        with pytest.raises(error, match=message):
            judge(study, *answers)
    assert frequencies(study) == {a: (1, 1)}
    with study.database.read() as tables:
        assert tables.decisions.count() == 1


def test_who_sees_what(study):
    everything = ids(study)
    cats = ids(study, "cat")
    assert [item.candidate.id for item in two_pass.waiting(study, Pass.FIRST, labeller="ann", wnid="cat")] == sorted(cats.values())
    yes, no, *_ = sorted(cats.values())
    judge(study, "first", "ann", {yes: True, no: False})

    def seen(step, labeller):
        return {item.candidate.id for item in two_pass.waiting(study, Pass(step), labeller=labeller)}

    assert seen("first", "eve") == set(everything.values()) - {yes, no}
    assert seen("second", "bob") == {yes}
    assert seen("second", "ann") == set()
    judge(study, "second", "bob", {yes: False})
    assert seen("second", "eve") == set()
    (item,) = two_pass.waiting(study, Pass.RECONCILE, labeller="eve")
    assert (item.candidate.id, item.remarks) == (yes, "ann: yes, bob: no; waits for reconciliation")
    assert len(two_pass.waiting(study, Pass.FIRST, labeller="eve", limit=3)) == 3
    with pytest.raises(NotFoundError, match="Classes: cat, dog"):
        two_pass.waiting(study, Pass.FIRST, labeller="ann", wnid="owl")


def test_only_accepted_candidates_are_sampled(study):
    cats, dogs = (sorted(ids(study, wnid).values()) for wnid in ("cat", "dog"))
    neighbors.find_neighbors(study)
    judge(study, "first", "ann", dict.fromkeys(cats[:4] + dogs[:4], True))
    judge(study, "second", "bob", {**dict.fromkeys(cats[:4] + dogs[:4], True), cats[0]: False, dogs[0]: False})
    judge(study, "reconcile", "eve", {dogs[0]: True})
    assert two_pass.has_judgements(study)
    assert two_pass.state(study).count(Verdict.ACCEPTED) == 7
    made = sample.sample(study, "threshold", name="x", parameters=_sampling(study), stamp=STAMP, store=False).result
    assert {image for image, _ in made.images} == {*cats[1:4], *dogs[:4]}


def _sampling(study):
    return dataclasses.replace(study.config.sampling, per_class=4, near_duplicate_review_targets={})


def test_near_originals_are_those_by_brute_force(study, tmp_path):
    """Distances on the stored 32 x 32 pixels by NumPy, for thresholds on both sides of every distance."""
    neighbors.find_neighbors(study)
    with study.database.read() as tables:
        pixels = {
            v.image_id: np.asarray(Image.open(io.BytesIO(study.blobs.get(v.blob_key)))).astype(np.int64)
            for v in tables.variants.all("scaled_32")
        }
        originals = {image.id for image in tables.originals.all()}
    assert {image.shape for image in pixels.values()} == {(32, 32, 3)}
    nearest = {
        candidate: min(int(((pixels[candidate] - pixels[image]) ** 2).sum()) for image in originals) for candidate in ids(study).values()
    }
    distances = sorted(nearest.values())
    assert distances[0] == 0 < distances[1]
    for distance in (0, distances[3], distances[3] - 1, distances[-1]):
        expected = sum(value <= distance for value in distances)
        found = near_originals.exclude_near_originals(study, metric="l2", distance=distance, stamp=STAMP, store=False)
        assert (found.candidates, found.within, found.added) == (17, expected, 0)
    assert near_originals.exclude_near_originals(study, metric="l2", distance=0, stamp=STAMP).added == 1
    assert near_originals.exclude_near_originals(study, metric="l2", distance=0, stamp=STAMP).added == 0
    with study.database.read() as tables:
        ((image, exclusion),) = tables.exclusions.all().items()
    assert image == ids(study)["cat/big/copy.png"]
    assert (exclusion.reason, exclusion.detail) == ("near_original", "l2 distance 0 to val/cat/big/0.png")
    with pytest.raises(StageError, match="no neighbours in this metric"):
        near_originals.exclude_near_originals(study, metric="dssim", distance=0.1, stamp=STAMP)
    with pytest.raises(UsageError, match="at least 0"):
        near_originals.exclude_near_originals(study, metric="l2", distance=float("nan"), stamp=STAMP)


def test_a_list_without_an_original_decides_nothing(study):
    from retest.records import Neighbor

    a, b, c = list(ids(study).values())[:3]
    with study.database.write() as tables:
        tables.neighbors.put(
            "l2", {a: [Neighbor(a, 0.0), Neighbor(b, 5.0)], b: [Neighbor(b, 0.0)], c: [Neighbor(c, 0.0), Neighbor(b, 20.0)]}
        )
    with pytest.raises(StageError, match=r"its 2 nearest neighbours, up to distance 5, hold no original image\. Raise k"):
        near_originals.exclude_near_originals(study, metric="l2", distance=10, stamp=STAMP)
    assert near_originals.exclude_near_originals(study, metric="l2", distance=4, stamp=STAMP).within == 0


def test_neighbors_of_at_32_pixels(study, tmp_path):
    """The command on two folders: the same distances as the study's search."""
    import pyarrow.parquet as pq

    out = tmp_path / "pairs.parquet"
    done = CliRunner().invoke(
        cli,
        ["neighbors-of", str(tmp_path / "pool"), str(tmp_path / "val"), "--metric", "l2", "--side", "32", "--k", "3", "--out", str(out)],
    )
    assert done.exit_code == 0, done.output
    rows = pq.read_table(out).to_pylist()
    assert len(rows) == 17 * 3
    first = {row["query"]: (row["reference"], row["distance"]) for row in rows if row["rank"] == 1}
    assert first["cat/big/copy.png"] == ("cat/big/0.png", 0.0)
    assert min(distance for query, (_, distance) in first.items() if query != "cat/big/copy.png") > 0


def test_strata_are_folders_or_search_terms(study):
    found = strata.find_strata(study)
    assert found.reference == {wnid: {"big": 5, "small": 5} for wnid in ("cat", "dog")}
    assert found.without == 0
    assert {found.candidates[image] for photo, image in ids(study).items() if "/big/" in photo} == {("big",)}
    with study.database.read() as tables:
        image = tables.originals.ids(split=Split.VAL)[0]
    given = strata.find_strata(study, splits=(Split.VAL,), originals={image: ("rare", "big")})
    assert (given.reference, given.without) == ({"cat": {"rare": 1}}, 11)
    with pytest.raises(StageError, match="no original image has a sub-category"):
        strata.find_strata(study, originals={})


def retest(*arguments, code=0):
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def test_the_commands(study, tmp_path):
    folder, sheet = study.folder, tmp_path / "sheet.csv"
    retest("label", "two-pass", "sheet", "--study", folder, "--pass", "first", "--labeller", "ann", "--class", "cat", "--out", sheet)
    rows = list(csv.DictReader(sheet.open(newline="")))
    assert {row["class"] for row in rows} == {"cat"}
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["candidate", "selected"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "selected": ("Yes", "no", "")[place % 3]} for place, row in enumerate(rows))
    done = retest("label", "two-pass", "record", sheet, "--study", folder, "--pass", "first", "--labeller", "ann", "--json")
    assert json.loads(done.stdout) == {"new": 6, "changed": 0, "unchanged": 0}
    again = tmp_path / "bob.json"
    again.write_text(json.dumps({rows[0]["candidate"]: False}))
    retest("label", "two-pass", "record", again, "--study", folder, "--pass", "second", "--labeller", "bob")
    shown = json.loads(retest("label", "two-pass", "show", "--study", folder, "--verdict", "open", "--json").stdout)
    assert (shown["accepted"], shown["rejected"], shown["open"], shown["untouched"]) == (0, 3, 3, 11)
    assert shown["waits_for"] == {"second": 2, "reconcile": 1}
    assert [row["reason"] for row in shown["candidates"] if row["candidate"] == rows[0]["candidate"]] == [
        "ann: yes, bob: no; waits for reconciliation"
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "candidate,selected\nx,perhaps\n", "neither yes nor no"),
        ("a.csv", "candidate,selected\nx,yes\nx,no\n", "comes twice"),
        ("a.csv", "candidate,selected\nx,\n", "holds no judgement"),
        ("a.csv", "photo\nx\n", "cannot be read as CSV"),
        ("a.json", '{"x": "yes"}', "true or false"),
        ("a.json", "{", "is not JSON"),
    ],
)
def test_files_that_are_no_judgements(study, tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    from retest.cli._two_pass import read_judgements

    with pytest.raises(InputError, match=message):
        read_judgements(path)


def test_wrong_usage_exits_with_2(study):
    retest("label", "two-pass", "sheet", "--study", study.folder, "--pass", "third", "--labeller", "ann", "--out", "x", code=2)
    retest("duplicates", "near-originals", "--study", study.folder, "--within", "-1", code=2)


@pytest.mark.browser
@pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
def test_the_sheet_saves_what_was_ticked(study, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    sheet = tmp_path / "sheet.html"
    retest("label", "two-pass", "sheet", "--study", study.folder, "--pass", "first", "--labeller", 'ann "a"', "--out", sheet)
    text = sheet.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    command = unescape(re.search("<code>(.*)</code>", text)[1])
    assert shlex.split(command)[-4:] == ["--pass", "first", "--labeller", 'ann "a"']
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(sheet.as_uri())
        page.get_by_label("Image 2", exact=True).check()
        assert page.locator("output").inner_text() == "1 of 17 ticked"
        with page.expect_download() as download:
            page.get_by_role("button", name="Save judgements").click()
        saved = tmp_path / "saved.csv"
        download.value.save_as(saved)
        browser.close()
    assert errors == []
    done = retest("label", "two-pass", "record", saved, "--study", study.folder, "--pass", "first", "--labeller", "ann", "--json")
    assert json.loads(done.stdout)["new"] == 17
    assert sum(outcome.verdict is Verdict.OPEN for outcome in two_pass.state(study).outcomes.values()) == 1
