"""Neighbours, reviews and resolution: partial runs, added images, decisions one by one or together."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import stage_studies as tiny
from click.testing import CliRunner
from PIL import Image

from retest.cli import cli
from retest.errors import InputError, NotFoundError, StageError, StoreError, UsageError
from retest.records import NeighborReview
from retest.stages import duplicates, neighbors, review
from retest.study import Study
from retest.testing.database import canonical_dump, differences


def lists(study: Study, metric: str = "l2") -> dict[str, tuple]:
    with study.database.read() as tables:
        return dict(tables.neighbors.all(metric))


def of_names(study: Study, metric: str = "l2") -> dict[str, list[tuple[str, float]]]:
    """Lists under names that do not depend on the study's folder: paths in the pool."""
    names = {candidate.id: photo for photo, candidate in tiny.candidates_of(study).items()}
    return {
        names[image]: [(names.get(n.reference, n.reference), n.distance) for n in found] for image, found in lists(study, metric).items()
    }


# ------------------------------------------------------------------------------------------------------------- neighbours


def test_neighbors_before_images(study: Study):
    with pytest.raises(StageError, match=r"no image is stored yet.*retest download"):
        neighbors.find_neighbors(study)


def test_an_unknown_metric_is_named_before_anything_is_computed(ready: Study):
    with pytest.raises(UsageError, match="fc7: there is no featuriser of this name"):
        neighbors.find_neighbors(ready, metrics=["l2", "fc7"])
    assert lists(ready) == {}


@pytest.mark.parametrize("metric", ["l2", "dssim"])
def test_neighbours_are_those_of_brute_force_whatever_the_blocks(ready: Study, metric: str):
    parameters = dataclasses.replace(ready.config.neighbors, metrics=(metric,), ssim_window=5)
    found = []
    for query_block, reference_block in ((4, 8), (1000, 1000), (1, 5)):
        cut = dataclasses.replace(parameters, query_block=query_block, reference_block=reference_block)
        study = dataclasses.replace(ready, config=dataclasses.replace(ready.config, neighbors=cut))
        neighbors.find_neighbors(study)
        found.append(lists(study, metric))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 18
    assert all(len(neighbors_of) == 5 for neighbors_of in found[0].values())
    if metric == "l2":
        with ready.database.read() as tables:
            stored = list(tables.variants.all("scaled_16"))
        pixels = {v.image_id: np.asarray(Image.open(ready.folder / "blobs" / v.blob_key).convert("RGB"), np.int64) for v in stored}
        for image, neighbors_of in found[0].items():
            distances = sorted((float(((pixels[image] - other) ** 2).sum()), name) for name, other in pixels.items())
            assert [(n.distance, n.reference) for n in neighbors_of] == distances[:5]


def test_a_second_run_computes_nothing(ready: Study):
    (first,) = neighbors.find_neighbors(ready)
    before = canonical_dump(ready, skip=())
    (again,) = neighbors.find_neighbors(ready)
    assert first.computed == first.items > 4
    assert again == dataclasses.replace(first, computed=0, pairs=0)
    assert differences(before, canonical_dump(ready, skip=())) == []


def test_other_parameters_never_reuse_what_was_found(ready: Study):
    (first,) = neighbors.find_neighbors(ready)
    deeper = dataclasses.replace(ready.config.neighbors, k=7)
    (second,) = neighbors.find_neighbors(dataclasses.replace(ready, config=dataclasses.replace(ready.config, neighbors=deeper)))
    assert second.computed == second.items == first.items
    assert {len(found) for found in lists(ready).values()} == {7}


@pytest.mark.parametrize("allow", [0, 1, 7])
def test_an_interrupted_search_goes_on_where_it_stopped(ready: Study, allow: int):
    breaking = dataclasses.replace(ready, blobs=tiny.BreakingBlobs(ready.blobs, allow=allow, error=StoreError("no space", item="x")))
    with pytest.raises(StoreError, match="no space"):
        neighbors.find_neighbors(breaking)
    assert lists(ready) == {}
    (rest,) = neighbors.find_neighbors(ready)
    assert rest.computed == rest.items - allow
    assert len(lists(ready)) == 18


