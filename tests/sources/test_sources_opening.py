"""Opening a source by name, and what an import of the room costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from retest.errors import ConfigError, InputError
from retest.sources import SOURCE_KINDS, SearchParameters, Source, open_source, read_hand_terms

ENVIRONMENT = {"FLICKR_API_KEY": "k", "OPENVERSE_TOKEN": "", "RETEST_CONTACT": "someone@example.org"}


@pytest.mark.parametrize("kind", SOURCE_KINDS)
def test_every_kind_opens_without_asking_anything(kind: str) -> None:
    location = "somewhere" if kind in ("folder", "table") else ""
    source = open_source(kind, location=location, parameters=SearchParameters(), environment=ENVIRONMENT)
    assert isinstance(source, Source)
    assert source.name == kind
    source.close()


@pytest.mark.parametrize(
    ("kind", "location", "environment", "message"),
    [
        ("bing", "", ENVIRONMENT, "kind: there is no source 'bing'"),
        ("folder", "", {}, "source folder: there is no location"),
        ("flickr", "", {}, "there is no key for Flickr"),
        ("flickr", "/some/where", ENVIRONMENT, "'/some/where' is no web address"),
        ("commons", "", {}, "requires a contact"),
    ],
)
def test_what_is_missing_is_said(kind: str, location: str, environment: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(kind, location=location, parameters=SearchParameters(), environment=environment)
    assert message in str(caught.value)
    assert caught.value.remedy


def test_a_key_file_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.json"
    path.write_text('["file-key"]')
    keys = []
    monkeypatch.setattr("retest.sources.flickr.FlickrSource", lambda key, **_: keys.append(key.key))
    environment = {"FLICKR_API_KEY": "environment-key"}
    open_source("flickr", parameters=SearchParameters(), environment=environment, key_file=path)
    open_source("flickr", parameters=SearchParameters(), environment=environment)
    assert keys == ["file-key", "environment-key"]


def test_hand_terms(tmp_path: Path) -> None:
    path = tmp_path / "terms.json"
    path.write_text(json.dumps({"n1": ["jaws", "great white"]}))
    assert read_hand_terms(path) == {"n1": ("jaws", "great white")}
    for data in ([], {"n1": "jaws"}, {"n1": []}, {"n1": [" "]}, {"n1": [1]}):
        path.write_text(json.dumps(data))
        with pytest.raises(InputError, match=str(path)):
            read_hand_terms(path)
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_hand_terms(tmp_path / "none.json")


def test_importing_the_room_brings_in_no_http_client_and_no_arrow() -> None:
    code = "import sys, retest.sources; print([m for m in ('httpx', 'pyarrow', 'PIL', 'sqlalchemy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
