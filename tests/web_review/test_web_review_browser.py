"""The class browser in headless Chromium: mark with the keyboard, undo, filter, two browsers at once, a lost connection, many images."""

from __future__ import annotations

import os
import re

import pytest
from review_digits import SHOWN, decide_what_was_planted, make_digit_study
from review_person import SAVED, Person
from review_server import MISSING, STAMP, ReviewServer

from chromium_browser import NEEDS_CHROMIUM
from retest.records import Candidate, ClassInfo
from retest.stages import review
from retest.stages.review import Change
from retest.stages.review_progress import refresh_counts

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
def rex(browser, server):
    """Without a look at problems: here servers go away and images are missing."""
    person = Person(browser, server)
    yield person
    person.close()


def excluded(server) -> dict[str, str]:
    with server.study.database.read() as tables:
        return {image: e.reason for image, e in tables.exclusions.all().items()}


def test_images_are_marked_with_the_keyboard_and_undone(rex, server):
    page = rex.browse()
    order = rex.order()
    page.focus("#grid")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("e")
    assert rex.marks(0) == "excluded: not the class"  # at once
    rex.saved()
    assert excluded(server) == dict.fromkeys(order[:2], "not the class")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("p")
    rex.saved()
    with server.study.database.read() as tables:
        assert tables.flags.ids() == {order[2]}
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.wait_for_function("() => !document.querySelector('#tile-0 .mark')")
    rex.saved()
    assert excluded(server) == {}
    with server.study.database.read() as tables:
        assert tables.flags.ids() == set()
    page.keyboard.press("Control+y")
    page.wait_for_selector("#tile-0 .mark.excluded")
    rex.saved()
    assert set(excluded(server)) == set(order[:2])
    assert rex.problems == []


@pytest.mark.long
def test_bulk_and_range_selection_and_another_reason(rex, server):
    page = rex.browse()
    order = rex.order()
    page.click("#tile-1")
    page.click("#tile-4", modifiers=["Shift"])
    page.click("#tile-2", modifiers=["Control"])
    assert page.inner_text("#selected") == "3 selected"
    page.fill("#reason", "blurred")
    page.click("[data-action=exclude]")
    rex.saved()
    assert excluded(server) == dict.fromkeys([order[1], order[3], order[4]], "blurred")
    page.focus("#grid")
    page.keyboard.press("Control+a")
    page.keyboard.press("i")
    rex.saved()
    assert excluded(server) == {}
    assert rex.problems == []


@pytest.mark.long
def test_near_duplicates_are_a_set_and_say_who_stays(rex, server):
    page = rex.browse()
    order = rex.order()
    for index in (0, 3, 5):
        page.click(f"#tile-{index}", modifiers=["Control"])
    page.keyboard.press("d")
    rex.saved()
    page.wait_for_function("() => document.querySelectorAll('.mark.duplicate').length === 3")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.mark.duplicate')].map(m => m.innerText).filter(t => t.includes('dropped')).length === 2"
    )
    assert "stays" in rex.marks(0)  # the most often selected
    with server.study.database.read() as tables:
        assert {image: r.near_duplicate for image, r in tables.pairs.resolutions().items()} == {
            order[0]: False,
            order[3]: True,
            order[5]: True,
        }
    page.keyboard.press("Shift+D")
    rex.saved()
    page.wait_for_function("() => !document.querySelector('.mark.duplicate')")
    with server.study.database.read() as tables:
        assert tables.pairs.all() == []
    assert rex.problems == []


@pytest.mark.long
def test_filters_are_in_the_address_and_the_back_button_undoes_them(rex, server):
    page = rex.browse("&min_frequency=0.5&excluded=no")
    assert page.input_value("[name=min_frequency]") == "0.5"
    high = rex.order()
    assert len(high) == 6
    page.check("[name=bin][value='4']")
    page.wait_for_function("() => document.getElementById('count').textContent === '3 candidates'")
    assert "bin=4" in page.url
    page.reload()
    page.wait_for_function("() => document.getElementById('count').textContent === '3 candidates'")
    page.go_back()
    page.wait_for_function("() => document.getElementById('count').textContent === '6 candidates'")
    assert "bin=4" not in page.url
    page.select_option("[name=sort]", "id")
    page.wait_for_url(re.compile("sort=id"))
    page.wait_for_selector("#grid[aria-busy=false]")
    assert rex.order() == sorted(high, reverse=True)
    page.fill("[name=size]", "300")
    page.wait_for_url(re.compile("size=300"))
    assert page.eval_on_selector(".tile", "tile => tile.offsetWidth") == 300
    assert rex.problems == []