def test_added_images_cost_only_their_pairs_and_give_what_a_fresh_study_finds(study: Study, tmp_path: Path):
    rng = random.Random(5)
    names = sorted(path.relative_to(tmp_path / "pool").as_posix() for path in (tmp_path / "pool").rglob("*.png"))
    late = rng.sample(names, 7)
    for name in late:
        (tmp_path / "pool" / name).rename(tmp_path / name.replace("/", "-"))
    tiny.ready_to_label(study)
    (first,) = neighbors.find_neighbors(study)
    for name in late:
        (tmp_path / name.replace("/", "-")).rename(tmp_path / "pool" / name)
    tiny.ready_to_label(study)
    (second,) = neighbors.find_neighbors(study)
    assert first.candidates == 11
    assert second.candidates == 18
    assert 0 < second.computed < second.items
    with closing(tiny.make_study(tmp_path / "fresh")) as fresh:
        tiny.ready_to_label(fresh)
        neighbors.find_neighbors(fresh)
        assert of_names(fresh) == of_names(study)


def test_a_changed_picture_is_compared_anew(ready: Study):
    """Work is keyed by content: the same id with other pixels is another question."""
    neighbors.find_neighbors(ready)
    image = tiny.candidates_of(ready)["cat/00.png"].id
    with ready.database.write() as tables:
        old = tables.variants.get([image], "scaled_16")[image]
        other = tables.variants.get(["val/owl/00.png"], "scaled_16")["val/owl/00.png"]
        tables.variants.put([dataclasses.replace(other, image_id=image)])
    (counts,) = neighbors.find_neighbors(ready)
    assert counts.computed > 0
    assert old.sha256 != other.sha256
    nearest = lists(ready)[image]
    assert {n.reference for n in nearest if n.distance == 0} == {image, "val/owl/00.png"}


# ---------------------------------------------------------------------------------------------------------------- reviews


def _reviews(study: Study) -> list[NeighborReview]:
    """Decisions in two metrics that disagree: what one marks, the other may not."""
    first = sorted(candidate.id for candidate in tiny.candidates_of(study).values())
    rng = random.Random(3)
    made = []
    for candidate in first[:6]:
        references = rng.sample([*first, "val/cat/00.png", "val/dog/00.png"], 4)
        for metric in ("l2", "dssim"):
            near = tuple(reference for reference in references if rng.random() < 0.4)
            made.append(NeighborReview(candidate, metric, tuple(references), near, f"reviewer of {metric}", tiny.STAMP.time))
    return made


def pairs(study: Study) -> list[tuple[str, str]]:
    with study.database.read() as tables:
        return tables.pairs.all()


def test_reviews_one_by_one_or_together_give_the_same(tmp_path: Path):
    outcomes = []
    for name, in_one_call in (("one by one", False), ("together", True)):
        with closing(tiny.make_study(tmp_path / name)) as study:
            tiny.find_candidates(study)
            # ids do not depend on the folder
            reviews = _reviews(study)
            for block in [reviews] if in_one_call else [[review] for review in reviews]:
                duplicates.record_reviews(study, block, stamp=tiny.STAMP)
            outcomes.append((pairs(study), canonical_dump(study, places={str(tmp_path / name): "OUT"})))
            marked = {(r.candidate_id, reference) for r in reviews for reference in r.near_duplicates}
            assert set(pairs(study)) == marked
    assert outcomes[0][0] == outcomes[1][0] != []
    assert differences(outcomes[0][1], outcomes[1][1]) == []


def test_a_decision_can_be_taken_back_and_its_history_stays(study: Study):
    tiny.find_candidates(study)
    candidate = min(c.id for c in tiny.candidates_of(study).values())

    def decide(metric: str, *near: str) -> None:
        made = NeighborReview(candidate, metric, ("val/cat/00.png", "val/cat/01.png"), near, "someone", tiny.STAMP.time)
        duplicates.record_reviews(study, [made], stamp=tiny.STAMP)

    decide("l2", "val/cat/00.png", "val/cat/01.png")
    decide("dssim", "val/cat/00.png")
    decide("l2", "val/cat/01.png")  # 00 is still marked in dssim
    assert pairs(study) == [(candidate, "val/cat/00.png"), (candidate, "val/cat/01.png")]
    decide("dssim")
    assert pairs(study) == [(candidate, "val/cat/01.png")]
    decide("l2")
    assert pairs(study) == []
    with study.database.read() as tables:
        history = tables.decisions.all(kind="near_duplicate_review")
    assert [len(entry["after"]["near_duplicates"]) for entry in history] == [2, 1, 1, 0, 0]
    assert [entry["before"] for entry in history] == [None, None, *(history[earlier]["after"] for earlier in (0, 1, 2))]


