"""The task page in headless Chromium: mouse, keyboard, phone, reload, lost connection, injection; three annotators at once."""

from __future__ import annotations

import asyncio
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
from crowd_http_server import LabelServer

from chromium_browser import NEEDS_CHROMIUM, launch
from retest.crowd import CrowdParameters
from retest.crowd.mturk import MTurkCrowd
from retest.testing.crowd import example_hit, example_task

playwright_api = pytest.importorskip("playwright.sync_api")
async_api = pytest.importorskip("playwright.async_api")
pytestmark = NEEDS_CHROMIUM

WORKER_KEY = b"a key for tests only, 32 bytes.."


@pytest.fixture
def server():
    with LabelServer() as running:
        yield running


def crowd_of(server) -> MTurkCrowd:
    return MTurkCrowd(CrowdParameters(backend="server", endpoint=server.url), worker_key=WORKER_KEY)


def task_of(server, number: int = 1, **changes):
    urls = tuple(f"{server.url}/image/{number}-{index}" for index in range(10))
    return dataclasses.replace(example_task(number), image_urls=urls, **changes)


def address(server, hit_id: str, worker: str = "AONE") -> str:
    lease = server.desk.accept(hit_id, worker)
    return f"{server.url}/task?hitId={hit_id}&assignmentId={lease.assignment_id}&workerId={worker}&turkSubmitTo={server.url}"


@pytest.fixture
def published(server):
    crowd = crowd_of(server)
    return crowd, crowd.publish(task_of(server)).hit_id


@pytest.fixture
def page(browser):
    context = browser.new_context()
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    yield page
    context.close()


def selected(crowd) -> list[tuple[int, ...]]:
    hit = example_hit(1)
    return [tuple(hit.images_all.index(image) for image in item.assignment.selected) for item in crowd.collect([hit])]


def finish(page) -> None:
    page.click("#submit")
    page.wait_for_url("**/mturk/done")


def test_what_is_clicked_is_what_comes_back(server, published, page):
    crowd, hit_id = published
    page.goto(address(server, hit_id))
    for index in (2, 7, 4, 7):
        page.click(f".tile:nth-child({index + 1}) img")
    assert page.inner_text("#count") == "2 of 10 selected"
    finish(page)
    assert selected(crowd) == [(2, 4)]
    assert page.problems == []


def test_the_keyboard_is_enough(server, published, page):
    crowd, hit_id = published
    page.goto(address(server, hit_id))
    page.focus("[name=select-0]")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")  # selects, and does not submit by accident
    page.keyboard.press("ArrowDown")
    columns = page.evaluate("() => getComputedStyle(document.getElementById('grid')).gridTemplateColumns.split(' ').length")
    assert page.evaluate("() => document.activeElement.name") == f"select-{1 + columns}"
    page.keyboard.press("z")
    assert page.evaluate("() => document.getElementById('zoom').open")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    page.focus("#submit")
    page.keyboard.press("Enter")
    page.wait_for_url("**/mturk/done")
    assert selected(crowd) == [(0, 1)]


def test_answers_survive_a_reload_and_another_browser(server, published, page, browser):
    crowd, hit_id = published
    place = address(server, hit_id)
    page.goto(place)
    page.click(".tile:nth-child(4) img")
    page.wait_for_function("() => document.getElementById('saved').textContent === 'Saved'")
    page.reload()
    page.wait_for_function("() => document.querySelectorAll(':checked').length === 1")
    other = browser.new_context().new_page()
    other.goto(place)
    other.wait_for_function("() => document.querySelector('[name=select-3]').checked")
    other.click(".tile:nth-child(1) img")
    finish(other)
    other.context.close()
    assert selected(crowd) == [(0, 3)]


def test_a_click_before_the_saved_answers_are_back_loses_neither(server, published, page):
    crowd, hit_id = published
    lease = server.desk.accept(hit_id, "AONE")
    server.desk.save(lease.assignment_id, [("select-3", "1"), ("select-8", "1")])

    def slowly(route) -> None:
        page.click(".tile:nth-child(1) img")
        page.click(".tile:nth-child(9) img")  # image 8: ticked, but it was saved as ticked already
        page.click(".tile:nth-child(9) img")  # and so unticked now
        route.continue_()

    page.route("**/saveAnswer?assignmentId=*", slowly)
    page.goto(address(server, hit_id))
    page.wait_for_function("() => document.querySelector('[name=select-3]').checked")
    finish(page)
    assert selected(crowd) == [(0, 3)]


