"""Near-duplicate review: the queue by the method's rule, decisions that are those of ``retest duplicates``, components."""

from __future__ import annotations

import pytest
from review_server import STAMP, ReviewServer

from retest.records import Candidate, Exclusion, Neighbor
from retest.stages import duplicates, review, review_components, review_pairs
from retest.stages._ledger import review_item
from retest.stages._review_memo import Memo
from retest.stages._review_pairs import queue_is_current, refresh_queue
from retest.stages.review import Change, DecisionConflictError

TARGET = 1.2e8


def give_neighbors(server: ReviewServer, metric: str = "l2", wnid: str = "apple") -> list[str]:
    """Every apple has the next two apples and an original image as neighbours; distances grow with the number of the apple."""
    ids = server.ids(wnid)
    with server.study.database.write() as tables:
        original = next(image.id for image in tables.originals.all(wnid=wnid) if image.split == "val")
        scale = TARGET if metric == "l2" else 0.2205
        lists = {
            image: [
                Neighbor(image, 0.0),
                Neighbor(ids[(i + 1) % len(ids)], scale * (i + 1) / 20),
                Neighbor(original, scale * (i + 1) / 15),
                Neighbor(ids[(i + 2) % len(ids)], scale * (i + 1) / 4),
            ]
            for i, image in enumerate(ids)
        }
        tables.neighbors.put(metric, lists)
    assert refresh_queue(server.study)
    return ids


def whole_queue(study, metric="l2", **wanted):
    found, after = [], None
    while True:
        page = review_pairs.next_candidates(study, Memo(), metric, after=after, limit=3, **wanted)
        found += page.items
        if page.next is None:
            return found
        after = page.next


def by_the_stage(study, metric="l2", threshold=None):
    items = duplicates.queue(study, thresholds=None if threshold is None else {metric: threshold}).items
    return {item.candidate_id: tuple(n.reference for n in item.neighbors) for item in items if item.metric == metric}


def shown(items):
    return {item.candidate.id: tuple(n.image.id for n in item.neighbors) for item in items}


@pytest.mark.parametrize("factor", [0.0, 0.2, 1.0, 1.7, 2.0])
def test_the_queue_is_that_of_the_stage_in_the_order_of_the_nearest_neighbour(server, factor):
    give_neighbors(server)
    found = whole_queue(server.study, threshold=TARGET * factor)
    assert shown(found) == by_the_stage(server.study, threshold=TARGET * factor)
    nearest = [item.neighbors[0].distance for item in found]
    assert nearest == sorted(nearest)
    progress = review_pairs.queue_progress(server.study, Memo(), "l2", threshold=TARGET * factor)
    assert progress.left == len(found)
    assert dict(progress.steps) == {t: len(by_the_stage(server.study, threshold=t)) for t, _ in progress.steps}


def test_the_last_page_of_the_queue_says_that_it_is_the_last(server):
    give_neighbors(server)
    everything = whole_queue(server.study)
    assert review_pairs.next_candidates(server.study, Memo(), "l2", limit=len(everything)).next is None
    rest = review_pairs.next_candidates(server.study, Memo(), "l2", limit=len(everything) - 1)
    last = review_pairs.next_candidates(server.study, Memo(), "l2", after=rest.next, limit=1)
    assert ([item.candidate.id for item in last.items], last.next) == ([everything[-1].candidate.id], None)


def test_what_is_decided_is_skipped_and_is_what_the_command_line_sees(server):
    ids = give_neighbors(server)
    first = whole_queue(server.study)[0]
    after = {"references": sorted(n.image.id for n in first.neighbors), "near_duplicates": [ids[1]]}
    with server.client("Rex") as rex:
        page = rex.get("/review/api/pairs/queue", params={"metric": "l2", "limit": 1}).json()
        one = page["items"][0]
        assert (one["item"], one["state"], one["version"]) == (review_item(ids[0], "l2"), None, 0)
        change = {"kind": "near_duplicate_review", "item": one["item"], "after": after, "before": None, "version": 0}
        done = rex.post("/review/api/decisions", json={"changes": [change]})
        assert done.status_code == 200, done.text
        again = rex.get("/review/api/pairs/queue", params={"metric": "l2", "limit": 1}).json()
    assert again["items"][0]["candidate"]["id"] != ids[0]
    assert ids[0] not in by_the_stage(server.study)
    with server.study.database.read() as tables:
        (stored,) = tables.reviews.all(candidate_id=ids[0])
        assert (stored.reviewer, stored.near_duplicates) == ("Rex", (ids[1],))
        assert tables.pairs.all() == [(ids[0], ids[1])]
        at_once = tables.pairs.resolutions()
        thresholds = tables.reviews.thresholds()[ids[0]]
        assert queue_is_current(server.study, tables)
    resolved = {r.candidate_id: r for r in duplicates.resolve_duplicates(server.study)}
    assert resolved == at_once
    with server.study.database.read() as tables:
        assert tables.reviews.thresholds()[ids[0]]["l2"] == thresholds["l2"]
    (entry,) = duplicates.history(server.study, candidate_id=ids[0])
    assert (entry.reviewer, entry.metric) == ("Rex", "l2")
    assert "1 near-duplicates" in entry.text