def test_the_queue_empties_and_fills_again_when_the_target_grows(complete: Study):
    assert duplicates.queue(complete).items == ()
    wider = duplicates.queue(complete, thresholds={"l2": 1e12})
    assert len(wider.items) == 18
    assert all(len(item.neighbors) == 4 for item in wider.items)  # five, of which one is the candidate itself
    assert (wider.candidates, wider.reviewed_candidates) == (18, 0)


def test_resolution_follows_new_pairs_and_does_nothing_without(complete: Study):
    before = canonical_dump(complete, skip=())
    assert duplicates.resolve_duplicates(complete) == []
    assert differences(before, canonical_dump(complete, skip=())) == []
    cats = sorted(c.id for photo, c in tiny.candidates_of(complete).items() if photo.startswith("cat/"))
    with complete.database.write() as tables:
        tables.pairs.add([(cats[0], "val/cat/00.png"), (cats[1], cats[2])], user="someone", time=tiny.STAMP.time)
    resolved = {r.candidate_id: r for r in duplicates.resolve_duplicates(complete)}
    assert set(resolved) == set(cats[:3])
    assert resolved[cats[0]].near_duplicate
    assert sorted(resolved[cat].near_duplicate for cat in cats[1:3]) == [False, True]
    with complete.database.write() as tables:
        tables.pairs.add_overrides(cats[1:3], user="someone", time=tiny.STAMP.time)
    with pytest.raises(InputError, match="override") as caught:
        duplicates.resolve_duplicates(complete)
    assert caught.value.remedy
    with complete.database.read() as tables:  # the last good resolution stays
        assert set(tables.pairs.resolutions()) == set(cats[:3])


# -------------------------------------------------------------------------------------------------- decisions by command


def decisions(study: Study) -> list[duplicates.PastDecision]:
    return duplicates.history(study)


def test_deciding_about_what_waits_empties_the_queue_and_reopening_fills_it_again(ready: Study):
    neighbors.find_neighbors(ready)
    study = dataclasses.replace(ready, config=dataclasses.replace(ready.config, review=tiny.ReviewParameters(targets={"l2": 1e12})))
    item = duplicates.queue(study).items[0]
    candidate, references = item.candidate_id, [n.reference for n in item.neighbors]
    made = duplicates.decide(study, candidate, metric="l2", near_duplicates=references[:1], stamp=tiny.STAMP)
    assert made.references == tuple(references)
    assert pairs(study) == [(candidate, references[0])]
    assert candidate not in {i.candidate_id for i in duplicates.queue(study).items}
    assert [r.candidate_id for r in duplicates.resolve_duplicates(study)][:1] != []
    later = dataclasses.replace(tiny.STAMP, user="somebody else", time="2026-02-01T10:00:00+00:00")
    assert duplicates.reopen(study, candidate, stamp=later) == {"l2": len(references)}
    assert pairs(study) == []
    assert duplicates.queue(study).items[0] == item
    assert candidate not in {r.candidate_id for r in duplicates.resolve_duplicates(study) if r.near_duplicate}
    first, second = decisions(study)
    assert (first.kind, first.reviewer, first.time) == ("near_duplicate_review", tiny.STAMP.user, tiny.STAMP.time)
    assert (second.kind, second.reviewer, second.time) == ("near_duplicate_reopened", later.user, later.time)
    assert references[0] in first.text
    assert references[0] in second.text
    duplicates.decide(study, candidate, metric="l2", stamp=later)
    assert [entry.text for entry in decisions(study)][2] == f"{len(references)} looked at, 0 near-duplicates"


