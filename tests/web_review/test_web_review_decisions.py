"""Decisions over HTTP: versions, conflicts, taking back, and the same state as the stages use."""

from __future__ import annotations

import pytest

from retest.errors import RetestError
from retest.records import ClassReview, Revision
from retest.sampling import SamplingParameters
from retest.stages import review, sample
from retest.stages._common import Stamp
from retest.stages.review import Change, DecisionConflictError, pair_item

GONE = {"reason": "not the class", "detail": ""}
STAMP = Stamp("Rex", "2026-02-01T00:00:00+00:00")


def change(item, after, *, version=0, kind="exclusion", **more):
    return {"kind": kind, "item": item, "after": after, "version": version, **more}


def post(client, *changes):
    return client.post("/review/api/decisions", json={"changes": list(changes)})


def test_a_decision_is_stored_with_who_when_before_and_after(server):
    image = server.ids()[0]
    with server.client() as rex:
        done = post(rex, change(image, GONE)).json()["decided"][0]
        listed = rex.get("/review/api/decisions", params={"item": image}).json()["decisions"]
    assert done["state"] == GONE
    assert [(d["no"], d["user"], d["kind"], d["before"], d["after"]) for d in listed] == [(done["no"], "Rex", "exclusion", None, GONE)]
    with server.study.database.read() as tables:
        stored = tables.exclusions.get([image])[image]
    assert (stored.reason, stored.user) == ("not the class", "Rex")


def test_whoever_did_not_see_the_latest_decision_is_shown_both_sides_and_nothing_is_written(server):
    image, other = server.ids()[:2]
    with server.client("Rex") as rex, server.client("Ada") as ada:
        first = post(rex, change(image, GONE)).json()["decided"][0]
        answer = post(ada, change(other, GONE), change(image, {"reason": "watermark", "detail": "big"}))
        assert answer.status_code == 409
        (conflict,) = answer.json()["conflicts"]
        assert (conflict["state"], conflict["user"], conflict["version"]) == (GONE, "Rex", first["version"])
        assert conflict["wished"] == {"reason": "watermark", "detail": "big"}
        with server.study.database.read() as tables:
            assert set(tables.exclusions.get([image, other])) == {image}
        again = post(ada, change(image, {"reason": "watermark", "detail": "big"}, version=conflict["version"], before=GONE))
        assert again.status_code == 200
    with server.study.database.read() as tables:
        assert tables.exclusions.get([image])[image].reason == "watermark"


def test_a_repeated_request_changes_nothing_and_is_no_conflict(server):
    image = server.ids()[0]
    with server.client() as rex:
        first = post(rex, change(image, GONE)).json()["decided"][0]
        again = post(rex, change(image, GONE)).json()["decided"][0]
    assert again == {**first, "no": None}


def test_a_change_that_a_stage_made_is_found_by_the_state_that_was_seen(server):
    image = server.ids()[0]
    from retest.records import Exclusion

    with server.study.database.write() as tables:
        tables.exclusions.add([Exclusion(image, "not_fetched", "404")])
    with server.client() as rex:
        assert post(rex, change(image, GONE, before=None)).status_code == 409
        assert post(rex, change(image, GONE, before={"reason": "not_fetched", "detail": "404"})).status_code == 200


def test_undo_and_redo_are_decisions_that_restore_and_a_chain_is_taken_back_as_one(server):
    image = server.ids()[0]
    with server.client() as rex:
        one = post(rex, change(image, GONE)).json()["decided"][0]["no"]
        two = post(rex, change(image, {"reason": "blurred", "detail": ""}, version=one)).json()["decided"][0]["no"]
        alone = rex.post("/review/api/take-back", json={"numbers": [one]})
        assert alone.status_code == 409  # it is not the latest any more
        undone = rex.post("/review/api/take-back", json={"numbers": [one, two]}).json()["decided"][0]
        assert undone["state"] is None
        redone = rex.post("/review/api/take-back", json={"numbers": [undone["no"]]}).json()["decided"][0]
        assert redone["state"] == {"reason": "blurred", "detail": ""}
        assert len(rex.get("/review/api/decisions", params={"item": image}).json()["decisions"]) == 4