def test_undo_asks_again_and_restores_pairs_resolution_and_threshold(server):
    ids = give_neighbors(server)
    duplicates.resolve_duplicates(server.study)

    def everything():
        with server.study.database.read() as tables:
            return tables.pairs.all(), tables.pairs.resolutions(), tables.reviews.thresholds(), tables.reviews.all()

    before, queue = everything(), shown(whole_queue(server.study))
    after = {"references": sorted(queue[ids[0]]), "near_duplicates": [ids[1]]}
    (done,) = review.decide(server.study, [Change("near_duplicate_review", review_item(ids[0], "l2"), after, 0)], stamp=STAMP)
    assert everything() != before
    assert ids[0] not in shown(whole_queue(server.study))
    (undone,) = review.take_back(server.study, [done.no], stamp=STAMP)
    assert everything() == before
    assert shown(whole_queue(server.study)) == queue
    review.take_back(server.study, [undone.no], stamp=STAMP)
    assert ids[0] not in shown(whole_queue(server.study))
    duplicates.reopen(server.study, ids[0], stamp=STAMP)
    refresh_queue(server.study)
    assert shown(whole_queue(server.study)) == queue
    assert duplicates.history(server.study, candidate_id=ids[0])[1].text.startswith("asked again")


def test_a_pair_that_another_metric_still_marks_stays(server):
    ids = give_neighbors(server)
    give_neighbors(server, "dssim")
    numbers = {}
    for metric in ("l2", "dssim"):
        after = {"references": [ids[1]], "near_duplicates": [ids[1]]}
        (done,) = review.decide(server.study, [Change("near_duplicate_review", review_item(ids[0], metric), after, 0)], stamp=STAMP)
        numbers[metric] = done.no
    review.take_back(server.study, [numbers["l2"]], stamp=STAMP)
    with server.study.database.read() as tables:
        assert tables.pairs.all() == [(ids[0], ids[1])]
    view = review_pairs.candidate_pairs(server.study, Memo(), ids[0], "l2")
    partner = next(n for n in view.neighbors if n.image.id == ids[1])
    assert partner.paired
    assert partner.waits
    assert [(k.metric, k.near_duplicate) for k in partner.known] == [("dssim", True)]


def test_a_decision_of_the_command_line_is_a_conflict_for_whoever_did_not_see_it(server):
    ids = give_neighbors(server)
    duplicates.decide(server.study, ids[0], metric="l2", near_duplicates=[ids[1]], references=[ids[1]], stamp=STAMP)
    wish = {"references": [ids[1]], "near_duplicates": []}
    with pytest.raises(DecisionConflictError):
        review.decide(server.study, [Change("near_duplicate_review", review_item(ids[0], "l2"), wish, 0, None)], stamp=STAMP)
    (seen,) = review.current(server.study, "near_duplicate_review", [review_item(ids[0], "l2")])
    assert seen.state == {"references": [ids[1]], "near_duplicates": [ids[1]]}
    review.decide(server.study, [Change("near_duplicate_review", review_item(ids[0], "l2"), wish, seen.version, seen.state)], stamp=STAMP)
    with server.study.database.read() as tables:
        assert tables.pairs.all() == []


