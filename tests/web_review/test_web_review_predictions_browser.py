"""The page of predictions in headless Chromium: judged with the keyboard, undone, by annotators too, without barriers, on a phone."""

from __future__ import annotations

import os

import pytest
from review_digits import give_guesses, make_digit_study
from review_guesses import STRANGE, add_classes, give_random, rows_of, store, votes_of, wrong_by_all
from review_person import EVIL, Person
from review_server import STAMP, ReviewServer

from chromium_browser import NEEDS_CHROMIUM
from retest.records import ClassInfo
from retest.stages import review
from retest.stages._review_predictions import label_item
from retest.stages.review import Change

pytestmark = NEEDS_CHROMIUM
READY = "#labels li[data-current]"


def verdicts(server):
    with server.study.database.read() as tables:
        return {(one.image_id, one.wnid): (one.verdict, one.user) for one in tables.judgements.all()}


def shown(page):
    return page.evaluate("() => new URL(location.href).searchParams.get('image')")


def give_hard(server):
    """Three images that five models get wrong: most say banana, the others cherry and date; a fourth that all get."""
    add_classes(server)
    ids = server.ids("apple")[1:5]
    for number in range(5):
        best = 1 if number < 3 else number - 1
        top = [[best, 0, 4]] * 3 + [[0, best, 4]]
        store(server, "x-a-1", f"model{number}", ids, [0] * 4, top)
    return sorted(ids[:3])


@pytest.mark.parametrize("name", ["Ann", pytest.param("Rex", marks=pytest.mark.long)])
def test_all_wrong_images_are_judged_with_the_keyboard_undone_and_kept(browser, server, name):
    ids = give_hard(server)
    person = Person(browser, server, name)
    page = person.open("/predictions?dataset=x-a-1", "#begin")
    assert page.inner_text("#total") == "4"
    with page.expect_navigation(url="**/predictions?dataset=x-a-1&show=all_wrong"):
        page.keyboard.press("w")
    assert page.inner_text("#total") == "3"
    page.keyboard.press("Enter")
    page.wait_for_selector(READY)
    assert shown(page) == ids[0]
    assert page.inner_text("#labels li[data-current] h2").startswith("banana")  # the own label is taken as correct
    assert "3 of 5 say so" in page.inner_text("#labels li[data-current]")
    page.keyboard.press("c")
    assert page.get_attribute("[data-cid='1'] [data-verdict=correct]", "aria-pressed") == "true"  # at once
    assert page.inner_text("#labels li[data-current] h2").startswith("cherry")  # on to the next that waits
    page.keyboard.press("w")
    person.saved()
    assert verdicts(server) == {(ids[0], "banana"): ("correct", name), (ids[0], "cherry"): ("wrong", name)}
    page.wait_for_function("() => document.getElementById('judging').textContent.startsWith('2 of 9')")
    page.keyboard.press("Control+z")
    page.wait_for_selector("[data-cid='2'] [data-verdict=wrong][aria-pressed=false]")
    person.saved()
    assert set(verdicts(server)) == {(ids[0], "banana")}
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => location.search.includes('{ids[1]}')")
    page.keyboard.press("p")
    page.wait_for_function(f"() => location.search.includes('{ids[0]}')")
    page.reload()
    page.wait_for_selector(READY)
    assert shown(page) == ids[0]
    assert page.get_attribute("[data-cid='1'] [data-verdict=correct]", "aria-pressed") == "true"
    assert f"by {name}" in page.inner_text("[data-cid='1'] .who")
    page.keyboard.press("Backspace")  # the current label is one that waits: nothing to take away
    page.keyboard.press("ArrowUp")
    page.keyboard.press("u")
    page.keyboard.press("ArrowDown")
    person.saved()
    assert verdicts(server)[ids[0], "banana"][0] == "unclear"
    for _ in range(3):
        page.keyboard.press("n")
    page.wait_for_selector("#end")
    page.keyboard.press("p")
    page.wait_for_function(f"() => location.search.includes('{ids[2]}')")
    page.keyboard.press("?")
    sheet = page.inner_text("#keys")
    for words in ("Correct: the image shows it", "Don't know: somebody else may", "Next image", "Undo your latest decision"):
        assert words in sheet
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    page.wait_for_selector("#begin")
    assert "show=all_wrong" in page.url
    page.click("#accuracy summary")
    assert "model3" in page.inner_text("#accuracy")
    assert person.problems == []
    person.close()


def test_images_that_are_refused_ahead_are_told_at_once_and_the_way_back_ends_as_ever(browser, server):
    ids = give_hard(server)
    person = Person(browser, server, "Ann")
    page = person.open(f"/predictions/image?dataset=x-a-1&image={ids[0]}&show=all_wrong", READY)

    def answer(route):
        if "after=" in route.request.url:
            return route.fulfill(status=422, json={"problem": "There is no such image", "item": None, "remedy": "Look again"})
        return route.continue_()

    page.route("**/review/api/predictions/queue?*", answer)
    page.reload()
    page.wait_for_selector(".toast")
    assert page.inner_text(".toast") == "There is no such image. Look again"
    page.keyboard.press("p")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.toast')].some((one) => one.textContent.includes('That is the first one'))"
    )
    while not page.query_selector("#end"):
        page.keyboard.press("n")
        page.wait_for_timeout(100)
    assert page.inner_text("#end.problem") == "There is no such image. Look again"
    person.close()


