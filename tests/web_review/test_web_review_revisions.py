"""Revision review: flags as decisions, shares of the work, only what is bad, carrying over, facts, checks and differences."""

from __future__ import annotations

import pytest
from review_server import STAMP

from retest.records import Exclusion, Revision
from retest.stages import review, review_revisions, revisions
from retest.stages._review_memo import Memo
from retest.stages.review import Change

DONE = {"reviewed": True, "problematic": False}
OPEN = {"reviewed": False, "problematic": False}


def add_revision(server, name, per_class=3, *, shift=0, starting_from=None, wnids=("apple", "banana")):
    pairs = []
    for wnid in wnids:
        start = shift if wnid == wnids[0] else 0
        pairs += [(image, wnid) for image in server.ids(wnid)[start : start + per_class]]
    revision = Revision(
        name, "sample_best", tuple(pairs), True, 1, {"per_class": per_class}, starting_from=starting_from, user="tester", time=STAMP.time
    )
    with server.study.database.write() as tables:
        tables.revisions.add(revision)
    return revision


def post(client, name, wnid, after, version=0):
    change = {"kind": "class_review", "item": f"{name}/{wnid}", "after": after, "version": version}
    return client.post("/review/api/decisions", json={"changes": [change]})


def test_a_class_review_is_the_one_of_the_command_line_and_can_be_taken_back(server):
    add_revision(server, "x-a-1")
    with server.client("Rex") as rex:
        number = post(rex, "x-a-1", "apple", DONE).json()["decided"][0]["no"]
        assert revisions.review_classes(server.study, "x-a-1", ["banana"], reviewed=True, stamp=STAMP).reviewed == 2
        page = rex.get("/review/api/revision/classes", params={"name": "x-a-1"}).json()
        assert [(row["wnid"], row["reviewed"], row["images"]) for row in page["classes"]] == [("apple", True, 3), ("banana", True, 3)]
        assert rex.post("/review/api/take-back", json={"numbers": [number]}).status_code == 200
        assert [
            row["wnid"] for row in rex.get("/review/api/revision/classes", params={"name": "x-a-1", "only": "open"}).json()["classes"]
        ] == ["apple"]
        assert post(rex, "x-a-1", "pear", DONE).status_code == 404
        assert post(rex, "nothing", "apple", DONE).status_code == 404
        assert post(rex, "x-a-1", "apple", {"reviewed": 1, "problematic": False}).status_code == 422
    with server.client("Ann") as ann:
        assert post(ann, "x-a-1", "apple", DONE).status_code == 403


def test_reviews_are_carried_over_as_the_stage_does_it_and_taken_back(server):
    add_revision(server, "x-a-1")
    add_revision(server, "x-a-2", shift=1, starting_from="x-a-1")
    revisions.review_classes(server.study, "x-a-1", ["apple", "banana"], reviewed=True, stamp=STAMP)
    with server.client("Rex") as rex:
        done = rex.post("/review/api/revision/carry-over", json={"old": "x-a-1", "new": "x-a-2"}).json()["decided"]
        assert [one["item"] for one in done] == ["x-a-2/banana"]  # the images of the apples changed
        assert rex.post("/review/api/revision/carry-over", json={"old": "x-a-1", "new": "x-a-2"}).json()["decided"] == []
        assert rex.post("/review/api/take-back", json={"numbers": [done[0]["no"]]}).status_code == 200
    assert revisions.carry_over(server.study, "x-a-1", "x-a-2", stamp=STAMP).changed == ("banana",)
    with server.client("Ann") as ann:
        assert ann.post("/review/api/revision/carry-over", json={"old": "x-a-1", "new": "x-a-2"}).status_code == 403