def test_excluded_images_and_the_same_photo_are_not_shown_though_the_queue_is_not_derived_again(server):
    ids = give_neighbors(server)
    with server.study.database.write() as tables:
        tables.exclusions.add([Exclusion(ids[1], "gone"), Exclusion(ids[3], "gone")])
        twin = Candidate("t" * 40, "banana", "folder", "photo", "https://example.org/t.jpg")
        other = Candidate("u" * 40, "apple", "folder", "photo", "https://example.org/t.jpg")
        tables.candidates.add([twin, other])
        tables.neighbors.put("l2", {twin.id: [Neighbor(other.id, 1.0)]})
    assert shown(whole_queue(server.study)) == by_the_stage(server.study)
    assert twin.id not in shown(whole_queue(server.study))
    refresh_queue(server.study)
    progress = review_pairs.queue_progress(server.study, Memo(), "l2")
    assert progress.left == len(by_the_stage(server.study))


def _exclude(study, image, reason):
    """Exclude an image, or (None) let it be used again, as the latest version that there is."""
    (now,) = review.current(study, "exclusion", [image])
    after = None if reason is None else {"reason": reason, "detail": ""}
    return review.decide(study, [Change("exclusion", image, after, now.version)], stamp=STAMP)[0].no


@pytest.mark.parametrize("by_undo", [True, False])
def test_in_a_large_study_a_lifted_exclusion_brings_the_pairs_back(server, monkeypatch, by_undo):
    monkeypatch.setattr("retest.stages._review_pairs.MANY_LISTS", 0)
    study, ids = server.study, server.ids("apple")
    with study.database.write() as tables:  # nobody but ids[1] waits for ids[0]; ids[1] lists neither of the others
        tables.neighbors.put("l2", {ids[0]: [Neighbor(ids[1], TARGET / 9)], ids[3]: [Neighbor(ids[1], TARGET / 5)], ids[1]: []})
    number = _exclude(study, ids[1], "blurred")
    assert refresh_queue(study)
    assert shown(whole_queue(study)) == {}
    _exclude(study, ids[1], "drawing")  # excluded still: nothing is missing
    with study.database.read() as tables:
        assert queue_is_current(study, tables)
    if by_undo:
        review.take_back(study, [_exclude(study, ids[1], "blurred"), number], stamp=STAMP)
    _exclude(study, ids[1], None)
    with study.database.read() as tables:
        assert not queue_is_current(study, tables)
    assert refresh_queue(study)
    assert shown(whole_queue(study)) == by_the_stage(study) == {ids[0]: (ids[1],), ids[3]: (ids[1],)}


def test_in_a_large_study_an_exclusion_that_is_undone_at_once_costs_no_new_queue(server, monkeypatch):
    monkeypatch.setattr("retest.stages._review_pairs.MANY_LISTS", 0)
    study, ids = server.study, server.ids("apple")
    with study.database.write() as tables:
        tables.neighbors.put("l2", {ids[0]: [Neighbor(ids[1], TARGET / 9), Neighbor(ids[2], TARGET / 8)]})
    assert refresh_queue(study)
    number = _exclude(study, ids[1], "blurred")
    other = _exclude(study, ids[2], "drawing")
    assert shown(whole_queue(study)) == {}
    # Whoever decides meanwhile has the candidate looked at again; its row must outlive that.
    item = review_item(ids[0], "l2")
    (seen,) = review.decide(study, [Change("near_duplicate_review", item, {"references": [ids[2]], "near_duplicates": []}, 0)], stamp=STAMP)
    review.take_back(study, [other], stamp=STAMP)
    review.take_back(study, [number], stamp=STAMP)
    with study.database.read() as tables:
        assert queue_is_current(study, tables)
    assert shown(whole_queue(study)) == by_the_stage(study) == {ids[0]: (ids[1],)}
    review.take_back(study, [seen.no], stamp=STAMP)
    assert shown(whole_queue(study)) == by_the_stage(study) == {ids[0]: (ids[1], ids[2])}


def test_a_class_alone(server):
    give_neighbors(server)
    assert whole_queue(server.study, wnid="banana") == []
    assert len(whole_queue(server.study, wnid="apple")) == len(by_the_stage(server.study))


