"""HIT and annotator inspection in headless Chromium: filters, the keyboard, leaving out and undoing, barriers, strange texts."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from review_digits import make_digit_study
from review_hits_study import CAREFUL, REJECTED, SPAMMER, add_hits
from review_person import EVIL, Person
from review_server import STAMP, ReviewServer

from chromium_browser import NEEDS_CHROMIUM
from retest.records import Assignment, AssignmentStatus, ClassInfo
from retest.stages import _review_hit_figures, review
from retest.stages.review import Change

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
def hits(folder):
    return add_hits(folder)


@pytest.fixture
def server(folder, hits):
    with ReviewServer(folder) as running:
        yield running


def left_out(server) -> dict[str, str]:
    with server.study.database.read() as tables:
        return tables.hits.excluded()


def test_hits_are_filtered_by_the_address_and_left_out_with_the_keyboard(rex, server, hits):
    page = rex.open("/hits", "#rows tbody tr")
    assert page.locator("#rows tbody tr").count() == len(hits) + 2
    page.fill("[name=wnid]", "apple")
    page.fill("[name=min_controls]", "0.1")
    page.wait_for_function("() => document.querySelectorAll('#rows tbody tr').length === 2")
    assert "wnid=apple" in page.url
    page.reload()
    assert page.input_value("[name=min_controls]") == "0.1"
    assert page.locator("#rows tbody tr").count() == 2
    page.click("h1")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("e")
    assert page.inner_text("#rows tr.active .reason") == "the page showed the wrong class"  # at once
    rex.saved()
    assert left_out(server) == {hits[1]: "the page showed the wrong class"}
    page.keyboard.press("Control+a")
    page.fill("#reason", "a rehearsal")
    page.click("[data-action=exclude]")
    rex.saved()
    assert left_out(server) == {hits[0]: "a rehearsal", hits[1]: "a rehearsal"}
    page.click("h1")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.wait_for_function("() => document.querySelectorAll('#rows tr.out').length === 0")
    rex.saved()
    assert left_out(server) == {}
    page.keyboard.press("k")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert f"uuid={hits[0]}" in page.url
    assert "1 of 2 in the list" in page.inner_text("#hit")
    with page.expect_navigation():
        page.keyboard.press("n")
    assert f"uuid={hits[1]}" in page.url


def test_a_hit_shows_who_selected_what_and_its_frequencies_follow(rex, server, hits):
    page = rex.open(f"/hit?uuid={hits[0]}", "#images li")
    assert page.locator("#answers tbody tr").count() == 12
    assert page.locator("#images .role").count() == 6
    spammer = 11
    page.keyboard.press("0")
    chosen = page.locator("#images li.chosen").count()
    assert 3 <= chosen < page.locator("#images li").count()
    page.click(f"[data-watch='{spammer}']")  # selected everything
    assert page.locator("#images li.chosen").count() == page.locator("#images li").count()
    page.keyboard.press("Escape")
    assert page.locator("#images li.chosen").count() == 0
    shared = page.locator("#images .caption", has_text="in all")
    before = shared.all_inner_texts()
    assert any("of 32 in all" in text for text in before)
    page.keyboard.press("e")
    page.wait_for_selector(".out-banner")
    rex.saved()
    page.wait_for_function("() => ![...document.querySelectorAll('#images .caption')].some(c => c.textContent.includes('of 32 in all'))")
    page.keyboard.press("Control+z")
    page.wait_for_selector(".out-banner", state="detached")
    rex.saved()
    page.wait_for_function("() => [...document.querySelectorAll('#images .caption')].some(c => c.textContent.includes('of 32 in all'))")
    assert shared.all_inner_texts() == before
    with page.expect_navigation():
        page.keyboard.press("o")
    shares = [int(text.split()[0]) for text in page.locator("#images .caption").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    with page.expect_navigation():
        page.keyboard.press("c")
    assert "/review/class?wnid=apple" in page.url


def test_two_reviewers_who_leave_out_one_hit_see_both_sides(browser, rex, server, hits):
    ada = Person(browser, server, "Ada")
    for person in (rex, ada):
        person.open(f"/hit?uuid={hits[0]}", "#images li")
    rex.page.keyboard.press("e")
    rex.saved()
    ada.page.fill("#reason", "spam answers")
    ada.page.click("[data-action=exclude]")
    ada.page.wait_for_selector("#conflict[open]")
    text = ada.page.inner_text("#conflict")
    assert "left out: spam answers" in text
    assert "left out: the page showed the wrong class" in text
    assert "Rex" in text
    ada.page.click("#conflict [value=mine]")
    ada.saved()
    assert left_out(server) == {hits[0]: "spam answers"}
    assert [one for one in ada.problems if "409" not in one] == []
    ada.close()


def test_annotators_are_sorted_filtered_and_looked_at(rex, server, hits):
    page = rex.open("/annotators?sort=answers", "#rows tbody tr")
    page.click("thead >> text=Negative controls")
    page.wait_for_url("**sort=negative**")
    page.wait_for_selector("#rows tbody tr")
    assert page.locator("#rows tbody tr").first.inner_text().startswith(SPAMMER)
    page.select_option("[name=flagged]", "yes")
    page.wait_for_url("**flagged=yes**")
    assert SPAMMER in page.inner_text("#rows")
    page.click("h1")
    page.keyboard.press("j")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert SPAMMER in page.inner_text("h1")
    assert page.locator(".chart .bar-of.flagged").count() == 4
    assert page.locator("#rows tbody tr").count() == 4
    page.click("text=their HITs")
    page.wait_for_selector("#rows tbody tr")
    assert page.locator("#rows tbody tr").count() == 4


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.long)])
def test_no_serious_barriers_and_the_screen_is_wide_enough(browser, server, hits, scheme, width):
    review.decide(server.study, [Change("exclude_hit", hits[1], "rehearsal", 0)], stamp=STAMP)
    person = Person(browser, server, "Ada", color_scheme=scheme, viewport={"width": width, "height": 800})
    for path, ready in (
        ("/hits", "#rows tbody tr"),
        (f"/hit?uuid={hits[0]}", "#images li"),
        (f"/hit?uuid={hits[1]}", ".out-banner"),
        ("/annotators", "#rows tbody tr"),
        (f"/annotator?worker={SPAMMER}", "#rows tbody tr"),
    ):
        page = person.open(path, ready)
        assert person.barriers() == [], path
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, path
        page.keyboard.press("?")
        assert page.locator("#keys dt").count() > 5
        assert person.barriers() == [], f"{path} keys"
        page.keyboard.press("Escape")
    assert person.problems == []
    person.close()


def test_html_in_names_reasons_and_texts_stays_text(browser, server, hits):
    with server.study.database.write() as tables:
        tables.classes.put([ClassInfo("apple", 0, (EVIL, "x"), EVIL, wikipedia_pages=("javascript:alert(1)",))])
        first = next(iter(tables.assignments.all(hit_uuid=hits[0])))
        tables.assignments.add([replace(first, id=EVIL, worker=EVIL, status=AssignmentStatus.SUBMITTED)])
        strange = Assignment("odd", hits[0], f"{EVIL}&'\"", AssignmentStatus.REJECTED, (EVIL,), EVIL, EVIL)
        tables.assignments.add([strange])
    review.decide(server.study, [Change("exclude_hit", hits[0], EVIL, 0)], stamp=STAMP)
    person = Person(browser, server, "Ada")
    page = person.page
    for path in ("/hits", f"/hit?uuid={hits[0]}", "/annotators", "/annotators?q=onerror", f"/hits?worker={EVIL}", "/audit"):
        page.goto(f"{server.url}/review{path}")
        page.wait_for_timeout(100)
        assert page.title() != "owned", path
        assert page.locator("main script").count() == 0
        assert page.evaluate("() => [...document.querySelectorAll('main img')].every(i => i.getAttribute('src') !== 'x')"), path
    page.goto(f"{server.url}/review/annotators")
    page.get_by_role("link", name=EVIL, exact=True).click()
    page.wait_for_selector("#rows tbody tr")
    assert EVIL in page.inner_text("h1")
    assert page.title() != "owned"
    page.goto(f"{server.url}/review/hit?uuid={hits[0]}")
    assert page.locator("a[href^='javascript']").count() == 0
    page.keyboard.press("i")  # the reason travels through a data attribute
    person.saved()
    assert left_out(server) == {}
    assert person.problems == []
    person.close()


@pytest.mark.parametrize("path", ["/hits", pytest.param("/annotators", marks=pytest.mark.long)])
def test_figures_that_take_long_are_announced_and_appear_by_themselves(browser, folder, hits, monkeypatch, path):
    monkeypatch.setattr(_review_hit_figures, "NOW", -1)  # nothing is quick enough to be worked out within a request
    with ReviewServer(folder) as server:
        person = Person(browser, server)
        page = person.open(path, "#found [role=status].badge")
        assert "are being worked out; they appear here in a moment" in page.inner_text("#found")
        assert page.locator("table").count() == 0
        page.wait_for_selector("#rows tbody tr")
        assert page.locator(".badge").count() == 0
        assert person.problems == []
        person.close()


@pytest.mark.long
def test_a_read_only_server_shows_everything_and_offers_nothing(browser, folder, hits):
    with ReviewServer(folder, read_only=True) as server:
        person = Person(browser, server, "Ada")
        for path, ready in (("/hits", "#rows tbody tr"), (f"/hit?uuid={hits[0]}", "#images li")):
            page = person.open(path, ready)
            assert page.locator("#reason, .pick, [data-action]").count() == 0
            page.keyboard.press("j")
            page.keyboard.press("e")
        assert left_out(server) == {}
        assert person.problems == []
        person.close()


@pytest.mark.skipif("RETEST_SCREENSHOTS" not in os.environ, reason="RETEST_SCREENSHOTS names no folder for screenshots")
def test_screenshots(browser, tmp_path):
    folder = make_digit_study(tmp_path)
    uuids = add_hits(folder, share=1.0)
    with ReviewServer(folder) as server:
        review.decide(server.study, [Change("exclude_hit", uuids[-1], "a rehearsal", 0)], stamp=STAMP)
        person = Person(browser, server, "Ada")
        for name, path, ready in (
            ("hits", "/hits", "#rows tbody tr"),
            ("hit", f"/hit?uuid={uuids[2]}&order=selected", "#images li"),
            ("annotators", "/annotators?sort=agreement", "#rows tbody tr"),
            ("annotator", f"/annotator?worker={CAREFUL[2]}", "#rows tbody tr"),
        ):
            page = person.open(path, ready)
            if name == "hit":
                page.click("[data-watch='4']")
            page.wait_for_timeout(300)
            person.shoot(name)
        assert REJECTED in page.request.get(f"{server.url}/review/annotators").text()
        person.close()
