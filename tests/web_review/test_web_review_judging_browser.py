"""The pages on which reviewers judge, in headless Chromium: with the keyboard, undone, without barriers, whatever is in the texts."""

from __future__ import annotations

import os

import pytest
from review_digits import SHOWN, make_digit_study
from review_person import EVIL, Person
from review_server import STAMP, ReviewServer
from test_web_review_pairs import give_neighbors
from test_web_review_revisions import add_revision

from chromium_browser import NEEDS_CHROMIUM
from retest.records import Neighbor
from retest.stages import review
from retest.stages._review_pairs import refresh_queue
from retest.stages.review import Change

pytestmark = NEEDS_CHROMIUM


# Near-duplicates


def reviews_of(server, candidate):
    with server.study.database.read() as tables:
        return tables.reviews.all(candidate_id=candidate), set(tables.pairs.all())


def test_a_pair_is_reviewed_with_the_keyboard_undone_and_done_again(rex, server):
    ids = give_neighbors(server)
    page = rex.open("/pairs?metric=l2", ".strip li")
    assert page.inner_text("#left") == str(len(ids))
    assert ids[0] in page.inner_text(".stage .one figcaption")
    assert page.eval_on_selector_all(".strip li", "list => list.length") == 3
    page.keyboard.press("ArrowRight")
    assert "Neighbour 2 of 3" in page.inner_text(".stage .two figcaption")
    page.keyboard.press("d")
    assert page.evaluate("() => getComputedStyle(document.querySelector('.stage .two img')).mixBlendMode") == "difference"
    page.keyboard.press("f")
    page.wait_for_selector(".stage.other[data-view=flicker]")
    page.wait_for_selector(".stage[data-view=flicker]:not(.other)")
    page.keyboard.press("s")
    page.keyboard.press("1")
    assert "near-duplicate" in page.inner_text(".strip li:first-child .notes")
    page.keyboard.press("Enter")
    rex.saved()
    found, pairs = reviews_of(server, ids[0])
    assert [(r.reviewer, len(r.references), r.near_duplicates) for r in found] == [("Rex", 3, (ids[1],))]
    assert pairs == {(ids[0], ids[1])}
    assert ids[1] in page.inner_text(".stage .one figcaption")
    page.wait_for_function("() => document.getElementById('left').textContent === '12'")
    page.keyboard.press("Enter")  # none of the neighbours of the second; the pair with the first is proposed from its review
    rex.saved()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.wait_for_function(f"() => document.querySelector('.stage .one figcaption').textContent.includes('{ids[0]}')")
    rex.saved()
    assert reviews_of(server, ids[0]) == ([], set())
    page.keyboard.press("Control+y")
    rex.saved()
    assert reviews_of(server, ids[0])[1] == {(ids[0], ids[1])}
    page.reload()
    page.wait_for_selector(".strip li")
    assert ids[1] in page.inner_text(".stage .one figcaption")


def test_a_queue_that_fails_is_asked_for_again_and_one_that_is_refused_says_why(rex, server):
    give_neighbors(server)
    answers = [(503, "The database is busy")]

    def answer(route):
        if not answers:
            return route.continue_()
        status, problem = answers.pop()
        return route.fulfill(status=status, json={"problem": problem, "item": None, "remedy": "Look again"})

    rex.page.route("**/review/api/pairs/queue?*", answer)
    page = rex.open("/pairs?metric=l2", ".toast")
    assert page.inner_text(".toast") == "The database is busy. Look again. The queue is asked for again."
    page.wait_for_selector(".strip li")
    answers.append((422, "This is no place in the queue"))
    page = rex.open("/pairs?metric=l2", "#end.problem")
    assert page.inner_text("#end") == "This is no place in the queue. Look again"
    assert answers == []
    assert [one for one in rex.problems if "503" not in one and "422" not in one] == []
    rex.problems.clear()


@pytest.mark.long
def test_two_reviewers_of_one_candidate_see_both_sides(browser, rex, server):
    ids = give_neighbors(server)
    ada = Person(browser, server, "Ada")
    for person in (rex, ada):
        person.open("/pairs?metric=l2", ".strip li")
    rex.page.keyboard.press("1")
    rex.page.keyboard.press("Enter")
    rex.saved()
    ada.page.keyboard.press("2")
    ada.page.keyboard.press("Enter")
    ada.page.wait_for_selector("#conflict[open]")
    text = ada.page.inner_text("#conflict")
    assert ids[1] in text
    assert "Rex" in text
    ada.page.click("#conflict button[value=theirs]")
    ada.saved()
    assert reviews_of(server, ids[0])[0][0].near_duplicates == (ids[1],)
    ada.close()


