"""The published study, imported: every page of the review app opens, says why it is empty where it is, and shows placeholders."""

from __future__ import annotations

from pathlib import Path

import pytest
from review_person import Person
from review_server import STAMP, ReviewServer

from chromium_browser import NEEDS_CHROMIUM
from retest.stages.imagenetv2 import import_repository
from retest.stages.review_progress import refresh_counts
from retest.study import StudyConfig, StudySettings, create_study

SHARED = Path(__file__).resolve().parents[3] / "shared" / "imagenetv2"
pytestmark = [
    pytest.mark.long,
    *NEEDS_CHROMIUM,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the published data is not beside the repository"),
]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    study = create_study(tmp_path_factory.mktemp("published") / "study", StudyConfig(study=StudySettings(name="imagenetv2")))
    import_repository(study, SHARED, stamp=STAMP)
    refresh_counts(study)  # as the server does when somebody first looks, which takes a while
    study.close()
    with ReviewServer(study.folder) as server:
        yield server


@pytest.fixture(scope="module")
def person(browser, published):
    visitor = Person(browser, published, "Ada")
    visitor.page.set_default_timeout(180_000)
    yield visitor
    visitor.close()


def every_image_shows(page) -> int:
    """How many images are in view of the page, all of which show something."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('main img[src]')]"
        ".filter(i => i.getBoundingClientRect().top < innerHeight).every(i => i.complete && i.naturalWidth > 0)"
    )
    return page.locator("main img[src]").count()


@pytest.fixture(scope="module")
def ids(published):
    with published.study.database.read() as tables:
        hit = next(hit for hit in tables.hits.all(include_excluded=False) if len(hit.images_all) == 48)
        return {"hit": hit.uuid, "pair": next(iter(tables.pairs.all()))[0]}


@pytest.mark.parametrize(
    ("path", "ready", "says"),
    [
        ("", ".card", "100,201"),
        ("/classes?q=tench", "tbody tr", "freshwater dace-like game fish"),
        ("/classes?only=unlabelled", "tbody tr", "1,000 classes"),
        ("/class?wnid=n01440764", ".tile", "tench"),
        ("/class?wnid=n01443537&excluded=yes", ".tile", "excluded"),
        ("/class?wnid=n01440764&revision=imagenetv2-b-33", ".tile", "10 candidates"),
        ("/pairs?metric=l2", "#pairs[aria-busy=false]", "Nothing waits"),
        ("/pairs?metric=fc7", "#pairs[aria-busy=false]", "Nothing waits"),
        ("/pairs?metric=dssim", "#pairs[aria-busy=false]", "Nothing waits"),
        ("/component?image={pair}", ".members li", "Component of"),
        ("/revisions", "tbody tr", "imagenetv2-c-12"),
        ("/revision?name=imagenetv2-b-33", "#begin", "no answers to its images are stored"),
        ("/revision?name=imagenetv2-b-33&only=bad", "#begin", "Warnings"),
        ("/revision?name=imagenet-validation-original", "#begin", "50,000"),
        ("/revision/class?name=imagenetv2-b-33&wnid=n01440764", ".pictures li", "10 images of the revision"),
        ("/revision/diff?old=imagenetv2-b-32&new=imagenetv2-b-33", "tbody tr", "9,995 images kept, 5 added, 5 removed"),
        ("/hits", "#rows tbody tr", "2,400 HITs"),
        ("/hits?excluded=yes", "#rows tbody tr", "20 HITs"),
        ("/hit?uuid={hit}", "#images li", "No answers are stored"),
        ("/annotators", "#found p:not(.hint, .badge)", "No answers are stored"),
        ("/audit", "tbody tr", "reviewer"),
        ("/people", "tbody tr", "Rex"),
        ("/predictions", "main h1", "redictions"),
    ],
)
def test_every_page_opens(person, ids, path, ready, says):
    person.problems.clear()
    page = person.open(path.format(**ids), ready)
    page.wait_for_function("says => document.querySelector('main').textContent.includes(says)", arg=says)
    shown = every_image_shows(page)
    if path.startswith(("/class?", "/hit?", "/revision/class", "/component")):
        assert shown > 0
    assert person.problems == []
    assert person.barriers() == []


def test_components_are_derived_when_somebody_asks_for_them(person, published):
    page = person.open("/components", "h1")
    page.wait_for_selector("tbody tr")  # the page follows by itself
    assert page.locator(".badge").count() == 0
    page.click("tbody a >> nth=0")
    page.wait_for_selector(".members li")
    assert "Not resolved yet" not in page.inner_text("main")
    assert every_image_shows(page) >= 2
    assert person.problems == []


def test_images_that_are_not_there_are_clear_placeholders(person, published):
    page = person.open("/class?wnid=n01440764", ".tile")
    assert page.locator(".tile").count() > 10
    assert page.evaluate("() => [...document.querySelectorAll('.tile img')].every(i => i.src.includes('missing.svg'))")
    page.click("#tile-0")
    page.keyboard.press("Enter")
    page.wait_for_selector("#zoom dl")
    assert "not stored" in page.inner_text("#zoom")
    assert "n01440764" in page.inner_text("#zoom")
    answer = page.request.get(f"{published.url}/review/images/full?id=nothing")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert "no image stored" in answer.text()
    page.keyboard.press("Escape")
    assert person.problems == []


def test_a_published_hit_is_left_out_and_counted_again(person, published, ids):
    page = person.open(f"/hit?uuid={ids['hit']}", "#images li")
    page.keyboard.press("e")
    page.wait_for_selector(".out-banner")
    person.saved()
    page.keyboard.press("Control+z")
    page.wait_for_selector(".out-banner", state="detached")
    person.saved()
    with published.study.database.read() as tables:
        assert ids["hit"] not in tables.hits.excluded()
    assert person.problems == []
