"""A fresh study in headless Chromium: every page says in a sentence that nothing is there yet and what to do, never with an empty table."""

from __future__ import annotations

import pytest
from review_person import Person
from review_server import MISSING, ReviewServer

from chromium_browser import NEEDS_CHROMIUM
from retest.records import Candidate, ClassInfo
from retest.study import StudyConfig, StudySettings, create_study

pytestmark = NEEDS_CHROMIUM
PAGES = {
    "": "None yet: retest sample makes one.",
    "/classes": "This study has no classes yet: retest benchmark registers",
    "/class?wnid=apple": "This class has no candidates yet: retest search finds them.",
    "/audit?kind=exclusion": "No decision fits.",
    "/people": "Ada",
    "/pairs": "retest neighbors finds them.",
    "/components": "None yet: they come from decided pairs",
    "/revisions": "None yet: retest sample makes one.",
    "/predictions": "This study has no predictions yet: retest evaluate",
    "/hits": "This study has no HITs yet: retest label plan makes them.",
    "/hits?wnid=apple": "No HIT fits.",
    "/annotators": "No answers are stored. retest label collect fetches them",
}
EMPTY_TABLES = "() => [...document.querySelectorAll('main table')].filter(t => !t.querySelector('tbody tr td:not([colspan])')).length"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fresh") / "study"
    create_study(folder, StudyConfig(study=StudySettings(name="fresh"))).close()
    with ReviewServer(folder) as running:
        yield running


@pytest.fixture(scope="module")
def ada(browser, fresh):
    person = Person(browser, fresh, "Ada")
    yield person
    person.close()


@pytest.mark.parametrize("path", PAGES)
def test_pages_of_a_fresh_study_say_what_is_missing(ada, fresh, path):
    if path.startswith("/class?"):
        with fresh.study.database.write() as tables:
            tables.classes.put([ClassInfo("apple", 0, ("apple",), "a round fruit")])
    ada.problems.clear()
    page = ada.open(path, "main h1")
    page.wait_for_function("says => document.querySelector('main').innerText.includes(says)", arg=PAGES[path])
    assert page.evaluate(EMPTY_TABLES) == 0
    page.wait_for_function("() => !document.querySelector('.badge')")  # counts are made for the first time: the page follows by itself
    assert ada.barriers() == []
    assert ada.problems == []


def test_a_class_whose_candidates_do_not_fit_says_so(ada, fresh):
    with fresh.study.database.write() as tables:
        tables.classes.put([ClassInfo("pear", 1, ("pear",), "a green fruit")])
        tables.candidates.add([Candidate(MISSING, "pear", "folder", "gone", "https://example.org/gone.jpg")])
    page = ada.browse(wnid="pear")
    assert page.inner_text("#count") == "1 candidate"
    page = ada.browse("&excluded=yes", wnid="pear")
    assert page.inner_text("#count") == "No candidate fits these filters."