def test_who_stays_can_be_overridden_in_the_component(rex, server):
    ids = server.ids("apple")[1:4]
    items = [review.pair_item(ids[0], ids[1]), review.pair_item(ids[1], ids[2])]
    review.decide(server.study, [Change("near_duplicate_pair", item, True, 0) for item in items], stamp=STAMP)
    page = rex.open(f"/component?image={ids[0]}", ".members li")
    assert "Stays" in page.inner_text(f"[data-candidate='{ids[2]}']")
    with page.expect_navigation():
        page.check(f"[data-candidate='{ids[0]}'] .override")
    assert "on the override list" in page.inner_text(f"[data-candidate='{ids[0]}']")
    with page.expect_navigation():
        page.check(f"[data-candidate='{ids[1]}'] .override")  # the other one gives way
    assert "on the override list" in page.inner_text(f"[data-candidate='{ids[1]}']")
    with server.study.database.read() as tables:
        assert tables.pairs.overrides() == [ids[1]]
    assert rex.barriers() == []


def test_ids_of_strangers_and_texts_stay_text_in_pairs(rex, server):
    ids = give_neighbors(server)
    with server.study.database.write() as tables:
        tables.neighbors.put("l2", {ids[0]: [Neighbor(EVIL, 1.0)]})
        tables.pairs.add([(ids[0], EVIL)], user=EVIL, time="")
    refresh_queue(server.study)
    page = rex.open("/pairs?metric=l2", ".strip li")
    assert EVIL in page.inner_text(".stage .two figcaption")
    rex.open(f"/component?image={ids[0]}", ".members li")
    assert EVIL in page.inner_text(".members")
    assert page.evaluate("() => document.querySelectorAll('main script').length") == 0
    assert "owned" not in page.title()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.long)])
def test_the_pages_of_near_duplicates_have_no_barriers_and_fit(browser, server, scheme, width):
    ids = give_neighbors(server)
    review.decide(server.study, [Change("near_duplicate_pair", review.pair_item(*ids[1:3]), True, 0)], stamp=STAMP)
    person = Person(browser, server, color_scheme=scheme, viewport={"width": width, "height": 800})
    for path, ready in (("/pairs", ".strip li"), ("/components", "table"), (f"/component?image={ids[1]}", ".members li")):
        page = person.open(path, ready)
        page.eval_on_selector_all("details", "list => list.forEach(one => { one.open = true; })")
        assert person.barriers() == []
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, path
    assert person.problems == []
    person.close()


# Revisions


def test_a_revision_is_reviewed_class_after_class_and_carried_over(rex, server):
    add_revision(server, "x-a-1")
    add_revision(server, "x-a-2", shift=1, starting_from="x-a-1")
    page = rex.open("/revision?name=x-a-1", "#begin")
    assert rex.barriers() == []
    page.click("#begin")
    page.wait_for_selector("#class-review")
    assert rex.barriers() == []
    page.keyboard.press("Enter")  # reviewed, and on to the bananas
    page.wait_for_selector("#before")
    page.keyboard.press("r")
    page.keyboard.press("b")
    rex.saved()
    page.keyboard.press("Control+z")
    page.wait_for_selector("[data-flag=problematic][aria-pressed=false]")
    rex.saved()
    with server.study.database.read() as tables:
        reviews = tables.revisions.reviews("x-a-1")
    assert {wnid: (r.reviewed, r.problematic) for wnid, r in reviews.items()} == {"apple": (True, False), "banana": (True, False)}
    page = rex.open("/revision?name=x-a-2", "#carry-over")
    with page.expect_navigation():
        page.click("#carry-over")
    assert "1 of 2 classes reviewed" in page.inner_text("main")
    page.click("#difference")
    page.wait_for_url("**/revision/diff?old=x-a-1&new=x-a-2")
    assert rex.barriers() == []
    rex.shoot("revision-diff")


@pytest.mark.skipif("RETEST_SCREENSHOTS" not in os.environ, reason="RETEST_SCREENSHOTS names no folder for screenshots")
def test_screenshots(browser, tmp_path):
    with ReviewServer(make_digit_study(tmp_path, reviewed=False)) as server:
        assert refresh_queue(server.study)
        for name, shift, earlier in (("digits-a-1", 0, None), ("digits-a-2", 1, "digits-a-1")):
            add_revision(server, name, 6, shift=shift, starting_from=earlier, wnids=(SHOWN, "digit-5"))
        done = {"reviewed": True, "problematic": False}
        review.decide(server.study, [Change("class_review", "digits-a-2/digit-5", done, 0)], stamp=STAMP)
        person = Person(browser, server, "Ada")
        page = person.open("/pairs?metric=l2", ".strip li")
        page.wait_for_timeout(500)
        person.shoot("pairs")
        page.keyboard.press("d")
        page.wait_for_timeout(300)
        person.shoot("pairs-difference")
        page.keyboard.press("1")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        person.saved()
        with server.study.database.read() as tables:
            (_, joined), _ = tables.pairs.all()
        for name, path, ready in (
            ("component", f"/component?image={joined}", ".members li"),
            ("revisions", "/revisions", "table"),
            ("revision", "/revision?name=digits-a-2", "#begin"),
            ("revision-class", f"/revision/class?name=digits-a-2&wnid={SHOWN}", "#class-review"),
        ):
            person.open(path, ready)
            page.wait_for_timeout(400)
            person.shoot(name)
        person.close()