def test_two_browsers_that_decide_about_one_image_see_both_sides(browser, server, rex):
    ada = Person(browser, server, "Ada")
    rex.browse()
    ada.browse()
    image = rex.order()[0]
    rex.page.click("#tile-0")
    rex.page.keyboard.press("e")
    rex.saved()
    for choice, reason in (("theirs", "not the class"), ("mine", "collage")):
        if choice == "mine":  # somebody decides again after Ada has looked
            ada.browse()
            review.decide(
                server.study,
                [
                    Change(
                        "exclusion", image, {"reason": "text", "detail": ""}, review.current(server.study, "exclusion", [image])[0].version
                    )
                ],
                stamp=STAMP,
            )
        ada.page.click("#tile-0")
        ada.page.fill("#reason", "collage")
        ada.page.focus("#grid")
        ada.page.keyboard.press("e")
        ada.page.wait_for_selector("#conflict[open]")
        shown = ada.page.inner_text("#conflict")
        assert "collage" in shown
        assert ("Rex" if choice == "theirs" else "tester") in shown
        ada.page.click(f"#conflict [value={choice}]")
        ada.saved()
        assert excluded(server) == {image: reason}
        assert ada.marks(0) == f"excluded: {reason}"
    assert [p for p in ada.problems if "409" not in p] == []
    ada.close()


def test_decisions_survive_a_lost_connection_and_a_reload(rex, server):
    page = rex.browse()
    order = rex.order()
    server.pause()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("e")
    page.wait_for_function("() => document.getElementById('connection').textContent.includes('3 decisions kept')")
    assert rex.marks(2) == "excluded: not the class"
    assert excluded(server) == {}
    server.resume()
    page.reload()
    page.wait_for_selector("#grid[aria-busy=false]")
    rex.saved()
    assert set(excluded(server)) == set(order[:3])
    with server.study.database.read() as tables:
        assert len(tables.decisions.all(kind="exclusion")) == 3  # none twice
    page.keyboard.press("Control+z")
    page.wait_for_function("() => !document.querySelector('#tile-2 .mark')")
    rex.saved()
    assert set(excluded(server)) == set(order[:2])


def test_decisions_wait_until_one_has_signed_in_again_in_another_tab(browser, server):
    rex = Person(browser, server)
    page = rex.browse()
    first = rex.order()[0]
    rex.context.clear_cookies()
    page.click("#tile-0")
    page.keyboard.press("e")
    page.wait_for_function("() => document.getElementById('connection').textContent.startsWith('Signed out')")
    other = rex.context.new_page()
    other.route("**/review/api/decisions", lambda route: route.abort())  # or it would send what waits
    other.goto(f"{server.url}/review/sign-in")
    other.fill("#token", server.tokens["Rex"])
    other.click("button.primary")
    other.wait_for_url(f"{server.url}/review")
    other.close()
    page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    page.wait_for_function("() => document.getElementById('connection').textContent.includes('Load this page again')")
    assert excluded(server) == {}
    page.reload()
    rex.saved()
    assert set(excluded(server)) == {first}
    assert [p for p in rex.problems if "401" not in p and "403" not in p] == []
    rex.close()


def test_of_two_studies_at_one_address_none_keeps_or_hears_what_concerns_the_other(rex):
    page = rex.browse()
    order = rex.order()
    study = page.evaluate("() => document.body.dataset.study")
    assert len(study) == 16
    page.click("#tile-0")
    page.keyboard.press("e")
    rex.saved()
    page.keyboard.press("Control+z")
    rex.saved()
    kept = page.evaluate("() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)].filter(name => name.startsWith('retest'))")
    assert sorted(name.split(":")[0].removeprefix("retest-review-") for name in kept) == ["done", "numbers", "queue", "undone"]
    assert all(name.split(":", 1)[1] == f"{study}:Rex" for name in kept)
    for other, image in (("0123456789abcdef", order[1]), (study, order[2])):  # as a page of that study tells the others
        told = {"kind": "exclusion", "item": image, "state": {"reason": other, "detail": ""}, "version": 1, "pending": False}
        page.evaluate("([name, told]) => new BroadcastChannel(`retest-review:${name}`).postMessage(told)", [other, told])
    page.wait_for_selector("#tile-2 .mark.excluded")
    assert rex.marks(2) == f"excluded: {study}"
    assert rex.marks(1) == ""
    assert rex.problems == []


