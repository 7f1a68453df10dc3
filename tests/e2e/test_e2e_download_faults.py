"""A download that fails in every listed way, killed again and again, ends with exactly what an undisturbed one gives.

The full form, 2,000 images killed ten times, takes minutes: it is part of ``make test-all``; ``make test`` runs a shorter one.
"""

from __future__ import annotations

import csv
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "collect"))  # where the studies of these tests are made

from collect_study import CLASSES, LOOPBACK, CommandStudy, make_study

from retest.testing.imageserver import MANNERS, FaultyImageServer, mixed_manners

# Long enough that a loaded machine is no silent host, short enough that silent hosts cost little.
PATIENCE = {"read_timeout_s": 1.0, "total_timeout_s": 10.0, "attempts": 3, "first_wait_s": 0.05, "at_once": 32, "per_host": 32}
TEMPORARY = {"server_error", "timeout", "connection_failed", "rate_limited"}


def study_of_urls(folder: Path, server: FaultyImageServer) -> CommandStudy:
    study = make_study(folder, source={"kind": "table", "location": "urls.csv"}, download=LOOPBACK | PATIENCE)
    study.outside = True
    with (folder / "urls.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["url", "wnid", "photo_id"])
        table.writerows((server.url(number), CLASSES[number % 2][0], f"p{number}") for number in range(len(server.manners)))
    assert study.json("search")["new_candidates"] == len(server.manners)
    return study


def settled(study: CommandStudy) -> set[int]:
    """Numbers of the images that the database says are done: all variants stored, or excluded."""
    done = "SELECT image_id FROM variants GROUP BY image_id HAVING COUNT(*) = 3 UNION SELECT candidate_id FROM exclusions"
    return {int(photo[1:]) for photo in study.rows(f"SELECT photo_id FROM candidates WHERE id IN ({done})")}


def kill_within(study: CommandStudy, due: Callable[[], bool], *, delay_s: float) -> None:
    """Start a download, let it come to the moment that is ``due``, wait, and kill it without warning."""
    running = study.start("download")
    while not due() and running.poll() is None:
        time.sleep(0.005)
    time.sleep(delay_s)
    running.kill()
    said, _ = running.communicate()
    assert running.returncode == -signal.SIGKILL, said


def moment(study: CommandStudy, server: FaultyImageServer, number: int, rng: random.Random, most: int) -> Callable[[], bool]:
    """In turn: so many images asked for, or so many finished, counted from now; at most ``most``."""
    if number % 2 == 0:
        asked = server.asked.total() + rng.randint(1, most)
        return lambda: server.asked.total() >= asked
    finished = len(settled(study)) + rng.randint(1, most)
    return lambda: len(settled(study)) >= finished


@pytest.mark.parametrize(
    ("images", "kills"),  # both enough for decoding in processes
    [pytest.param(320, 3, marks=pytest.mark.slow), pytest.param(2000, 10, marks=pytest.mark.long)],
)
def test_killed_again_and_again_it_ends_with_what_a_clean_run_gives(tmp_path: Path, images: int, kills: int):
    manners = mixed_manners(images, seed=3)
    assert set(manners) == set(MANNERS)
    rng = random.Random(11)
    with (
        FaultyImageServer(manners, stall_s=2.0, large_bytes=300_000) as calm,
        FaultyImageServer(manners, stall_s=2.0, large_bytes=300_000) as server,
    ):
        clean = study_of_urls(tmp_path / "clean", calm)
        last_of_clean = finish(clean, manners)
        killed = study_of_urls(tmp_path / "killed", server)
        done: set[int] = set()
        for number in range(kills):
            asked = {image: server.asked[image] for image in done}
            kill_within(killed, moment(killed, server, number, rng, images // kills), delay_s=rng.uniform(0, 0.2))
            assert {image: server.asked[image] for image in done} == asked, "a finished image was fetched again"
            assert done <= settled(killed), "a finished image was lost"
            done = settled(killed)
        assert 0 < len(done) < images
        last = finish(killed, manners)
    expected, found = clean.images(calm.root), killed.images(server.root)
    for part in expected:
        assert found[part] == expected[part], part
    assert last == last_of_clean == temporary(manners)
    assert_as_the_server_behaved(clean, manners)
    killed.run("publish")  # and now only what failed for the time being is missing
    missing = {finding["image_id"] for finding in killed.json("check", "--deep", code=1)["findings"]}
    photos = {i: int(photo[1:]) for i, photo in killed.rows("SELECT id, photo_id FROM candidates")}
    assert {manners[photos[i]] for i in missing} == {manner for manner, reason in MANNERS.items() if reason in TEMPORARY}


def temporary(manners: list[str]) -> Counter[str]:
    """How many images fail for the time being, by reason."""
    return Counter(reason for manner in manners if (reason := MANNERS[manner]) in TEMPORARY)


def finish(study: CommandStudy, manners: list[str]) -> dict[str, int]:
    """Download to the end; on a starved machine good images may time out, and then a user runs the command again."""
    for _ in range(3):
        later: dict[str, int] = study.json("download")["later"]
        if sum(later.values()) == temporary(manners).total():
            break
    return later


def assert_as_the_server_behaved(study: CommandStudy, manners: list[str]) -> None:
    """Every image has the outcome that its manner says, by the server's own table."""
    reasons = {
        int(p[1:]): reason for p, reason in study.rows("SELECT photo_id, reason FROM candidates JOIN exclusions ON id = candidate_id")
    }
    stored = {int(p[1:]) for p in study.rows("SELECT DISTINCT photo_id FROM candidates JOIN variants ON id = image_id")}
    for number, manner in enumerate(manners):
        expected = MANNERS[manner]
        assert (number in stored) == (expected is None), manner
        assert reasons.get(number) == (None if expected in TEMPORARY else expected), manner