def test_a_lost_connection_loses_no_answer(server, published, page):
    crowd, hit_id = published
    page.goto(address(server, hit_id))
    page.context.set_offline(True)
    page.click(".tile:nth-child(6) img")
    page.wait_for_function("() => document.getElementById('saved').textContent.startsWith('No connection')")
    page.click("#submit")
    page.wait_for_function("() => document.getElementById('saved').textContent.includes('handed in')")
    page.context.set_offline(False)
    page.wait_for_url("**/mturk/done")
    assert selected(crowd) == [(5,)]


def test_a_double_click_on_submit_submits_once(server, published, page):
    crowd, hit_id = published
    page.goto(address(server, hit_id))
    page.dblclick("#submit")
    page.wait_for_url("**/mturk/done")
    assert selected(crowd) == [()]


def test_a_task_can_be_returned(server, published, page):
    crowd, hit_id = published
    page.goto(address(server, hit_id))
    page.click("#return")
    page.wait_for_url("**/mturk/done")
    assert selected(crowd) == []
    assert crowd.progress([example_hit(1)])[example_hit(1).uuid].available == 3


def test_who_comes_too_late_is_told(server, published, page):
    crowd, hit_id = published
    page.goto(address(server, hit_id))
    server.clock.at += 10_000
    for worker in ("ATWO", "ATHREE", "AFOUR"):
        server.desk.submit(server.desk.accept(hit_id, worker).assignment_id, [])
    page.click("#submit")
    page.wait_for_selector("#note:not([hidden])")
    assert "others have answered it" in page.inner_text("#note")
    assert len(selected(crowd)) == 3


def test_a_preview_cannot_be_submitted(server, published, page):
    crowd, hit_id = published
    page.goto(f"{server.url}/task?hitId={hit_id}&assignmentId=ASSIGNMENT_ID_NOT_AVAILABLE")
    assert page.is_disabled("#submit")
    assert "preview" in page.inner_text("#note")
    page.evaluate("() => document.getElementById('task').requestSubmit()")
    assert selected(crowd) == []


def test_answers_go_to_no_stranger(server, published, page):
    _, hit_id = published
    page.goto(f"{server.url}/task?hitId={hit_id}&assignmentId=X&turkSubmitTo=https://evil.example")
    assert page.evaluate("() => document.getElementById('task').action") == f"{server.url}/mturk/externalSubmit"


def until(page, condition) -> None:
    """Real time passes, the page's clock stands still."""
    for _ in range(200):
        if condition():
            return
        page.wait_for_timeout(25)
    raise AssertionError("waited in vain")


def test_images_that_do_not_load_are_asked_for_again_ever_more_slowly_and_then_reported(server, page):
    crowd = crowd_of(server)
    task = task_of(server)
    broken = (*task.image_urls[:4], f"{server.url}/gone", *task.image_urls[5:])
    hit_id = crowd.publish(dataclasses.replace(task, image_urls=broken)).hit_id
    asked = []
    page.on("requestfinished", lambda request: asked.append(request.url) if request.url.endswith("/gone") else None)
    page.clock.install()
    page.goto(address(server, hit_id))
    page.clock.pause_at(page.evaluate("() => Date.now()") / 1000 + 0.2)
    for tries in range(1, 8):
        until(page, lambda tries=tries: len(asked) == tries)
        page.wait_for_selector(".tile.waiting")
        assert page.input_value("[name=missing]") == "4"
        page.clock.run_for(500 * 2 ** (tries - 1) - 300)
        page.wait_for_timeout(50)
        assert len(asked) == tries
        page.clock.run_for(500 * 2 ** (tries - 1) + 300)
    until(page, lambda: len(asked) == 8)
    page.wait_for_selector(".tile.missing")
    assert page.inner_text("#lost") == "1 image could not be loaded. Please go on without it: your answer says that you did not see it."
    page.clock.resume()
    finish(page)
    (answer,) = crowd.collect([example_hit(1)])
    assert "<QuestionIdentifier>missing</QuestionIdentifier><FreeText>4</FreeText>" in answer.content


def test_images_that_come_later_are_seen_and_not_reported(server, published, page):
    crowd, hit_id = published
    failures = {"2": 1, "5": 2}

    def sometimes(route) -> None:
        name = route.request.url.rpartition("-")[2]
        failures[name] = failures.get(name, 0) - 1
        route.abort() if failures[name] >= 0 else route.continue_()

    page.route("**/image/*", sometimes)
    page.goto(address(server, hit_id))
    page.wait_for_function("() => [...document.querySelectorAll('.tile img')].every(i => i.complete && i.naturalWidth)")
    page.wait_for_selector(".tile.waiting", state="detached")
    assert failures["5"] == -1  # twice in vain, then seen
    assert page.is_hidden("#lost")
    page.click(".tile:nth-child(6) img")
    finish(page)
    (answer,) = crowd.collect([example_hit(1)])
    assert answer.assignment.selected == (example_hit(1).images_all[5],)
    assert "<QuestionIdentifier>missing</QuestionIdentifier><FreeText></FreeText>" in answer.content