def test_undoing_many_leaves_alone_what_somebody_else_decided_since(rex, server):
    page = rex.browse()
    order = rex.order()
    page.click("#tile-0")
    page.click("#tile-2", modifiers=["Shift"])
    page.click("[data-action=exclude]")
    rex.saved()
    version = review.current(server.study, "exclusion", [order[1]])[0].version
    review.decide(server.study, [Change("exclusion", order[1], {"reason": "text", "detail": ""}, version)], stamp=STAMP)
    page.focus("#grid")
    page.keyboard.press("Control+z")
    page.wait_for_selector("#conflict[open]")
    page.click("#conflict [value=theirs]")
    rex.saved()
    assert excluded(server) == {order[1]: "text"}
    page.focus("#grid")
    page.keyboard.press("Control+y")
    rex.saved()
    assert set(excluded(server)) == set(order[:3])
    assert [p for p in rex.problems if "409" not in p] == []
    rex.problems.clear()


@pytest.mark.long
def test_an_answer_that_is_lost_on_the_way_back_is_no_second_decision(rex, server):
    page = rex.browse()
    lost = []

    def lose(route):
        route.fetch()  # it arrives, the answer does not
        lost.append(route.request.url)
        route.abort()

    page.route("**/review/api/decisions", lose, times=1)
    page.click("#tile-0")
    page.keyboard.press("e")
    rex.saved()
    assert len(lost) == 1
    with server.study.database.read() as tables:
        assert len(tables.decisions.all(kind="exclusion")) == 1
    assert not page.is_visible("#conflict")


@pytest.mark.long
def test_zoom_shows_what_is_known_and_moves_on(rex):
    page = rex.browse()
    order = rex.order()
    page.click("#tile-0")
    page.keyboard.press("Enter")
    page.wait_for_selector("#zoom dl")
    assert order[0] in page.inner_text("#zoom")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("id => document.querySelector('#zoom dl')?.innerText.includes(id)", arg=order[1])
    page.keyboard.press("Escape")
    assert not page.is_visible("#zoom")
    assert rex.problems == []


@pytest.mark.long
def test_an_image_that_is_missing_is_a_placeholder_and_can_be_marked(rex, server):
    page = rex.browse("&size=100")
    index = rex.order().index(MISSING)
    assert "missing.svg" in page.get_attribute(f"#tile-{index} img", "src")
    page.click(f"#tile-{index}")
    page.keyboard.press("e")
    rex.saved()
    assert set(excluded(server)) == {MISSING}


@pytest.mark.long
def test_ten_thousand_images_scroll_with_few_tiles(browser, folder):
    with ReviewServer(folder) as server:
        with server.study.database.write() as tables:
            tables.classes.put([ClassInfo("many", 7, ("many",), "a class of ten thousand")])
            tables.candidates.add(Candidate(f"{n:040x}", "many", "folder", f"p{n}", "https://example.org") for n in range(10_000))
        person = Person(browser, server)
        page = person.browse("&sort=id&descending=false", wnid="many")
        page.wait_for_function("() => document.getElementById('count').textContent === '10,000 candidates'")
        most = 0
        for part in (0.1, 0.5, 0.9, 1.0):
            page.evaluate(
                "part => { const g = document.getElementById('grid'); g.scrollTop = part * (g.scrollHeight - g.clientHeight); }", part
            )
            page.wait_for_function(
                "() => { const g = document.getElementById('grid').getBoundingClientRect(); const middle = g.top + g.height / 2;"
                " return [...document.querySelectorAll('.tile')].map(t => t.getBoundingClientRect())"
                ".some(b => b.top < middle + 20 && b.bottom > middle - 20); }"
            )
            most = max(most, page.locator(".tile").count())
        page.wait_for_selector("#tile-9999")
        assert person.order()[-1] == f"{9999:040x}"
        assert most < 200
        page.focus("#grid")
        page.keyboard.press("Home")
        page.keyboard.press("End")
        assert page.get_attribute("#grid", "aria-activedescendant") == "tile-9999"
        assert person.problems == []
        person.close()


EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def test_html_in_names_reasons_and_titles_stays_text(browser, server):
    image = server.ids("banana")[0]
    with server.study.database.write() as tables:
        tables.classes.put([ClassInfo("banana", 1, (EVIL, "x"), EVIL)])
        evil = Candidate("e" * 40, "banana", "folder", EVIL, "javascript:alert(1)", title=EVIL, uploader=EVIL)
        tables.candidates.add([evil])
    review.decide(
        server.study,
        [Change("exclusion", image, {"reason": EVIL[:100], "detail": EVIL}, 0), Change("problematic", evil.id, {"detail": EVIL}, 0)],
        stamp=STAMP,
    )
    person = Person(browser, server, "Ada")
    page = person.page
    for path in (
        "",
        "/classes?q=long",
        "/class?wnid=banana",
        "/audit",
        "/people",
        f"/class?wnid={EVIL}",
        f"/audit?item={EVIL}",
        "/sign-in",
    ):
        page.goto(f"{server.url}/review{path}")
        page.wait_for_timeout(150)
        assert page.title() != "owned", path
        assert page.evaluate("() => [...document.scripts].every(s => s.src)"), path
    page.goto(f"{server.url}/review/class?wnid=banana&sort=id")
    page.wait_for_selector("#grid[aria-busy=false]")
    page.click("#tile-0")
    page.keyboard.press("Enter")
    page.wait_for_selector("#zoom dl")
    assert page.title() != "owned"
    assert page.locator("#zoom dl img, #zoom dl script").count() == 0
    assert [p for p in person.problems if "404" not in p and "400" not in p] == []
    person.close()


@pytest.mark.long
def test_the_sheet_shows_the_keys_of_the_page_and_typing_is_no_command(rex, server):
    page = rex.browse()
    page.keyboard.press("?")
    assert "Exclude" in page.inner_text("#keys")
    keys = page.eval_on_selector_all("#keys dt", "all => all.map(dt => [...dt.children].map(kbd => kbd.textContent).join(' '))")
    assert {"+", "-", "Space", "Ctrl Shift Z", "Shift →"} <= set(keys)
    page.keyboard.press("Escape")
    page.click("#tile-0")
    page.fill("#reason", "")
    page.type("#reason", "epd")
    assert page.input_value("#reason") == "epd"
    rex.saved()
    assert excluded(server) == {}


@pytest.mark.long
def test_an_annotator_and_a_read_only_server_offer_no_decisions(browser, folder):
    for name, options in (("Ann", {}), ("Ada", {"read_only": True})):
        with ReviewServer(folder, **options) as server:
            person = Person(browser, server, name)
            page = person.browse()
            assert page.locator(".actions").count() == 0
            page.click("#tile-0")
            page.keyboard.press("e")
            assert page.evaluate(SAVED)
            assert excluded(server) == {}
            person.close()


def test_classes_are_searched_and_sorted_by_address(rex):
    page = rex.page
    page.goto(f"{rex.server.url}/review/classes")
    assert page.locator("tbody tr").count() == 2
    page.fill("[name=q]", "pomme")
    page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")
    assert "q=pomme" in page.url
    assert page.evaluate("() => document.activeElement.name") == "q"
    page.reload()
    assert page.input_value("[name=q]") == "pomme"
    page.click("tbody a")
    page.wait_for_url(re.compile(r"/class\?wnid=apple"))
    page.goto(f"{rex.server.url}/review/classes")
    page.click("thead >> text=Candidates")
    assert page.locator("tbody tr").first.inner_text().startswith("apple")
    page.click("thead >> text=Candidates")
    assert page.locator("tbody tr").first.inner_text().startswith("banana")
    assert rex.problems == []


def test_the_audit_log_filters_and_takes_back(rex, server):
    first, second = server.ids()[:2]
    for image in (first, second):
        review.decide(server.study, [Change("exclusion", image, {"reason": "x", "detail": ""}, 0)], stamp=STAMP)
    page = rex.page
    page.goto(f"{server.url}/review/audit?kind=exclusion")
    assert page.locator("tbody tr").count() == 2
    page.locator("tbody tr", has_text=first).get_by_role("button").click()
    page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 3")
    assert set(excluded(server)) == {second}
    page.reload()
    page.select_option("[name=user]", "Rex")
    page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")
    assert "user=Rex" in page.url
    assert rex.problems == []


def test_an_admin_gives_and_takes_tokens_and_others_may_not(browser, server, rex):
    rex.page.goto(f"{server.url}/review/people")
    assert "You may not do this" in rex.page.inner_text("main")
    ada = Person(browser, server, "Ada")
    page = ada.page
    page.goto(f"{server.url}/review/people")
    page.fill(".filters [name=name]", "Zoë O'Neil")
    page.select_option(".filters [name=role]", "annotator")
    page.click(".filters button")
    server.tokens["Zoë"] = page.inner_text("#token")
    zoe = Person(browser, server, "Zoë")
    assert "Zoë O'Neil (annotator)" in zoe.page.inner_text("header")
    page.locator("tr", has_text="Zoë").get_by_role("button").click()
    page.wait_for_url(f"{server.url}/review/people")
    zoe.page.goto(f"{server.url}/review/classes")
    assert "/review/sign-in" in zoe.page.url
    ada.close()
    zoe.close()