def test_what_was_decided_by_command_step_by_step_is_taken_back_in_the_review_pages(ready: Study):
    neighbors.find_neighbors(ready)
    study = dataclasses.replace(ready, config=dataclasses.replace(ready.config, review=tiny.ReviewParameters(targets={"l2": 1e12})))
    item = duplicates.queue(study).items[0]
    candidate, references = item.candidate_id, [n.reference for n in item.neighbors][::-1]
    first, others = references[:2], references[2:]
    duplicates.decide(study, candidate, metric="l2", references=first, near_duplicates=first[:1], stamp=tiny.STAMP)
    duplicates.decide(study, candidate, metric="l2", references=others, near_duplicates=others[:1], stamp=tiny.STAMP)
    assert pairs(study) == sorted((candidate, one) for one in (first[0], others[0]))
    newest, oldest = review.history(study, review.DecisionFilter(kind="near_duplicate_review")).decisions
    (undone,) = review.take_back(study, [newest.no], stamp=tiny.STAMP)
    assert undone.state == {"references": sorted(first), "near_duplicates": first[:1]} == oldest.after
    assert pairs(study) == [(candidate, first[0])]
    assert {n.reference for n in duplicates.queue(study).items[0].neighbors} == set(others)
    review.take_back(study, [undone.no], stamp=tiny.STAMP)
    review.take_back(study, [newest.no, oldest.no, undone.no, undone.no + 1], stamp=tiny.STAMP)
    assert pairs(study) == []
    assert duplicates.queue(study).items[0] == item


def test_reopening_one_metric_keeps_what_another_says(study: Study):
    tiny.find_candidates(study)
    candidate = min(c.id for c in tiny.candidates_of(study).values())
    for metric in ("l2", "dssim"):
        made = NeighborReview(candidate, metric, ("val/cat/00.png",), ("val/cat/00.png",), "someone", tiny.STAMP.time)
        duplicates.record_reviews(study, [made], stamp=tiny.STAMP)
    assert duplicates.reopen(study, candidate, metrics=["l2"], stamp=tiny.STAMP) == {"l2": 1}
    assert pairs(study) == [(candidate, "val/cat/00.png")]
    assert duplicates.reopen(study, candidate, stamp=tiny.STAMP) == {"dssim": 1}
    assert pairs(study) == []
    with pytest.raises(NotFoundError, match="nothing was reviewed"):
        duplicates.reopen(study, candidate, stamp=tiny.STAMP)


def test_decisions_that_make_no_sense(ready: Study):
    neighbors.find_neighbors(ready)
    candidate = min(c.id for c in tiny.candidates_of(ready).values())
    with pytest.raises(NotFoundError, match="has no neighbours in dssim"):
        duplicates.decide(ready, candidate, metric="dssim", stamp=tiny.STAMP)
    with pytest.raises(UsageError, match="nothing waits for review in l2"):
        duplicates.decide(ready, candidate, metric="l2", stamp=tiny.STAMP)
    with pytest.raises(UsageError, match="stranger: is not among the neighbours"):
        duplicates.decide(ready, candidate, metric="l2", near_duplicates=["stranger"], stamp=tiny.STAMP)
    assert decisions(ready) == []


def test_overrides_by_command(complete: Study):
    cats = sorted(c.id for photo, c in tiny.candidates_of(complete).items() if photo.startswith("cat/"))
    with complete.database.write() as tables:
        tables.pairs.add([(cats[0], cats[1]), (cats[1], cats[2])], user="someone", time=tiny.STAMP.time)

    def kept() -> list[str]:
        return [r.candidate_id for r in duplicates.resolve_duplicates(complete) if not r.near_duplicate]

    (by_rule,) = kept()
    chosen = next(cat for cat in cats[:3] if cat != by_rule)
    assert duplicates.set_override(complete, [chosen], listed=True, stamp=tiny.STAMP) == 1
    assert kept() == [chosen]
    assert duplicates.set_override(complete, [chosen], listed=True, stamp=tiny.STAMP) == 0
    with pytest.raises(InputError, match="override"):
        duplicates.set_override(complete, [by_rule], listed=True, stamp=tiny.STAMP)
    with pytest.raises(NotFoundError, match="nobody: no candidate has this id"):
        duplicates.set_override(complete, ["nobody"], listed=True, stamp=tiny.STAMP)
    assert kept() == [chosen]
    assert duplicates.set_override(complete, [chosen], listed=False, stamp=tiny.STAMP) == 1
    assert kept() == [by_rule]
    texts = [entry.text for entry in decisions(complete) if entry.kind == "near_duplicate_override"]
    assert texts == ["stays against the rule", "follows the rule again"]