def test_excluded_and_problematic_images_are_not_sampled_and_come_back_when_it_is_taken_back(server):
    parameters = SamplingParameters(per_class=3, near_duplicate_review_targets={})

    def drawn() -> set[str]:
        done = sample.sample(server.study, "top-images", name="x", parameters=parameters, stamp=STAMP, store=False)
        return {image for image, _ in done.result.images}

    before = drawn()
    first, second = sorted(before)[:2]
    done = review.decide(
        server.study,
        [Change("exclusion", first, GONE, 0), Change("problematic", second, {"detail": "two fruits"}, 0)],
        stamp=STAMP,
    )
    assert not drawn() & {first, second}
    review.take_back(server.study, [one.no for one in done], stamp=STAMP)
    assert drawn() == before


def test_a_pair_is_resolved_at_once_by_the_rule_of_the_stage(server):
    from retest.stages import duplicates

    low, high = server.ids()[1:3]  # selected by 1 and 2 of 10
    (done,) = review.decide(server.study, [Change("near_duplicate_pair", pair_item(low, high), True, 0)], stamp=STAMP)
    with server.study.database.read() as tables:
        at_once = tables.pairs.resolutions()
    assert {image: r.near_duplicate for image, r in at_once.items()} == {low: True, high: False}
    with server.study.database.write() as tables:
        tables.pairs.remove_resolutions([low, high])
    assert {r.candidate_id: r for r in duplicates.resolve_duplicates(server.study)} == at_once
    review.take_back(server.study, [done.no], stamp=STAMP)
    with server.study.database.read() as tables:
        assert tables.pairs.resolutions() == {}
    assert duplicates.resolve_duplicates(server.study) == []


def test_excluding_the_image_that_stays_lets_the_other_stay(server):
    low, high = server.ids()[1:3]
    review.decide(server.study, [Change("near_duplicate_pair", pair_item(low, high), True, 0)], stamp=STAMP)
    review.decide(server.study, [Change("exclusion", high, GONE, 0)], stamp=STAMP)
    with server.study.database.read() as tables:
        assert {image: r.near_duplicate for image, r in tables.pairs.resolutions().items()} == {low: False, high: True}


@pytest.mark.parametrize(
    ("kind", "item", "after", "status"),
    [
        ("exclusion", "no-such-candidate", GONE, 404),
        ("exclusion", None, {"reason": " ", "detail": ""}, 422),
        ("exclusion", None, {"reason": "x"}, 422),
        ("exclusion", None, "x", 422),
        ("exclusion", None, {"reason": "x" * 101, "detail": ""}, 422),
        ("problematic", None, {"detail": 3}, 422),
        ("near_duplicate_pair", "a|b", True, 404),
        ("near_duplicate_pair", "b|a", True, 422),
        ("near_duplicate_pair", "alone", True, 422),
        ("reviewer", "Ada", None, 422),
        ("nonsense", "x", None, 422),
    ],
)
def test_what_is_no_decision_is_refused_with_a_reason(server, kind, item, after, status):
    with server.client("Ada") as ada:
        answer = post(ada, change(item or server.ids()[0], after, kind=kind))
    assert answer.status_code == status
    assert answer.json()["problem"]


@pytest.mark.parametrize("number", [-1, 0, 2**53, 2**70])
def test_numbers_that_no_decision_can_have_are_refused(server, number):
    with server.client("Rex") as rex:
        assert rex.post("/review/api/take-back", json={"numbers": [number]}).status_code == 422


def test_an_error_in_the_middle_leaves_nothing_behind(server):
    first = server.ids()[0]
    with pytest.raises(Exception, match="no such candidate"):
        review.decide(server.study, [Change("exclusion", first, GONE, 0), Change("exclusion", "nobody", GONE, 0)], stamp=STAMP)
    with server.study.database.read() as tables:
        assert tables.exclusions.get([first]) == {}
        assert tables.decisions.all(kind="exclusion") == []


