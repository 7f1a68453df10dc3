"""The study that ``perf/review.py`` reviews: synthetic, of any size, with everything that a review page may meet.

Every candidate has ten answers, a stored picture and ten neighbours in each of three metrics. A tenth is excluded, a tenth has neighbours
within the review target, half of these were reviewed, and every fortieth is in a component of near-duplicates. There are three revisions
of ten images per class, half of whose classes are reviewed, and a history of a decision per five candidates. Steps that a folder has
already are not done again.
"""

from __future__ import annotations

import io
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from PIL import Image

from retest.images import content_hash, variant_names
from retest.records import ClassReview, Neighbor, NeighborReview, Revision
from retest.sampling import CandidateFacts
from retest.stages._common import Stamp
from retest.stages._facts import refresh
from retest.stages._review_pairs import ITEM, STAGE, queue_key, queue_rows
from retest.stages.review import EXCLUSION, PROBLEMATIC
from retest.stages.review_pairs import REVIEW, review_item
from retest.stages.review_progress import refresh_counts
from retest.store import schema
from retest.study import Study, StudyConfig, StudySettings, create_study, open_study
from retest.testing.synthetic import SyntheticFacts, SyntheticParameters, fill_study, random_facts

STAMP = Stamp("perf", "2026-01-01T00:00:00+00:00")
PEOPLE = 20
_BLOCK = 20_000
_PICTURES = 64
_NEIGHBORS = 10
_ANNOTATORS = 400
_PER_CLASS = 10


def make(folder: Path, candidates: int, classes: int) -> dict[str, float]:
    """Make the study, or what is missing of it; seconds per step."""
    noted = folder / "made.json"
    seconds: dict[str, float] = json.loads(noted.read_text()) if noted.exists() else {}
    if set(_STEPS) <= seconds.keys():
        return seconds
    facts = random_facts(seed=1, parameters=SyntheticParameters(candidates=candidates, classes=classes, near_duplicates=0.0))
    facts = replace(facts, candidates=tuple(replace(one, review_thresholds={}) for one in facts.candidates))
    new = not (folder / "study.toml").exists()
    opened = create_study(folder, StudyConfig(study=StudySettings(name="perf"))) if new else open_study(folder)
    with closing(opened) as study:
        for name, step in _STEPS.items():
            if name in seconds:
                continue
            started = time.perf_counter()
            step(study, facts)
            seconds[name] = round(time.perf_counter() - started, 2)
            noted.write_text(json.dumps(seconds))
            print(f"  {name}: {seconds[name]} s", file=sys.stderr, flush=True)
    return seconds


def _raw(study: Study, facts: SyntheticFacts) -> None:
    fill_study(study, facts)
    with study.database.write() as tables:
        # The ten answers of a HIT come from different ones of 400 annotators.
        tables.connection.exec_driver_sql(f"UPDATE assignments SET worker = 'worker-' || (rowid % {_ANNOTATORS})")
        dates = "UPDATE candidates SET date_taken = (2004 + rowid % 10) || '-0' || (1 + rowid % 9) || '-1' || (rowid % 9)"
        tables.connection.exec_driver_sql(dates)


def _variants(study: Study, facts: SyntheticFacts) -> None:
    """A stored rendition per image, so that every query meets a full table; many images share a picture."""
    rng = random.Random(2)
    pictures = []
    for _ in range(_PICTURES):
        picture = Image.frombytes("RGB", (20, 15), rng.randbytes(900)).resize((500, 375), Image.Resampling.BICUBIC)
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=90)
        sha256 = content_hash(data.getvalue())
        key = f"images/perf/{sha256}"
        study.blobs.put(key, data.getvalue())
        pictures.append({"blob_key": key, "sha256": sha256, "size_bytes": len(data.getvalue()), "width": 500, "height": 375, "notes": []})
    name = variant_names(study.config.images)[1]
    ids = [*(c.id for c in facts.candidates), *(o.id for o in facts.originals)]
    for start in range(0, len(ids), _BLOCK):
        rows = [
            {"image_id": i, "variant": name} | pictures[n % _PICTURES] for n, i in enumerate(ids[start : start + _BLOCK])
        ]  # fmt: skip
        with study.database.write() as tables:
            tables.connection.execute(sa.insert(schema.variants), rows)