@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_fits_phone_and_desk(server, published, page, width):
    _, hit_id = published
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(address(server, hit_id))
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    sizes = page.evaluate("() => [...document.querySelectorAll('button')].map(b => [b.offsetWidth, b.offsetHeight])")
    assert min(min(size) for size in sizes if size != [0, 0]) >= 44  # WCAG 2.1: targets of at least 44 x 44


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(server, published, page, scheme):
    """Contrast of at least 4.5 : 1 (WCAG 2.1, AA)."""
    _, hit_id = published
    page.emulate_media(color_scheme=scheme)
    page.goto(address(server, hit_id))
    colors = page.evaluate(
        "() => ['body', '#submit'].map(name => getComputedStyle(document.querySelector(name))).map(s => [s.color, s.backgroundColor])"
    )
    for text, back in colors:
        light, dark = sorted((luminance(text), luminance(back)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5
    assert (luminance(colors[0][1]) > 0.5) == (scheme == "light")


def luminance(color: str) -> float:
    parts = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_control_has_a_name_for_screen_readers(server, published, page):
    _, hit_id = published
    page.goto(address(server, hit_id))
    tree = page.locator("body").aria_snapshot()
    assert 'checkbox "Image 1"' in tree
    assert 'checkbox "Image 10"' in tree
    assert 'button "Enlarge image 3"' in tree
    assert 'group "10 images. Select those with at least one goldfish"' in tree


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_has_no_serious_barriers(server, published, page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    _, hit_id = published
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address(server, hit_id))
    page.locator("label img").first.click()
    assert page.locator("input[type=checkbox]").first.is_checked()  # selected images look different
    found = axe.run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []


def test_injection_runs_nothing_in_a_real_browser(server, page):
    attack = """</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">{{7*7}}"""
    task = task_of(server)
    settings = CrowdParameters(title=attack[:128], instructions=attack, consent=attack, warning=attack, contact=attack)
    info = dataclasses.replace(task.info, synset=(attack, attack), gloss=attack)
    hit_id = crowd_of(server).publish(dataclasses.replace(task, settings=settings, info=info)).hit_id
    page.goto(address(server, hit_id))
    page.wait_for_load_state("networkidle")
    assert page.evaluate("() => window.hacked") is None
    assert attack in page.inner_text(".target")
    assert page.problems == []


def test_the_policy_stops_what_would_be_injected(server, published, page):
    _, hit_id = published
    page.goto(address(server, hit_id))
    page.evaluate("() => { const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s); }")
    assert page.evaluate("() => window.hacked") is None
    assert any("Content Security Policy" in problem for problem in page.problems)


def test_three_annotators_at_once(server):
    """What was clicked is what is collected."""
    crowd = crowd_of(server)
    hits = [example_hit(number) for number in (1, 2)]
    for number in (1, 2):
        crowd.publish(task_of(server, number))

    async def annotator(browser, number: int) -> dict[str, set[int]]:
        clicked = {}
        tab = await (await browser.new_context()).new_page()
        while (lease := server.desk.accept_any(f"AWORKER{number}")) is not None:
            await tab.goto(f"{server.url}/task?hitId={lease.hit_id}&assignmentId={lease.assignment_id}&turkSubmitTo={server.url}")
            choice = {number, number + 3, 9}
            for index in choice:
                await tab.click(f".tile:nth-child({index + 1}) img")
            await tab.click("#submit")
            await tab.wait_for_url("**/mturk/done")
            clicked[lease.assignment_id] = choice
        return clicked

    async def all_at_once() -> list[dict[str, set[int]]]:
        async with async_api.async_playwright() as playwright:
            running = await launch(playwright)
            return await asyncio.gather(*(annotator(running, number) for number in range(3)))

    with ThreadPoolExecutor(1) as pool:  # the other tests' event loop lives in this thread
        clicked = {name: choice for one in pool.submit(asyncio.run, all_at_once()).result() for name, choice in one.items()}
    answers = [item.assignment for item in crowd.collect(hits)]
    shown = {hit.uuid: hit.images_all for hit in hits}
    assert len(answers) == 6
    assert {a.id: {shown[a.hit_uuid].index(image) for image in a.selected} for a in answers} == clicked