def test_a_target_without_neighbours_is_named(ready: Study):
    neighbors.find_neighbors(ready)
    assert duplicates.queue(ready).missing_metrics == ()
    targets = tiny.ReviewParameters(targets={"l2": 1000.0, "fc7": 1.0})
    study = dataclasses.replace(ready, config=dataclasses.replace(ready.config, review=targets))
    assert duplicates.queue(study).missing_metrics == ("fc7",)
    (note,) = neighbors.review_notes(study)
    assert "fc7" in note
    assert "retest neighbors --metric fc7" in note
    other = dataclasses.replace(ready, config=dataclasses.replace(ready.config, review=tiny.ReviewParameters(targets={})))
    assert "l2 are shown to reviewers once" in neighbors.review_notes(other)[0]


def test_the_commands_of_decisions(ready: Study):
    neighbors.find_neighbors(ready)
    settings = ready.folder / "study.toml"
    settings.write_text(re.sub(r"targets = .*", 'targets = { "l2" = 1e12 }', settings.read_text()))
    where = ["--study", str(ready.folder)]

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, ["duplicates", *arguments, *where], standalone_mode=False)
        assert (type(done.exception) in (type(None), SystemExit)) == (code == 0), done.output
        return done.output

    waiting = json.loads(run("queue", "--json"))["queue"][0]
    candidate, near = waiting["candidate"], waiting["neighbors"][0]["reference"]
    assert f"{candidate}: 4 neighbours looked at in l2, 1 near-duplicates" in run(
        "decide", candidate, "--metric", "l2", "--near", near, "--reviewer", "Ada"
    )
    assert "1 of 1 candidates put on the override list" in run("override", candidate)
    assert "4 neighbours in l2 wait again" in run("reopen", candidate, "--reviewer", "Grace")
    told = json.loads(run("history", "--json", "--candidate", candidate))
    assert [(entry["reviewer"], entry["kind"]) for entry in told if entry["kind"] != "near_duplicate_override"] == [
        ("Ada", "near_duplicate_review"),
        ("Grace", "near_duplicate_reopened"),
    ]
    assert "asked again" in run("history")


@pytest.mark.long
def test_the_published_repository_imported_gives_the_known_figures(tmp_path: Path):
    data = Path(__file__).resolve().parents[3] / "shared" / "imagenetv2"
    if not data.is_dir():
        pytest.skip("the published data is not beside the checkout")
    run = CliRunner().invoke
    study = str(tmp_path / "study")
    assert run(cli, ["import", "imagenetv2", str(data), "--study", study]).exit_code == 0
    found = json.loads(run(cli, ["duplicates", "stats", "--study", study, "--json"]).stdout)
    figures = {"components": 4634, "components_with_original": 106, "candidates": 18220}
    assert {name: found[name] for name in figures} == figures
    resolved = json.loads(run(cli, ["duplicates", "resolve", "--study", study, "--json"]).stdout)["candidates"]
    assert len(resolved) == 18220
    assert sum(row["near_duplicate"] for row in resolved) == found["marked"]
    assert all(row["reason"] for row in resolved)


def test_a_simulated_reviewer_empties_the_queue_from_the_command_line(tmp_path: Path) -> None:
    ready = tiny.ready_to_label(tiny.make_study(tmp_path, review={"targets": {"l2": 1e9}}))
    neighbors.find_neighbors(ready)
    waiting = duplicates.queue(ready).items
    smallest = min(n.distance for item in waiting if item.metric == "l2" for n in item.neighbors)
    runner = CliRunner()

    def simulate(*thresholds: str):
        options = [part for threshold in thresholds for part in ("--threshold", threshold)]
        return runner.invoke(cli, ["duplicates", "simulate", "--study", str(ready.folder), *options])

    assert simulate("l3=1").exit_code == 2
    assert "[review] targets has no such metric" in simulate("l3=1").stderr
    assert len(duplicates.queue(ready).items) == len(waiting)
    done = simulate(f"l2={smallest}")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"SIMULATED: {len(waiting)} reviews")
    assert duplicates.queue(ready).items == ()
    decisions = duplicates.history(ready)
    assert {decision.reviewer for decision in decisions} == {"simulated-reviewer"}
    with ready.database.read() as tables:
        near = {(review.candidate_id, r) for review in tables.reviews.all() for r in review.near_duplicates}
    assert near == {(i.candidate_id, n.reference) for i in waiting if i.metric == "l2" for n in i.neighbors if n.distance <= smallest}
    ready.close()
