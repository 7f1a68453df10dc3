"""Several people decide and take back at random: counts, sums and checks are always those of counting anew, and a server that is killed
has kept everything that it confirmed.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from retest.errors import ConflictError, InputError
from retest.records import Neighbor, Revision
from retest.sampling import CandidateFacts, SamplingParameters, check_revision
from retest.stages import review, review_people, review_revisions
from retest.stages._common import Stamp
from retest.stages._duplicates import refresh_resolution
from retest.stages._facts import refresh
from retest.stages._review_counts import count_class, counts_are_current, from_stored
from retest.stages._review_memo import Memo
from retest.stages.review import Change, pair_item
from retest.stages.review_pairs import refresh_queue, review_item
from retest.stages.review_progress import refresh_counts, study_progress
from retest.study import StudyConfig, StudySettings, create_study, open_study
from retest.testing.synthetic import SyntheticParameters, fill_study, random_facts

TIME = "2026-01-01T00:00:00+00:00"
WNIDS = ("n00000000", "n00000001", "n00000002")
SIZE = 45


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request):
    """Settings of a study on each kind of database."""
    sampling = SamplingParameters(per_class=5, min_num_val_images_per_wnid=2)
    if request.param == "sqlite":
        yield StudyConfig(study=StudySettings(name="many"), sampling=sampling)
        return
    server = request.getfixturevalue("postgres")
    url = server.create()
    yield StudyConfig(study=StudySettings(name="many", database=url), sampling=sampling)
    server.give_back(url)


@pytest.fixture
def study(tmp_path, config):
    """Three classes of 15 candidates, each with a near neighbour in a metric; two revisions with repeated images."""
    with closing(create_study(tmp_path / "study", config)) as made:
        parameters = SyntheticParameters(candidates=SIZE, classes=len(WNIDS), originals_per_class=5, near_duplicates=0.0, unreviewed=0.0)
        facts = random_facts(seed=3, parameters=parameters)
        fill_study(made, facts)
        ids = [one.id for one in facts.candidates]
        target = made.config.review.targets["l2"]
        with made.database.write() as tables:
            lists = {
                one: (Neighbor(ids[(n * 7 + 1) % SIZE], target / 3), Neighbor(ids[(n + 5) % SIZE], target / 2)) for n, one in enumerate(ids)
            }
            tables.neighbors.put("l2", lists)
            by_class = {w: [one.id for one in facts.candidates if one.wnid == w] for w in WNIDS}
            images = [(image, wnid) for wnid in WNIDS for image in by_class[wnid][:5]]
            images += [(by_class[WNIDS[0]][0], WNIDS[1]), (by_class[WNIDS[2]][1], WNIDS[2]), ("gone.JPEG", WNIDS[0])]
            tables.revisions.add(Revision("r-0", "sample_above_threshold", tuple(images), True, 1, {"per_class": 5}, None, "perf", TIME))
            refresh(made, tables)
        refresh_counts(made)
        refresh_queue(made)
        yield made


def ids_of(study):
    with study.database.read() as tables:
        return tables.candidates.ids()


def wish(rng, ids):
    """(kind, item, wished state)"""
    kind = rng.choice(
        ("exclusion", "problematic", "near_duplicate_pair", "near_duplicate_review", "near_duplicate_override", "class_review")
    )
    image, other = rng.sample(ids, 2)
    flags = {"reviewed": rng.random() < 0.5, "problematic": rng.random() < 0.5}
    return {
        "exclusion": (kind, image, rng.choice((None, {"reason": "blurred", "detail": str(rng.random())}))),
        "problematic": (kind, image, rng.choice((None, {"detail": str(rng.random())}))),
        "near_duplicate_pair": (kind, pair_item(image, other), rng.choice((None, True))),
        "near_duplicate_review": (kind, review_item(image, "l2"), None),
        "near_duplicate_override": (kind, image, rng.choice((False, True))),
        "class_review": (kind, f"r-0/{rng.choice(WNIDS)}", flags),
    }[kind]


def seen_review(study, rng, item):
    candidate, _, metric = item.rpartition("/")
    with study.database.read() as tables:
        shown = sorted(n.reference for n in tables.neighbors.get([candidate], metric)[candidate])
    references = rng.sample(shown, rng.randrange(len(shown) + 1))
    if not references:
        return None
    return {"references": sorted(references), "near_duplicates": sorted(rng.sample(references, rng.randrange(len(references) + 1)))}


def check_everything(study, memo):
    """What is stored and shown equals counting anew, by the rules and nothing that is kept."""
    with study.database.read() as tables:
        anew = {wnid: count_class(study, tables, wnid) for wnid in WNIDS}
        assert {wnid: from_stored(counts) for wnid, counts in tables.class_counts.all().items()} == anew
        assert counts_are_current(study, tables)
        decisions = tables.decisions.all()
        reviews = tables.revisions.reviews("r-0")
        excluded, flagged = tables.exclusions.get(tables.candidates.ids()), tables.flags.ids()
        reviewed, pairs = sum(len(r.references) for r in tables.reviews.all()), len(tables.pairs.all())
        revision = tables.revisions.get("r-0")
        resolved = tables.pairs.resolutions()
        facts = list(tables.facts.candidates((), ids=None))
    progress = study_progress(study, memo)
    assert progress.current
    for name in ("candidates", "stored", "labelled", "usable", "near_duplicates", "missing"):
        assert getattr(progress, name) == sum(getattr(one, name) for one in anew.values()), name
    assert (progress.excluded, progress.problematic) == (len(excluded), len(flagged))
    assert (progress.decisions, progress.reviewed_neighbors, progress.pairs) == (decisions[-1]["no"], reviewed, pairs)
    (row,) = progress.revisions
    states = [(r.reviewed, r.problematic) for r in reviews.values()]
    classes = len({wnid for _, wnid in revision.images})
    assert (row.classes, row.reviewed, row.problematic) == (classes, sum(s[0] for s in states), sum(s[1] for s in states))
    check_revision_pages(study, memo, revision, facts, {image: one.component for image, one in resolved.items()})


def check_revision_pages(study, memo, revision, facts: list[CandidateFacts], components):
    """Class by class the warnings are those of the check of the whole revision, in its order."""
    least = study.config.sampling.min_num_annotations
    whole = check_revision(revision, facts, component_of=components, min_num_annotations=least, per_class=5)
    listed = {row.wnid: row for row in review_revisions.list_classes(study, memo, "r-0").rows}
    for wnid in WNIDS:
        expected = [str(warning) for warning in whole if warning.wnid == wnid]
        view = review_revisions.class_view(study, memo, "r-0", wnid)
        assert list(view.warnings) == expected
        assert view.row == listed[wnid]
        assert listed[wnid].warnings == len(expected)
    found = review_revisions.facts(study, memo, "r-0")
    assert sum(found.counts.values()) == len(whole)
    assert sorted(map(str, found.warnings)) == sorted(map(str, whole))


def test_counts_and_checks_equal_counting_anew_after_random_decisions_and_undo_of_several_people(study):
    rng, memo, ids = random.Random(1), Memo(), ids_of(study)
    numbers, conflicts, written = [], 0, 0
    for step in range(45):
        stamp = Stamp(rng.choice(("Ada", "Rex", "Zoe")), TIME)
        try:
            if numbers and rng.random() < 0.25:
                decided = review.take_back(study, rng.sample(numbers, 1), stamp=stamp)
            else:
                kind, item, after = wish(rng, ids)
                after = seen_review(study, rng, item) if kind == "near_duplicate_review" else after
                (now,) = review.current(study, kind, [item])
                late = rng.random() < 0.1  # somebody who saw an older state
                decided = review.decide(study, [Change(kind, item, after, now.version + late)], stamp=stamp)
        except ConflictError:
            conflicts += 1
        except InputError as error:
            if "override" not in str(error):  # two images of a component cannot both stay against the rule
                raise
        else:
            new = [one.no for one in decided if one.no]
            numbers, written = numbers + new, written + len(new)
        if step % 15 == 14:
            check_everything(study, memo)
    assert written > 20
    assert conflicts > 0
    before = study_progress(study, memo)
    with study.database.write() as tables:
        refresh_resolution(study, tables)
    refresh_counts(study)
    assert study_progress(study, Memo()).excluded == before.excluded


def test_people_who_decide_at_once_leave_counts_that_equal_counting_anew(study):
    ids, errors, memo = ids_of(study), [], Memo()

    def work(number):
        rng = random.Random(number)
        for _ in range(8):
            kind, item, after = wish(rng, ids)
            if kind in ("near_duplicate_review", "near_duplicate_override"):
                continue
            try:
                (now,) = review.current(study, kind, [item])
                done = review.decide(study, [Change(kind, item, after, now.version)], stamp=Stamp(f"person {number}", TIME))
                study_progress(study, memo)
                if rng.random() < 0.4 and done[0].no:
                    review.take_back(study, [done[0].no], stamp=Stamp(f"person {number}", TIME))
            except ConflictError:
                pass
            except Exception as error:  # a thread cannot fail a test itself
                errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    check_everything(study, memo)


def serve(folder: Path) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "retest", "serve", "--study", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert server.stdout is not None
    found = re.search(r"port (\d+)\)", server.stdout.readline())
    assert found
    return server, int(found.group(1))


def test_what_was_confirmed_is_there_after_the_server_was_killed(study):
    """Eight people decide until kill -9; every answer that came is in the history, with its state, exactly once."""
    ids = ids_of(study)
    token = review_people.give_token(study, "Rex", review_people.Role.REVIEWER, stamp=Stamp("t", TIME)).token
    folder = study.folder
    server, port = serve(folder)
    confirmed: list[tuple[int, str, object]] = []
    sent: list[str] = []

    def work(mine):
        with suppress(httpx.TransportError), httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
            for step in range(10_000):
                item = mine[step % len(mine)]
                after = {"detail": f"{threading.get_ident()}-{step}"}
                versions = client.post(f"http://127.0.0.1:{port}/review/api/items", json={"kind": "problematic", "items": [item]})
                version = versions.json()["decided"][0]["version"]
                sent.append(json.dumps(after))
                body = {"changes": [{"kind": "problematic", "item": item, "after": after, "version": version}]}
                answer = client.post(f"http://127.0.0.1:{port}/review/api/decisions", json=body)
                (done,) = answer.json()["decided"]
                confirmed.append((done["no"], item, after))

    threads = [threading.Thread(target=work, args=(ids[number::8],)) for number in range(8)]
    try:
        for thread in threads:
            thread.start()
        give_up = time.monotonic() + 60
        while len(confirmed) < 25 and time.monotonic() < give_up:
            time.sleep(0.005)
    finally:
        server.kill()
        server.wait(30)
        assert server.stdout is not None
        server.stdout.close()
    for thread in threads:
        thread.join(60)
    assert len(confirmed) >= 25
    with closing(open_study(folder)) as again, again.database.read() as tables:
        history = {row["no"]: row for row in tables.decisions.all(kind="problematic")}
        flags = tables.flags.get(ids)
        for no, item, after in confirmed:
            assert (history[no]["item"], history[no]["after"], history[no]["user"]) == (item, after, "Rex")
        # Nothing is there twice, and the state of each item is that of its last decision.
        written = [json.dumps(row["after"]) for row in history.values()]
        assert len(set(written)) == len(written)
        assert set(written) <= set(sent)
        last = {row["item"]: row["after"] for _, row in sorted(history.items())}
        assert {item: {"detail": detail} for item, detail in flags.items()} == last
        assert counts_are_current(again, tables)
        assert {w: from_stored(c) for w, c in tables.class_counts.all().items()} == {w: count_class(again, tables, w) for w in WNIDS}