def test_the_work_is_split_without_gap_or_overlap_and_pages_go_on(server):
    add_revision(server, "x-a-1")
    memo = Memo()
    shares = [review_revisions.list_classes(server.study, memo, "x-a-1", part=part, parts=2).rows for part in (1, 2)]
    assert sorted(row.wnid for share in shares for row in share) == ["apple", "banana"]
    assert [len(share) for share in shares] == [1, 1]
    first = review_revisions.list_classes(server.study, memo, "x-a-1", limit=1)
    assert (first.total, first.next) == (2, "apple")
    assert [row.wnid for row in review_revisions.list_classes(server.study, memo, "x-a-1", after="apple", limit=1).rows] == ["banana"]


def test_facts_and_checks_agree_with_the_stage_and_only_bad_shows_them(server):
    made = add_revision(server, "x-a-1")
    gone = made.images[0][0]
    with server.study.database.write() as tables:
        tables.exclusions.add([Exclusion(gone, "gone")])
    found = review_revisions.facts(server.study, Memo(), "x-a-1")
    assert sorted(map(str, found.warnings)) == sorted(map(str, revisions.check(server.study, "x-a-1")))
    assert (found.summary.num_images, found.smallest_class, found.largest_class, found.min_frequency) == (6, 3, 3, 0.0)
    assert found.counts == {"excluded": 1}
    review.decide(server.study, [Change("class_review", "x-a-1/banana", {"reviewed": False, "problematic": True}, 0)], stamp=STAMP)
    bad = review_revisions.list_classes(server.study, Memo(), "x-a-1", only="bad").rows
    assert [(row.wnid, row.warnings, row.problematic) for row in bad] == [("apple", 1, False), ("banana", 0, True)]


def test_a_class_stands_beside_original_images_and_knows_its_neighbours(server):
    add_revision(server, "x-a-1")
    with server.client("Ann") as ann:
        view = ann.get("/review/api/revision/class", params={"name": "x-a-1", "wnid": "apple", "originals": 4}).json()
        assert ([image["id"] for image in view["images"]], len(view["originals"])) == (server.ids("apple")[:3], 4)
        assert (view["before"], view["after"]) == (None, "banana")
        assert ann.get("/review/api/revision/class", params={"name": "x-a-1", "wnid": "pear"}).status_code == 404


def test_the_difference_of_two(server):
    add_revision(server, "x-a-1")
    add_revision(server, "x-a-2", shift=1)
    with server.client("Ann") as ann:
        diff = ann.get("/review/api/revision/diff", params={"old": "x-a-1", "new": "x-a-2"}).json()
    assert (diff["kept"], diff["added"], diff["removed"]) == (5, 1, 1)
    assert diff["classes"] == [{"wnid": "apple", "added": [server.ids("apple")[3]], "removed": [server.ids("apple")[0]]}]


@pytest.mark.parametrize(
    "path", ["/revisions", "/revision?name=x-a-1&parts=2", "/revision/class?name=x-a-1&wnid=apple", "/revision/diff?old=x-a-1&new=x-a-1"]
)
def test_pages_open(server, path):
    add_revision(server, "x-a-1")
    with server.browser_client("Ann") as ann:
        assert ann.get(f"/review{path}").status_code == 200
        assert ann.get(f"/review{path.replace('x-a-1', 'nothing')}").status_code == (200 if path == "/revisions" else 404)


def test_a_review_that_nobody_began_is_called_that_and_classes_are_those_of_the_revision(server):
    """Published and imported revisions come without reviews: "0 of 0 classes reviewed" would be done as much as not begun."""
    add_revision(server, "x-a-1")
    with server.browser_client("Rex") as rex:
        for page in ("/review", "/review/revision?name=x-a-1"):
            text = rex.get(page).text
            assert "no review begun" in text.lower()
            assert "0 of 0" not in text
            assert "Review class after class" in text
    with server.client("Rex") as rex:
        assert post(rex, "x-a-1", "apple", DONE).status_code == 200
    with server.browser_client("Rex") as rex:
        for page in ("/review", "/review/revision?name=x-a-1"):
            assert "no review begun" not in rex.get(page).text.lower()
        assert "1 of 2" in rex.get("/review").text
        assert "1 of 2 classes reviewed" in rex.get("/review/revision?name=x-a-1").text
