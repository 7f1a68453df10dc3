"""A search through the command line, against the fake Flickr over HTTP: killed and resumed, with a wrong key, and what it leaves behind.

The client keeps Flickr's pace, so a search with more results than a question may have takes minutes: it is part of ``make test-all``;
``make test`` runs a shorter one.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "collect"))  # where the studies of these tests are made

from collect_study import CommandStudy, make_study

from retest.testing.flickr import FakeFlickr, FakePhoto, FlickrManners, sample_photos

KEY, SECRET = "key-5f1e0b7c2d", "secret-93ab4410"
SEARCH = {"max_date_taken": "2013-07-11"}


def collection(tench: int, goldfish: int) -> list[FakePhoto]:
    """Tench and goldfish on several pages, and one photo that is found for both classes and by two terms."""
    both = FakePhoto("7999999999", "tench Tinca tinca goldfish", 1_350_000_000, "2012-10-12 01:00:00")
    return [*sample_photos("tench", tench), *sample_photos("goldfish", goldfish, first_id=8_000_000_000, seed=1), both]


def flickr_study(folder: Path, server: FakeFlickr, **environment: str) -> CommandStudy:
    source = {"kind": "flickr", "location": server.url}
    return make_study(folder, source=source, search=SEARCH, environment={"FLICKR_API_KEY": KEY, "FLICKR_API_SECRET": SECRET} | environment)


def found(study: CommandStudy) -> dict[str, Any]:
    occurrences = "SELECT key, candidate_id, photo_id, wnid, search_key FROM duplicate_occurrences ORDER BY key"
    return {
        "candidates": study.candidates(),
        "occurrences": study.rows(occurrences),
        "queries": study.rows("SELECT key, cursor, pages, found, finished FROM search_queries ORDER BY key"),
    }


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize(
    ("tench", "goldfish", "kills"),
    [pytest.param(1400, 510, 2, marks=pytest.mark.slow), pytest.param(4300, 700, 4, marks=pytest.mark.long)],
)
def test_killed_and_resumed_it_asks_for_no_page_twice_and_loses_none(tmp_path: Path, tench: int, goldfish: int, kills: int):
    photos, manners = collection(tench, goldfish), FlickrManners(total_factor=1.1, repeat_every=37)
    with FakeFlickr(photos, key=KEY, manners=manners) as calm, FakeFlickr(photos, key=KEY, manners=manners) as server:
        clean = flickr_study(tmp_path / "clean", calm)
        assert clean.json("search")["new_candidates"] == tench + goldfish + 2
        killed = flickr_study(tmp_path / "killed", server)
        rng = random.Random(5)
        server.fail("fail-105", "503", "html")
        for number in range(kills):
            # In turn while a question is under way, and when its page has just been stored.
            asked, pages = server.asked, len(server.log)
            running = killed.start("search")
            while (server.asked if number % 2 else len(server.log)) < (asked if number % 2 else pages) + 2 and running.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            running.kill()
            said, _ = running.communicate()
            assert running.returncode == -signal.SIGKILL, said
        killed.run("search")
        again = len(server.log)
        assert killed.json("search")["pages"] == 0
        assert len(server.log) == again
    assert set(server.log) == set(calm.log)
    assert len(calm.log) == len(set(calm.log)) > 5
    expected, resumed = found(clean), found(killed)
    for part in expected:
        assert normal(resumed[part], server) == normal(expected[part], calm), part
    # A page whose answer was under way when the process died was never stored, and only such a one is asked for again.
    repeated = {line: count for line, count in Counter(server.log).items() if count > 1}
    assert sum(count - 1 for count in repeated.values()) <= kills
    stored = sum(pages for _, _, pages, _, _ in resumed["queries"])
    assert stored == len(set(server.log))


def normal(value: Any, server: FakeFlickr) -> Any:
    """Without the address of the server."""
    if isinstance(value, str):
        return value.replace(server.root, "ROOT")
    if isinstance(value, dict):
        return {key: normal(entry, server) for key, entry in value.items()}
    return [normal(entry, server) for entry in value] if isinstance(value, (list, tuple)) else value


def test_a_wrong_key_stops_at_once_with_the_remedy(tmp_path: Path):
    with FakeFlickr(sample_photos("tench", 5), key="another-key") as server:
        study = flickr_study(tmp_path / "s", server)
        done = study.run("search", code=1)
        assert server.asked == 1
    assert "error 100" in done.stderr
    assert "FLICKR_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert_secret(study.folder, done.stdout + done.stderr)
    assert study.rows("SELECT COUNT(*) FROM candidates") == [0]


def test_without_a_key_nothing_is_asked(tmp_path: Path):
    with FakeFlickr([], key=KEY) as server:
        done = flickr_study(tmp_path / "s", server, FLICKR_API_KEY="").run("search", code=2)
        assert server.asked == 0
    assert "FLICKR_API_KEY" in done.stderr


@pytest.mark.usefixtures("no_patience")
def test_the_key_is_nowhere_in_what_is_written_or_said(tmp_path: Path):
    key_file = tmp_path / "flickr.json"
    key_file.write_text(f'["{KEY}", "{SECRET}"]')
    with FakeFlickr(sample_photos("tench", 40), key=KEY) as server:
        study = flickr_study(tmp_path / "s", server)
        server.fail("500")
        said = [study.run("search"), study.run("status")]
        # The same with a key file, a service that repeats the key in its message, and a traceback.
        other = flickr_study(tmp_path / "other", server, FLICKR_API_KEY="")
        server.fail("fail-100")
        said.append(other.run("search", "--key-file", key_file, code=1))
        server.fail("fail-1")
        said.append(debug(other, "--key-file", str(key_file)))
        said.append(other.run("search", "--key-file", key_file))
    assert study.rows("SELECT COUNT(*) FROM candidates") == other.rows("SELECT COUNT(*) FROM candidates") == [40]
    for one in (study, other):
        assert_secret(one.folder, "".join(done.stdout + done.stderr for done in said))


def debug(study: CommandStudy, *arguments: str) -> Any:
    """``retest --debug search``, with everything that can log, logging."""
    program = "import logging, sys; logging.basicConfig(level=1); from retest.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, "--debug", "search", "--study", str(study.folder), *arguments]
    done = subprocess.run(command, env=study.environ(), capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr
    assert "HTTP Request" in done.stderr, "nothing was logged, so this shows nothing"
    return done


def assert_secret(folder: Path, said: str) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "study.db" for path in files)
    for text in (KEY, SECRET):
        assert text not in said
        assert [path for path in files if text.encode() in path.read_bytes()] == []
