"""Three people in headless Chromium answer the HITs of a running server, which is killed in the middle; boto3 collects."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
from contextlib import closing

import pytest
from web_server import ServeProcess, ServeThread, invite, make_study, retest

from chromium_browser import NEEDS_CHROMIUM, launch
from retest.study import open_study

playwright_api = pytest.importorskip("playwright.sync_api")
async_api = pytest.importorskip("playwright.async_api")
pytestmark = NEEDS_CHROMIUM

NAMES = ("ALICE", "BOB", "CAROL")


async def all_images(page):
    """Wait for the images; the page asks again for those that it could not get while the server was away. Nothing is clicked yet."""
    await page.wait_for_function("() => [...document.querySelectorAll('.tile img')].every(i => i.complete && i.naturalWidth > 0)")
    assert await page.query_selector(".tile.missing") is None


async def next_page(page, last):
    """Wait until there is a task other than ``last``, or the end; load again what the browser could not load."""
    arrived = (
        "last => document.querySelector('main') !== null || (document.getElementById('task') && "
        "new URLSearchParams(location.search).get('assignmentId') !== last)"
    )
    while True:
        try:
            await page.wait_for_function(arrived, arg=last, timeout=3000)
            return
        except async_api.Error:
            if page.url.startswith("chrome-error:"):
                with contextlib.suppress(async_api.Error):  # the server is not back yet
                    await page.reload()


async def answer_all(browser, link, seed, clicks, reached):
    """Click through all tasks of one person; what was clicked is noted by assignment before it is handed in."""
    rng = random.Random(seed)
    context = await browser.new_context(viewport={"width": 390, "height": 800} if seed else {"width": 1280, "height": 900})
    context.set_default_timeout(120_000)
    page = await context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    await page.goto(link)
    await page.click("button")
    last = None
    while True:
        await next_page(page, last)
        if await page.query_selector("#task") is None:
            break
        await all_images(page)
        last = await page.evaluate("() => new URLSearchParams(location.search).get('assignmentId')")
        hit = await page.get_attribute("[name=hit]", "value")
        tiles = await page.query_selector_all(".tile")
        chosen = sorted(rng.sample(range(len(tiles)), rng.randint(0, len(tiles))))
        for index in chosen:
            await page.click(f".tile:nth-child({index + 1}) img")
        clicks[last] = (hit, tuple(chosen))
        await page.click("#submit")
        reached()
    text = await page.inner_text("main")
    await context.close()
    assert problems == []
    return text


def test_what_three_people_click_is_what_is_counted_though_the_server_is_killed(tmp_path):
    study = make_study(tmp_path)
    clicks: dict[str, tuple[str, tuple[int, ...]]] = {}
    servers = [ServeProcess(study)]
    port = servers[0].port
    options = ("--study", study, "--crowd", "server", "--endpoint", servers[0].url)
    retest("label", "submit", *options)
    links = [invite(study, servers[0], name) for name in NAMES]

    async def people() -> list[str]:
        handed_in = 0
        due = asyncio.Event()

        def reached() -> None:
            nonlocal handed_in
            handed_in += 1
            if handed_in == 5:
                due.set()

        async def killer() -> None:
            await due.wait()
            servers[-1].kill()
            await asyncio.sleep(1.0)  # people go on clicking and handing in meanwhile
            servers.append(await asyncio.to_thread(ServeProcess, study, port=port))

        async with async_api.async_playwright() as playwright:
            browser = await launch(playwright)
            answering = (answer_all(browser, link, seed, clicks, reached) for seed, link in enumerate(links))
            texts = await asyncio.gather(*answering, killer())
            await browser.close()
        return texts[:3]

    try:
        texts = asyncio.run(people())
        assert all("You have handed in 4 tasks" in text for text in texts)
        assert len(clicks) == 12
        found = json.loads(retest("label", "collect", *options, "--json").stdout)
        assert found == {"new_answers": 12, "hits_by_valid_answers": {"0": 0, "1": 0, "2": 0, "3": 4}, "unreadable": [], "ended": []}
        assert "agree" in retest("label", "check", *options).stdout
    finally:
        servers[-1].stop()

    with closing(open_study(study)) as opened, opened.database.read() as tables:
        hits = {hit.uuid: hit for hit in tables.hits.all()}
        answers = {answer.id: answer for answer in tables.assignments.all()}
        frequencies = {(f.image_id, f.wnid): (f.num_selected, f.num_assignments) for f in tables.frequencies.all()}
    assert set(answers) == set(clicks)
    expected: dict[tuple[str, str], list[int]] = {}
    for name, (uuid, chosen) in clicks.items():
        hit = hits[uuid]
        assert answers[name].selected == tuple(hit.images_all[index] for index in chosen)
        for index, image in enumerate(hit.images_all):
            count = expected.setdefault((image, hit.wnid), [0, 0])
            count[0] += index in chosen
            count[1] += 1
    assert frequencies == {key: tuple(count) for key, count in expected.items()}
    assert len({answer.worker for answer in answers.values()}) == 3


def problems_of(page) -> list[str]:
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on(
        "request", lambda request: None if request.url.startswith(("http://127.0.0.1", "data:", "file:")) else found.append(request.url)
    )
    return found


EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def test_html_in_texts_names_and_addresses_stays_text(made, browser, tmp_path):
    shutil.copytree(made / "study", tmp_path / "study")
    study = tmp_path / "study"
    text = (study / "study.toml").read_text()
    for key in ("title", "description", "instructions", "consent", "warning", "contact"):
        lines = [line for line in text.splitlines() if line.startswith((f"{key} = ", f"# {key} = "))]
        text = text.replace(lines[-1], f"{key} = {json.dumps(EVIL[:127] if key == 'title' else EVIL)}")
    (study / "study.toml").write_text(text)
    with ServeThread(study) as server:
        retest("label", "submit", "--study", study, "--crowd", "server", "--endpoint", server.url)
        page = browser.new_page()
        link = invite(study, server, EVIL)
        for address in (link, f"{server.url}/instructions", f"{server.url}/join/{EVIL}", f"{server.url}/prolific?PROLIFIC_PID={EVIL}"):
            page.goto(address)
            assert page.evaluate("() => document.scripts.length") == 0
            assert page.title() != "owned"
        page.goto(link)
        page.click("button")
        page.wait_for_selector("#task")
        assert page.title() != "owned"
        assert "<script>" in page.inner_text("#help")
        page.close()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_pages_fit_and_need_no_pointer(study, server, browser, width):
    retest("label", "submit", "--study", study, "--crowd", "server", "--endpoint", server.url)
    page = browser.new_page(viewport={"width": width, "height": 800})
    problems = problems_of(page)

    def fits() -> None:
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width

    page.goto(invite(study, server, f"W{width}"))
    fits()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#task")
    fits()
    for _ in range(4):
        address = page.url
        page.focus("#submit")
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url, before=address: url != before)
    assert "You have handed in 4 tasks" in page.inner_text("main")
    fits()
    page.click("text=Instructions and consent")
    fits()
    assert problems == []
    page.close()


def test_the_preview_file_shows_the_page_and_cannot_be_handed_in(study, browser, tmp_path):
    retest("label", "preview", "--study", study, "--out", tmp_path)
    page = browser.new_page()
    problems = problems_of(page)
    page.goto((tmp_path / "preview.html").as_uri())
    assert page.is_disabled("#submit")
    page.wait_for_function("() => [...document.querySelectorAll('.tile img')].every(i => i.complete && i.naturalWidth > 0)")
    assert problems == []
    page.close()