PAGES = ("", "/classes", "/class?wnid=apple", "/audit", "/people")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_no_page_has_serious_barriers(browser, server, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    low, high = server.ids()[1:3]
    review.decide(
        server.study,
        [
            Change("exclusion", server.ids()[0], {"reason": "x", "detail": ""}, 0),
            Change("problematic", server.ids()[3], {"detail": ""}, 0),
            Change("near_duplicate_pair", review.pair_item(low, high), True, 0),
        ],
        stamp=STAMP,
    )
    person = Person(browser, server, "Ada", color_scheme=scheme)
    page = person.page

    def check(what: str) -> None:
        found = axe.run(page).response["violations"]
        bad = [(v["id"], [n["html"][:150] for n in v["nodes"]][:3]) for v in found if v["impact"] in ("serious", "critical")]
        assert bad == [], what

    for path in PAGES:
        page.goto(f"{server.url}/review{path}")
        if "wnid" in path:
            page.wait_for_selector(".tile")
            page.click("#tile-0")
        check(path)
        page.keyboard.press("?")
        check(f"{path} keys")
        page.keyboard.press("Escape")
    page.goto(f"{server.url}/review/class?wnid=apple")
    page.wait_for_selector(".tile")
    page.click("#tile-0")
    page.keyboard.press("Enter")
    page.wait_for_selector("#zoom dl")
    check("zoom")
    page.context.clear_cookies()
    page.goto(f"{server.url}/review")
    check("sign-in")
    person.close()


@pytest.mark.parametrize("width", [360, pytest.param(1280, marks=pytest.mark.long)])
def test_pages_fit_the_screen(browser, server, width):
    person = Person(browser, server, "Ada")
    person.page.set_viewport_size({"width": width, "height": 800})
    for path in PAGES:
        person.page.goto(f"{server.url}/review{path}")
        assert person.page.evaluate("() => document.documentElement.scrollWidth") <= width, path
        here = person.page.locator(".top nav [aria-current]").bounding_box()
        assert 0 <= here["x"] <= width - here["width"], path  # where one is can be seen
        assert here["y"] + here["height"] < 90, path
    person.close()


def test_a_phone_shows_images_before_filters_and_says_what_is_set(browser, server):
    person = Person(browser, server, viewport={"width": 360, "height": 740})
    page = person.browse()
    first = page.locator("#tile-0").bounding_box()
    assert first["y"] + first["height"] < 740
    assert not page.locator("[name=excluded]").is_visible()
    assert page.inner_text(".fold summary") == "Filters"
    page.focus(".fold summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "sort"  # what is folded out comes next
    page.select_option("[name=excluded]", "no")
    page.wait_for_url("**excluded=no**")
    page.wait_for_function("() => document.querySelector('.fold summary').textContent === 'Filters (1 set)'")
    assert person.barriers() == []
    page.click("#reset")
    page.wait_for_function("() => document.querySelector('.fold summary').textContent === 'Filters'")
    assert person.problems == []
    person.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_wide_screen_shows_the_filters_also_without_scripts(browser, server, scripts):
    person = Person(browser, server, java_script_enabled=scripts)
    for path, field in (("/class?wnid=apple", "excluded"), ("/hits", "state"), ("/audit", "item")):
        person.page.goto(f"{server.url}/review{path}")
        assert person.page.locator(f".filters [name={field}]").is_visible(), path
        assert not person.page.locator(".fold summary").is_visible(), path
    person.close()


@pytest.mark.skipif("RETEST_SCREENSHOTS" not in os.environ, reason="RETEST_SCREENSHOTS names no folder for screenshots")
def test_screenshots(browser, tmp_path):
    digits = tuple(range(10))
    with ReviewServer(make_digit_study(tmp_path, digits=digits)) as server:
        decide_what_was_planted(server, tuple(f"digit-{digit}" for digit in digits))
        refresh_counts(server.study)
        person = Person(browser, server, "Ada")
        page = person.page
        for name, path in (("progress", ""), ("classes", "/classes"), ("people", "/people")):
            page.goto(f"{server.url}/review{path}")
            person.shoot(name)
        person.browse("&size=150&originals=8&descending=false", wnid=SHOWN)
        page.click("#tile-3")
        page.keyboard.press("p")
        page.click("#tile-9")
        page.click("#tile-10", modifiers=["Control"])
        person.saved()
        page.wait_for_timeout(800)
        person.shoot("class")
        page.goto(f"{server.url}/review/audit")
        person.shoot("audit")
        person.close()
