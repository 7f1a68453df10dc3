"""A small study with images, made once; a copy, and a server with three reviewers, for every test."""

from __future__ import annotations

import shutil

import pytest
from review_server import ReviewServer, make_review_study


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return make_review_study(tmp_path_factory.mktemp("review"))


@pytest.fixture
def folder(made, tmp_path):
    """A labelled study of two classes of 12 candidates, one of which has no image."""
    shutil.copytree(made, tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture
def server(folder):
    with ReviewServer(folder) as running:
        yield running


@pytest.fixture
def rex(browser, server):
    """Somebody who reviews in a browser, and whose pages must have met no problem."""
    from review_person import Person

    person = Person(browser, server)
    yield person
    assert person.problems == []
    person.close()