def test_two_people_who_judge_one_label_see_both_sides(browser, server):
    ids = give_hard(server)
    people = [Person(browser, server, name) for name in ("Ann", "Rex")]
    for person in people:
        person.open(f"/predictions/image?dataset=x-a-1&image={ids[0]}", READY)
    ann, rex = people
    ann.page.keyboard.press("c")
    ann.saved()
    rex.page.keyboard.press("w")
    rex.page.wait_for_selector("#conflict[open]")
    assert "Correct" in rex.page.inner_text("#conflict")
    assert "Ann" in rex.page.inner_text("#conflict")
    rex.page.click("#conflict button[value=theirs]")
    rex.saved()
    assert verdicts(server) == {(ids[0], "banana"): ("correct", "Ann")}
    assert rex.page.get_attribute("[data-cid='1'] [data-verdict=correct]", "aria-pressed") == "true"
    assert "by Ann" in rex.page.inner_text("[data-cid='1'] .who")
    for person in people:
        person.close()


def test_judgements_wait_while_the_connection_is_lost_also_over_images_that_were_fetched(browser, server):
    ids = give_hard(server)
    person = Person(browser, server, "Ann")
    page = person.open("/predictions/image?dataset=x-a-1&show=all_wrong", READY)
    page.wait_for_load_state("networkidle")
    server.pause()
    page.keyboard.press("c")
    page.wait_for_function("() => document.getElementById('connection').textContent.includes('No connection')")
    page.keyboard.press("n")
    page.wait_for_function(f"() => location.search.includes('{ids[1]}')")
    page.keyboard.press("d")
    assert page.get_attribute("[data-cid='1'] [data-verdict=dont_know]", "aria-pressed") == "true"
    server.resume()
    person.saved()
    assert {key: verdict for key, (verdict, _) in verdicts(server).items()} == {
        (ids[0], "banana"): "correct",
        (ids[1], "banana"): "dont_know",
    }
    person.close()


def test_who_may_only_look_is_told_so(browser, folder):
    with ReviewServer(folder, read_only=True) as server:
        give_hard(server)
        person = Person(browser, server, "Ada")
        page = person.open("/predictions/image?dataset=x-a-1&show=all_wrong", READY)
        assert page.is_disabled("[data-verdict=correct] >> nth=0")
        page.keyboard.press("c")
        page.wait_for_selector(".toast.problem")
        assert verdicts(server) == {}
        person.close()


def test_names_of_models_and_texts_of_classes_stay_text(browser, server):
    ids = server.ids("apple")[:2]
    with server.study.database.write() as tables:
        tables.classes.put([ClassInfo(f"w{EVIL}", 2, (EVIL, EVIL), EVIL)])
    for number in range(2):
        store(server, "x-a-1", f"m{number}{EVIL}", ids, [0, 0], [[2, STRANGE], [2, STRANGE]])
    store(server, f"set{EVIL}", "m", ids, [0, 0], [[2], [2]])
    person = Person(browser, server, "Ann")
    page = person.open("/predictions?dataset=x-a-1", "#begin")
    assert EVIL in page.inner_text(".predictions")
    assert EVIL in page.inner_text(".sets")
    page.eval_on_selector("#accuracy", "one => { one.open = true; }")
    assert EVIL in page.inner_text("#accuracy")
    person.open(f"/predictions/image?dataset=x-a-1&image={ids[0]}", READY)
    page.keyboard.press("m")
    page.keyboard.press("t")
    for place in ("[data-cid='2']", "#models"):
        assert EVIL in page.inner_text(place)
    assert "does not know this class" in page.inner_text("#more")
    page.keyboard.press("c")
    person.saved()
    assert verdicts(server) == {(ids[0], f"w{EVIL}"): ("correct", "Ann")}
    assert page.evaluate("() => document.querySelectorAll('main script, main [onerror]').length") == 0
    assert "owned" not in page.title()
    assert person.problems == []
    person.close()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.long)])
def test_the_pages_have_no_barriers_and_fit(browser, server, scheme, width):
    give_random(server)
    rows = rows_of(server)
    image = wrong_by_all(rows)[0]
    item = label_item(image, "cherry")
    review.decide(server.study, [Change("predicted_label", item, "correct", 0)], stamp=STAMP)
    assert len(votes_of(rows[image][1])) >= 1
    person = Person(browser, server, "Ann", color_scheme=scheme, viewport={"width": width, "height": 800})
    for path, ready in (("/predictions", "#begin"), (f"/predictions/image?image={image}", READY)):
        page = person.open(path, ready)
        page.eval_on_selector_all("details", "list => list.forEach(one => { one.open = true; })")
        assert person.barriers() == []
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, path
    assert person.problems == []
    person.close()


@pytest.mark.skipif("RETEST_SCREENSHOTS" not in os.environ, reason="RETEST_SCREENSHOTS names no folder for screenshots")
def test_screenshots(browser, tmp_path):
    with ReviewServer(make_digit_study(tmp_path)) as server:
        give_guesses(server)
        for width, suffix in ((1280, ""), (390, "-phone")):
            person = Person(browser, server, "Ada", viewport={"width": width, "height": 800})
            page = person.open("/predictions?show=all_wrong", "#begin")
            page.wait_for_timeout(300)
            person.shoot(f"predictions-list{suffix}")
            page.click("#begin")
            page.wait_for_selector(READY)
            page.wait_for_timeout(500)
            person.shoot(f"predictions{suffix}")
            person.close()