def test_two_threads_that_decide_at_once_never_both_win(server):
    import threading

    image, outcomes = server.ids()[0], []
    barrier = threading.Barrier(4)

    def run(name):
        barrier.wait()
        try:
            review.decide(server.study, [Change("exclusion", image, {"reason": name, "detail": ""}, 0)], stamp=Stamp(name, STAMP.time))
            outcomes.append("won")
        except DecisionConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=run, args=(f"r{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "conflict", "conflict", "won"]


def test_a_conflict_names_what_could_be_taken_back_without_it(server):
    images = server.ids("apple")[:3]
    with server.client() as rex:
        numbers = [one["no"] for one in post(rex, *(change(image, GONE) for image in images)).json()["decided"]]
        review.decide(
            server.study, [Change("exclusion", images[1], {"reason": "text", "detail": ""}, numbers[1])], stamp=Stamp("Ada", STAMP.time)
        )
        refused = rex.post("/review/api/take-back", json={"numbers": numbers})
        assert refused.status_code == 409
        assert [one["item"] for one in refused.json()["conflicts"]] == [images[1]]
        assert sorted(refused.json()["rest"]) == [numbers[0], numbers[2]]
        assert rex.post("/review/api/take-back", json={"numbers": refused.json()["rest"]}).status_code == 200
    with server.study.database.read() as tables:
        assert set(tables.exclusions.get(images)) == {images[1]}


def test_text_that_cannot_be_stored_is_refused(server):
    with server.client() as rex:
        for text in (r'"\ud800"', r'["\udfff x"]'):
            body = '{"changes": [{"kind": "exclusion", "item": "x", "version": 0, "after": {"reason": ' + text + "}}]}"
            assert rex.post("/review/api/decisions", content=body, headers={"Content-Type": "application/json"}).status_code == 400


def test_the_audit_log_offers_to_take_back_exactly_what_will_be(server):
    """Commands of older versions recorded no state before; a stage can have changed what was decided."""
    image, other, third = server.ids("apple")[:3]
    with server.study.database.write() as tables:
        tables.revisions.add(Revision("x-a-1", "sample_best", ((image, "apple"), (third, "banana")), is_valid=True, seed=1))
        tables.revisions.put_reviews([ClassReview("x-a-1", "apple", reviewed=True, problematic=False)])
        tables.pairs.add_overrides([image], user="Old", time=STAMP.time)
        done = {"reviewed": True, "problematic": False}
        for kind, item, after in (
            ("class_review", "x-a-1/apple", done),
            ("near_duplicate_override", image, True),
            ("near_duplicate_review", image, {"metric": "l2"}),  # items had no metric once
            ("exclusion", "gone", {"reason": "x", "detail": ""}),
            ("carry_over", "x-a-1", {"from": "x-a-0"}),
        ):
            tables.decisions.add(time=STAMP.time, user="Old", kind=kind, item=item, after=after)
    flags = {"reviewed": True, "problematic": True}
    one, two = review.decide(server.study, [Change("exclusion", other, GONE, 0), Change("exclusion", third, GONE, 0)], stamp=STAMP)
    (last,) = review.decide(server.study, [Change("exclusion", third, {**GONE, "detail": "twice"}, two.version)], stamp=STAMP)
    (flagged,) = review.decide(server.study, [Change("class_review", "x-a-1/banana", flags, 0)], stamp=STAMP)
    review.decide(server.study, [Change("problematic", other, {"detail": ""}, 0)], stamp=STAMP)
    with server.study.database.write() as tables:
        tables.flags.put({other: "by a stage"}, user="stage", time=STAMP.time)

    offered = set()
    for decision in review.history(server.study, review.DecisionFilter()).decisions:
        with server.browser_client("Rex") as rex:
            shown = f'data-take-back="{decision.no}"' in rex.get("/review/audit").text
        if shown:
            offered.add(decision.no)
            review.take_back(server.study, [decision.no], stamp=Stamp("Zoë", STAMP.time))
        else:
            with pytest.raises(RetestError):
                review.take_back(server.study, [decision.no], stamp=Stamp("Zoë", STAMP.time))
    assert offered == {one.no, last.no, flagged.no}