def _places(facts: SyntheticFacts) -> Iterator[tuple[int, int, CandidateFacts]]:
    """(number, number within the class, candidate)"""
    classes = len(facts.wnids)
    return ((number, number // classes, candidate) for number, candidate in enumerate(facts.candidates))


def _partners(facts: SyntheticFacts, number: int, place: int) -> list[str]:
    """Candidates of the same class that are near: those of one place are near to no other's, so that components stay small."""
    classes, count = len(facts.wnids), 1 + place // 10 % 3
    last = len(facts.candidates)
    return [facts.candidates[at].id for step in range(1, count + 1) if (at := number + classes * step) < last]


def _neighbors(study: Study, facts: SyntheticFacts) -> None:
    rng = random.Random(3)
    size = len(facts.candidates)
    for metric, target in study.config.review.targets.items():
        lists: dict[str, list[Neighbor]] = {}

        def write(metric: str = metric, lists: dict[str, list[Neighbor]] = lists) -> None:
            with study.database.write() as tables:
                tables.neighbors.add_new(metric, lists)
            lists.clear()

        for number, place, candidate in _places(facts):
            near = _partners(facts, number, place) if place % 10 == 0 else []
            found = [Neighbor(other, target * (0.3 + 0.1 * rank + 0.3 * rng.random())) for rank, other in enumerate(near)]
            for rank in range(len(near), _NEIGHBORS):
                at = (number * 7919 + (rank + 1) * 104_729) % size
                found.append(Neighbor(facts.candidates[at].id, target * (2.1 + 0.1 * rank + 0.1 * rng.random())))
            lists[candidate.id] = sorted(found, key=lambda one: one.distance)
            if len(lists) == _BLOCK:
                write()
        write()


def _reviews(study: Study, facts: SyntheticFacts) -> None:
    rng = random.Random(4)
    with study.database.write() as tables:
        reviews, pairs, history = [], [], []
        for number, place, candidate in _places(facts):
            if place % 20:
                continue
            near = _partners(facts, number, place)
            marked = near if place % 40 == 0 else []
            pairs += [(candidate.id, other) for other in marked]
            user = f"reviewer {rng.randrange(PEOPLE)}"
            for metric in study.config.review.targets:
                reviews.append(NeighborReview(candidate.id, metric, tuple(near), tuple(marked), user, STAMP.time))
                state = {"references": sorted(near), "near_duplicates": sorted(marked)}
                history.append(_entry(rng, REVIEW, review_item(candidate.id, metric), state, user))
        tables.reviews.add_new(reviews)
        tables.pairs.add(pairs, user=STAMP.user, time=STAMP.time)
        tables.decisions.add_many(history)


def _history(study: Study, facts: SyntheticFacts) -> None:
    rng = random.Random(5)
    rows = []
    for number, candidate in enumerate(facts.candidates):
        if candidate.excluded:
            rows.append(_entry(rng, EXCLUSION, candidate.id, {"reason": "synthetic", "detail": ""}))
        if number % 20 == 0:
            flag = {"detail": "on and off"}
            rows += [_entry(rng, PROBLEMATIC, candidate.id, flag), _entry(rng, PROBLEMATIC, candidate.id, None) | {"before": flag}]
    rng.shuffle(rows)
    rows.sort(key=lambda row: row["after"] is None)  # on before off
    for start in range(0, len(rows), _BLOCK):
        with study.database.write() as tables:
            tables.decisions.add_many(rows[start : start + _BLOCK])


def _entry(rng: random.Random, kind: str, item: str, after: object, user: str | None = None) -> dict[str, object]:
    user = user or f"reviewer {rng.randrange(PEOPLE)}"
    return {"time": f"2026-0{rng.randrange(1, 10)}-01T00:00:00+00:00", "user": user, "kind": kind, "item": item, "after": after}


def _revisions(study: Study, facts: SyntheticFacts) -> None:
    best: dict[str, list[str]] = {wnid: [] for wnid in facts.wnids}
    for candidate in facts.candidates:
        if candidate.frequency >= 0.7 and not candidate.excluded:
            best[candidate.wnid].append(candidate.id)
    with study.database.write() as tables:
        for version in range(3):
            images = [
                (image, wnid) for number, wnid in enumerate(facts.wnids) for image in best[wnid][version * (number % 7 == 0) :][:_PER_CLASS]
            ]
            name, before = f"perf-{version}", f"perf-{version - 1}" if version else None
            parameters = {"per_class": _PER_CLASS}
            tables.revisions.add(Revision(name, "sample_above_threshold", tuple(images), True, 1, parameters, before, "perf", STAMP.time))
            reviewed = (ClassReview(name, wnid, n % 2 == 0, n % 100 == 0) for n, wnid in enumerate(facts.wnids))
            tables.revisions.put_reviews(reviewed)


def _derive(study: Study, facts: SyntheticFacts) -> None:
    with study.database.write() as tables:
        refresh(study, tables)


def _queue(study: Study, facts: SyntheticFacts) -> None:
    """The queue as ``refresh_queue`` derives it, written at once: three million lists need not be read back for it."""
    with study.database.write() as tables:
        tables.connection.execute(sa.delete(schema.pair_queue))
        for metric in study.config.review.targets:
            waiting = [(number, place, one.id) for number, place, one in _places(facts) if place % 20 == 10]
            for start in range(0, len(waiting), _BLOCK):
                lists = tables.neighbors.get([one for _, _, one in waiting[start : start + _BLOCK]], metric)
                tables.pair_queue.put(queue_rows(study, tables, metric, lists))
        lists_in_all = sum(tables.neighbors.counts().values())
        exclusions = tables.generations.of("exclusions")["exclusions"]
        tables.completions.put(STAGE, ITEM, queue_key(study, tables), exclusions=exclusions, lists=lists_in_all)


_STEPS: dict[str, Callable[[Study, SyntheticFacts], object]] = {
    "raw records": _raw,
    "variants": _variants,
    "neighbours": _neighbors,
    "reviews of neighbours": _reviews,
    "history": _history,
    "revisions": _revisions,
    "frequencies and resolution": _derive,
    "queue": _queue,
    "counts per class": lambda study, facts: refresh_counts(study),
}
