"""`retest sample` and `retest revision` as a user meets them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from contextlib import closing

import pytest

from retest.records import Exclusion, Revision
from retest.sampling import CandidateFacts, OriginalFacts
from retest.study import open_study
from retest.testing.synthetic import SyntheticFacts, SyntheticParameters, random_facts

HIGH = {"l2": 1e100, "dssim": 1e100, "fc7": 1e100}


@pytest.fixture
def cli(make_study):
    return make_study(random_facts(seed=3, parameters=SyntheticParameters(candidates=300, classes=3)))


def stored(cli, name):
    return cli.run("revision", "show", name, "--json")["image_filenames"]


def test_an_incomplete_set_is_reported_and_not_stored(cli):
    done = cli.run("sample", "threshold", "--per-class", 500, "--name", "s-a-1", "--json", code=1)
    assert (done["stored"], done["is_valid"]) == (False, False)
    assert [report["wnid"] for report in done["shortfalls"]] == ["n00000000", "n00000001", "n00000002"]
    assert all(report["unusable"] for report in done["shortfalls"])
    assert cli.run("revision", "list", "--json") == []
    assert cli.run("sample", "threshold", "--per-class", 500, "--name", "s-a-1", "--allow-invalid", "--json")["stored"]
    assert cli.run("revision", "show", "s-a-1", "--json")["is_valid"] is False


def test_a_dry_run_stores_nothing_and_needs_no_name(cli):
    done = cli.run("sample", "top-images", "--per-class", 4, "--dry-run", "--json")
    assert (done["name"], done["images"], done["stored"]) == (None, 12, False)
    assert cli.run("revision", "list", "--json") == []
    assert "Nothing was stored" in cli.run("sample", "top-images", "--per-class", 4, "--dry-run")


def test_the_same_again_is_no_second_revision_and_another_is_a_conflict(cli):
    arguments = ("sample", "threshold", "--per-class", 4, "--name", "s-a-1")
    assert "Stored as s-a-1" in cli.run(*arguments, "--seed", 1)
    assert "there already" in cli.run(*arguments, "--seed", 1)
    assert "never change" in str(cli.failing(*arguments, "--seed", 2).exception)


def test_answers_and_exclusions_that_came_later_count(cli):
    cli.run("sample", "top-images", "--per-class", 5, "--name", "s-c-1")
    image, wnid = stored(cli, "s-c-1")[0]
    with closing(open_study(cli.study)) as study, study.database.write() as tables:
        tables.exclusions.add([Exclusion(image, "a drawing")])
    cli.run("sample", "top-images", "--per-class", 5, "--name", "s-c-2", "--starting-from", "s-c-1")
    assert image not in {one for one, _ in stored(cli, "s-c-2")}
    found = cli.run("revision", "check", "s-c-1", "--json")
    assert found["warnings"] == {"excluded": 1}
    assert found["details"][0]["image"] == image
    assert cli.run("revision", "check", "s-c-2", "--strict", "--json")["warnings"] == {}
    cli.run("revision", "check", "s-c-1", "--strict", code=1)
    changed = cli.run("revision", "diff", "s-c-1", "s-c-2", "--json")
    assert (changed["kept"], changed["added"], changed["removed"]) == (14, 1, 1)
    assert [(one["wnid"], one["removed"]) for one in changed["classes"]] == [(wnid, [image])]


def test_reviews_are_recorded_and_carried_over_by_the_rule(cli):
    cli.run("sample", "top-images", "--per-class", 5, "--name", "s-c-1")
    wnids = ["n00000000", "n00000001", "n00000002"]
    cli.run("revision", "review", "s-c-1", *wnids, "--reviewed")
    done = cli.run("revision", "review", "s-c-1", wnids[1], "--problematic", "--json")
    assert done == {"revision": "s-c-1", "changed": [wnids[1]], "reviewed": 3, "problematic": 1}
    assert cli.run("revision", "review", "s-c-1", wnids[1], "--problematic", "--json")["changed"] == []
    changed_image = next(image for image, wnid in stored(cli, "s-c-1") if wnid == wnids[2])
    with closing(open_study(cli.study)) as study, study.database.write() as tables:
        tables.exclusions.add([Exclusion(changed_image, "a drawing")])
        ledger = tables.decisions.all(kind="class_review")
    assert [(row["item"], row["after"]) for row in ledger][-1] == (f"s-c-1/{wnids[1]}", {"reviewed": True, "problematic": True})
    assert all(row["user"] and row["time"] and row["before"] for row in ledger)
    assert len(ledger) == 4
    # Sampling from it carries over at once: only the class that is unchanged and not problematic.
    cli.run("sample", "top-images", "--per-class", 5, "--name", "s-c-2", "--starting-from", "s-c-1")
    with closing(open_study(cli.study)) as study, study.database.read() as tables:
        states = {wnid: (r.reviewed, r.problematic) for wnid, r in tables.revisions.reviews("s-c-2").items()}
    assert states == {wnids[0]: (True, False), wnids[1]: (False, False), wnids[2]: (False, False)}
    # A revision that was sampled afresh gets them by the command; what was decided about it stays.
    cli.run("sample", "top-images", "--per-class", 5, "--name", "s-c-3", "--seed", 9)
    cli.run("revision", "review", "s-c-3", wnids[0], "--problematic")
    assert cli.run("revision", "carry-over", "s-c-2", "s-c-3", "--json")["changed"] == []
    cli.run("revision", "review", "s-c-3", wnids[0], "--not-problematic")
    assert cli.run("revision", "carry-over", "s-c-2", "s-c-3", "--json")["changed"] == [wnids[0]]


def test_a_revision_and_its_reviews_travel_as_published_json(cli, make_study, tmp_path):
    cli.run("sample", "threshold", "--per-class", 4, "--name", "s-a-1")
    cli.run("revision", "review", "s-a-1", "n00000001", "--reviewed")
    files = {"--out": tmp_path / "s-a-1.json", "--reviews-out": tmp_path / "s-a-1_review.json"}
    shown = cli.run("revision", "show", "s-a-1", "--json", *(part for pair in files.items() for part in pair))
    assert json.loads(files["--out"].read_text()) == shown
    other = make_study(random_facts(seed=4), name="other")
    done = other.run("revision", "import", files["--out"], "--reviews", files["--reviews-out"], "--json")
    assert (done["stored"], done["images"], done["unknown_images"], done["reviews"]) == (True, 12, 12, 3)
    assert other.run("revision", "show", "s-a-1", "--json") == shown
    again = other.run("revision", "import", files["--out"], "--reviews", files["--reviews-out"], "--json")
    assert (again["stored"], again["reviews"]) == (False, 0)
    (tmp_path / "broken.json").write_text("[1]")
    assert "no JSON object" in str(other.failing("revision", "import", tmp_path / "broken.json").exception)


def keyword_study(make_study):
    """Two classes with plenty of usable candidates of three keywords, told by their ids."""
    candidates = [
        CandidateFacts(f"{keyword}-{wnid}-{number:03}", wnid, 0.9, 10, review_thresholds=HIGH)
        for wnid in ("cat", "dog")
        for keyword in ("cab", "taxi", "van")
        for number in range(30)
    ]
    return make_study(SyntheticFacts(("cat", "dog"), tuple(candidates), (OriginalFacts("o", "cat", 0.5, 10),))), candidates


def test_stratified_matches_a_histogram_from_json_or_csv(make_study, tmp_path):
    cli, candidates = keyword_study(make_study)
    reference = {"cat": {"cab": 50, "taxi": 30, "van": 20}, "dog": {"cab": 1, "taxi": 0, "van": 4}}
    (tmp_path / "reference.json").write_text(json.dumps(reference))
    (tmp_path / "strata.json").write_text(json.dumps({c.id: c.id.split("-")[0] for c in candidates}))
    with (tmp_path / "reference.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("wnid", "stratum", "count"), *((w, s, n) for w, counts in reference.items() for s, n in counts.items())]
        )
    with (tmp_path / "strata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("candidate", "stratum"), *((c.id, c.id.split("-")[0]) for c in candidates)])
    for kind in ("json", "csv"):
        files = ("--reference", tmp_path / f"reference.{kind}", "--strata", tmp_path / f"strata.{kind}")
        cli.run("sample", "stratified", *files, "--per-class", 10, "--seed", 5, "--name", f"k-{kind}-1")
    images = stored(cli, "k-json-1")
    assert images == stored(cli, "k-csv-1")
    counts = Counter((wnid, image.split("-")[0]) for image, wnid in images)
    assert counts == {("cat", "cab"): 5, ("cat", "taxi"): 3, ("cat", "van"): 2, ("dog", "cab"): 2, ("dog", "van"): 8}
    # The published rule of CIFAR-10.1 v4: ceil(n / 30) of each keyword, none below half a place.
    cli.run("sample", "stratified", *files, "--preset", "cifar10.1-v4", "--shared-strata", "per_class", "--seed", 5, "--name", "k-v4-1")
    counts = Counter((wnid, image.split("-")[0]) for image, wnid in stored(cli, "k-v4-1"))
    assert counts == {("cat", "cab"): 2, ("cat", "taxi"): 1, ("cat", "van"): 1}


def test_stratified_by_search_terms(cli, tmp_path):
    (tmp_path / "reference.json").write_text(json.dumps({f"n0000000{k}": {"term 1": 3, "term 4": 1} for k in range(3)}))
    cli.run("sample", "stratified", "--reference", tmp_path / "reference.json", "--per-class", 4, "--name", "s-d-1", "--allow-invalid")
    with closing(open_study(cli.study)) as study, study.database.read() as tables:
        terms = {image: term for wnid in tables.candidates.count_by_class() for image, term in tables.facts.search_keys(wnid)}
    counts = Counter((wnid, terms[image]) for image, wnid in stored(cli, "s-d-1"))
    assert {term for _, term in counts} <= {"term 1", "term 4"}
    assert all(counts[f"n0000000{k}", "term 1"] <= 3 for k in range(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "threshold"), "Give --name"),
        (("sample", "stratified", "--dry-run"), "needs --reference"),
        (("sample", "threshold", "--dry-run", "--rule", "ceiling"), "only"),
    ],
)
def test_wrong_usage(cli, arguments, message):
    done = cli.failing(*arguments)
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("--reference", '{"a": 1}', "is no table wnid -> stratum -> count"),
        ("--reference", '{"a": {"x": 1.5}}', "not a whole number"),
        ("--reference", "nonsense", "is not JSON"),
        ("--strata", "[1]", "is no JSON object candidate id -> stratum"),
        ("--strata", '{"a": 3}', "is no JSON object candidate id -> stratum"),
    ],
)
def test_files_that_cannot_be_read_are_named(cli, tmp_path, name, text, message):
    (tmp_path / "good.json").write_text('{"n00000000": {"x": 1}}')
    (tmp_path / "bad.json").write_text(text)
    files = {"--reference": tmp_path / "good.json", name: tmp_path / "bad.json"}
    done = cli.failing("sample", "stratified", "--dry-run", *(part for pair in files.items() for part in pair))
    assert message in str(done.exception)
    assert "bad.json" in str(done.exception)


def test_reviewing_an_unknown_class_is_refused(cli):
    cli.run("sample", "top-images", "--per-class", 5, "--name", "s-c-1")
    assert "no such class" in str(cli.failing("revision", "review", "s-c-1", "nowhere", "--reviewed").exception)
    assert "nothing to record" in str(cli.failing("revision", "review", "s-c-1", "n00000000").exception)


def test_reviews_are_counted_against_the_classes_and_none_begun_is_said_with_the_next_step(cli):
    images = tuple((f"i{number}", f"n0000000{number % 3}") for number in range(6))
    with closing(open_study(cli.study)) as study, study.database.write() as tables:
        tables.revisions.add(Revision("s-a-1", "sample_best", images, is_valid=True, seed=1))
    shown = cli.run("revision", "show", "s-a-1")
    assert "no review begun" in shown
    assert "0 of 0" not in shown
    assert f"retest revision review s-a-1 WNID --reviewed --study {cli.study}" in " ".join(shown.split())
    cli.run("revision", "review", "s-a-1", "n00000001", "--reviewed")
    shown = cli.run("revision", "show", "s-a-1")
    assert "1 of 3" in shown
    assert "no review begun" not in shown