@pytest.mark.parametrize(
    ("after", "status"),
    [
        ({"references": ["stranger"], "near_duplicates": []}, 422),
        ({"references": [], "near_duplicates": []}, 422),
        ({"references": ["b", "a"], "near_duplicates": []}, 422),
        ("x", 422),
        (["x"], 422),
    ],
)
def test_what_is_no_review_is_refused(server, after, status):
    ids = give_neighbors(server)
    with server.client("Rex") as rex:
        change = {"kind": "near_duplicate_review", "item": review_item(ids[0], "l2"), "after": after, "version": 0}
        answer = rex.post("/review/api/decisions", json={"changes": [change]})
        assert answer.status_code == status
        assert rex.post("/review/api/decisions", json={"changes": [{**change, "item": "nobody/l2"}]}).status_code == 404
    with server.client("Ann") as ann:
        assert ann.post("/review/api/decisions", json={"changes": [change]}).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        {"metric": "nonsense"},
        {"metric": "l2", "threshold": "-1"},
        {"metric": "l2", "threshold": "1e12"},
        {"metric": "l2", "after": "x"},
        {"metric": "l2", "after": "nan~x"},
        {"metric": "l2", "limit": "0"},
        {"metric": "l2", "what": "x"},
    ],
)
def test_questions_that_make_no_sense_are_refused(server, query):
    with server.client("Rex") as rex:
        assert rex.get("/review/api/pairs/queue", params=query).status_code == 422


def test_a_component_says_who_stays_and_why_and_an_override_changes_it(server):
    ids = server.ids("apple")[1:4]
    items = [review.pair_item(ids[0], ids[1]), review.pair_item(ids[1], ids[2])]
    review.decide(server.study, [Change("near_duplicate_pair", item, True, 0) for item in items], stamp=STAMP)
    found = review_components.component(server.study, ids[0])
    assert [m.image.id for m in found.members if not m.near_duplicate] == [ids[2]]
    assert found.members[0].reason.startswith(f"near-duplicate of {ids[2]}, which is kept: only class apple")
    assert len(found.pairs) == 2
    with server.client("Rex") as rex:
        change = {"kind": "near_duplicate_override", "item": ids[0], "after": True, "before": False, "version": 0}
        assert rex.post("/review/api/decisions", json={"changes": [change]}).status_code == 200
        both = rex.post("/review/api/decisions", json={"changes": [{**change, "item": ids[1]}]})
        assert both.status_code == 422
        assert "override list" in both.json()["problem"]
        page = rex.get("/review/api/components/component", params={"image": ids[2]}).json()
        listed = rex.get("/review/api/components").json()
    kept = [m for m in page["members"] if not m["near_duplicate"]]
    assert [(m["image"]["id"], m["reason"]) for m in kept] == [(ids[0], "kept: on the override list")]
    assert listed == {"components": [{"name": min(ids), "candidates": 3, "near_duplicates": 2}], "next": None}
    assert {r.candidate_id for r in duplicates.resolve_duplicates(server.study) if not r.near_duplicate} == {ids[0]}
    duplicates.set_override(server.study, [ids[0]], listed=False, stamp=STAMP)
    assert {m.image.id for m in review_components.component(server.study, ids[0]).members if not m.near_duplicate} == {ids[2]}


def test_components_come_in_pages(server):
    ids = server.ids("apple")
    pairs = [review.pair_item(ids[i], ids[i + 1]) for i in range(0, 8, 2)]
    review.decide(server.study, [Change("near_duplicate_pair", item, True, 0) for item in pairs], stamp=STAMP)
    found, after = [], ""
    while True:
        page = review_components.list_components(server.study, after=after, limit=3)
        found += page.rows
        if page.next is None:
            break
        after = page.next
    assert [row[0] for row in found] == [ids[0], ids[2], ids[4], ids[6]]


def test_pages_open_without_neighbours_and_without_images(server):
    with server.browser_client("Ann") as ann:
        page = ann.get("/review/pairs")
        assert page.status_code == 200
        assert "No neighbours are stored in l2" in page.text
        assert ann.get("/review/components").status_code == 200
        assert ann.get("/review/component", params={"image": server.ids()[0]}).status_code == 404
        assert ann.get("/review/pairs", params={"metric": "nonsense"}).status_code == 422


def test_the_form_sends_the_threshold_that_is_shown(server):
    give_neighbors(server)
    with server.browser_client("Rex") as rex:
        page = rex.get("/review/pairs", params={"metric": "l2", "threshold": "123456.75"}).text
    assert 'value="123456.75"' in page
    assert "neighbours within 123,457 that" in page
