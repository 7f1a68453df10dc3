"""A study of a handful of records, written by hand, with everything that is rare in real ones."""

from __future__ import annotations

import numpy as np

from retest.models import write_predictions
from retest.records import (
    Assignment,
    AssignmentStatus,
    Candidate,
    ClassInfo,
    ClassReview,
    DuplicateOccurrence,
    Exclusion,
    Hit,
    Neighbor,
    NeighborReview,
    OriginalImage,
    Predictions,
    Revision,
    Split,
)
from retest.store import PredictionSet
from retest.study import StudyConfig, StudySettings, create_study

BIRD, MACHINE, EGRET, FLY = "n02012849", "n03126707", "n02009912", "n02190166"
TIME = "2026-01-01T00:00:00+00:00"

CLASSES = (
    ClassInfo(FLY, 4, ("Crane_fly", "daddy longlegs"), "", most_similar=(FLY, BIRD, "n09999999", MACHINE)),
    ClassInfo(BIRD, 1, ("crane",), "large wading bird of marshes", most_similar=(BIRD, EGRET, MACHINE, FLY)),
    ClassInfo(MACHINE, 2, ("crane",), "lifts heavy objects"),
    ClassInfo(EGRET, 3, ("American egret", "Egretta albus"), "a bird, not a crane, of cranelike habits"),
    ClassInfo("widget", 7, ("hoist", "craneless winch"), ""),
)

VAL = tuple(f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 6))
TEST = "ILSVRC2012_test_00000001.JPEG"
TRAIN = f"{BIRD}_17.JPEG"

ORIGINALS = (
    *(OriginalImage(name, Split.VAL, wnid) for name, wnid in zip(VAL, (BIRD, BIRD, MACHINE, EGRET, FLY), strict=True)),
    OriginalImage(TEST, Split.TEST, None),
    OriginalImage(TRAIN, Split.TRAIN, BIRD),
)


def candidate(name: str, wnid: str, photo: str | None = None, **more) -> Candidate:
    return Candidate(name, wnid, "flickr", photo or f"photo-{name}", f"https://example.org/{name}.jpg", **more)


CANDIDATES = (
    candidate("c1", BIRD, "p1", search_key="crane"),
    candidate("c2", MACHINE, "p1", search_key="crane"),  # the same photo for another class
    candidate("c3", BIRD, search_key="crane"),
    candidate("c4", BIRD, search_key="crane bird"),
    candidate("c5", BIRD, search_key="crane bird"),  # excluded
    candidate("c6", MACHINE, search_key="crane"),
    candidate("c7", EGRET, search_key="egret"),
    Candidate("r1", "", "reference", "r1", ""),
    Candidate("r2", BIRD, "reference", "r2", ""),
)


def hit(uuid: str, wnid: str, label: tuple[str, ...], pos: tuple[str, ...] = (), neg: tuple[str, ...] = (), **more) -> Hit:
    return Hit(uuid, wnid, label, pos, neg, (*reversed(label), *neg, *pos), user="me", time=TIME, submitted=True, **more)


HITS = (
    hit("h1", BIRD, ("c1", "c3", "c4"), (VAL[0],), (VAL[3],), hit_id="HIT-1", file="2026_me.json"),
    hit("h2", BIRD, ("c1", "c5")),
    hit("h3", MACHINE, ("c1", "c2", "c6"), (VAL[2],), (VAL[0],)),
    hit("h4", BIRD, ("c1", "c3")),  # excluded
    hit("h5", EGRET, ("c7",)),  # no answers
)

SUBMITTED, APPROVED, REJECTED = AssignmentStatus.SUBMITTED, AssignmentStatus.APPROVED, AssignmentStatus.REJECTED


def answer(name: str, uuid: str, worker: str, status: AssignmentStatus, *selected: str, seconds: int = 60) -> Assignment:
    end = f"2026-01-01T00:{seconds // 60:02d}:{seconds % 60:02d}"
    return Assignment(name, uuid, worker, status, selected, "2026-01-01T00:00:00", end)


ASSIGNMENTS = (
    answer("a1", "h1", "ann", SUBMITTED, "c1", "c3", VAL[0]),
    answer("a2", "h1", "bob", APPROVED, "c1", VAL[0], "elsewhere"),  # an image that the HIT does not show
    answer("a3", "h1", "cyd", REJECTED, "c4"),
    answer("a4", "h2", "ann", APPROVED, "c1"),
    answer("a5", "h2", "bob", SUBMITTED, "c5"),
    answer("a6", "h3", "ann", SUBMITTED, "c2", "c6", VAL[2]),
    answer("a7", "h4", "dan", SUBMITTED, "c3"),
    answer("a8", "h4", "ann", SUBMITTED, "c1"),
)

# (image, class) -> (valid assignments, selections), counted by hand from the lines above; h4 is excluded, a3 rejected.
FREQUENCIES = {
    ("c1", BIRD): (4, 3),
    ("c3", BIRD): (2, 1),
    ("c4", BIRD): (2, 0),
    ("c5", BIRD): (2, 1),
    (VAL[0], BIRD): (2, 2),
    (VAL[3], BIRD): (2, 0),
    ("c1", MACHINE): (1, 0),
    ("c2", MACHINE): (1, 1),
    ("c6", MACHINE): (1, 1),
    (VAL[2], MACHINE): (1, 1),
    (VAL[0], MACHINE): (1, 0),
    ("c7", EGRET): (0, 0),
}

# c1 and c2 share a photo, c2 was marked a near-duplicate of c6, c4 of an original; c5 of itself only; c7 of an id nobody knows.
PAIRS = (("c2", "c6"), ("c4", VAL[1]), ("c5", "c5"), ("c7", "nobody"))

PARAMETERS = {"min_num_annotations": 2}
REVISIONS = (
    Revision("set-a-1", "sample_best", (("c3", BIRD), ("c6", MACHINE)), False, 7, PARAMETERS, "set-a-0", "me", TIME),
    Revision("set-a-2", "sample_best", (("c6", MACHINE), ("c1", BIRD)), True, 8, PARAMETERS, "set-a-1", "me", TIME),
    Revision("set-a-3", "sample_best", (("c1", BIRD), ("c7", "n00000000")), True, 9, PARAMETERS, "set-a-2", "me", TIME),
)


def predictions(dataset: str, model: str, ids: tuple[str, ...], labels: list[int], top: list[list[int]], scores=None) -> Predictions:
    kept = None if scores is None else np.array(scores, np.float32)
    return Predictions(dataset, model, ids, np.array(labels, np.int64), np.array(top, np.int64), kept)


PREDICTIONS = (
    predictions("set-a-2", "good", ("c6", "c1"), [2, 1], [[2, 1], [1, 2]]),
    predictions("set-a-2", "odd", ("c1", "c6"), [1, 2], [[2, 1], [99, 3]]),  # other order, and a class that the study does not have
    predictions("set-a-3", "good", ("c1", "c7"), [1, -1], [[1, 2], [3, 4]], [[0.75, 0.25], [0.5, 0.5]]),
    predictions("original", "good", (VAL[0], VAL[2]), [1, 2], [[1, 2], [1, 2]]),
)


def write_tiny(folder):
    study = create_study(folder, StudyConfig(study=StudySettings(name="tiny")))
    for found in PREDICTIONS:
        write_predictions(folder / f"predictions/{found.dataset}-{found.model}.parquet", found)
    with study.database.write() as tables:
        tables.classes.put(CLASSES)
        tables.originals.add(ORIGINALS)
        tables.candidates.add(CANDIDATES)
        tables.candidates.add_occurrences(
            (key, DuplicateOccurrence("c3", "flickr", "photo-c3", BIRD, "crane", "page 2")) for key in ("2#c3", "3#c3")
        )
        tables.exclusions.add([Exclusion("c5", "drawing", "a sketch", "me", TIME), Exclusion("r1", "blurred", "", "me", TIME)])
        tables.problems.put("c5", "html", "c5: an HTML page instead of an image")
        tables.hits.add(HITS, assignments=10)
        tables.hits.exclude(["h4"], "of an ignored file")
        tables.assignments.add(ASSIGNMENTS)
        tables.pairs.add(PAIRS, user="me", time=TIME)
        tables.neighbors.put("l2", {"c1": [Neighbor("c1", 0.0), Neighbor("c2", 1e7), Neighbor("c5", 2e8), Neighbor(VAL[1], 3e8)]})
        tables.neighbors.put("dssim", {"c1": [Neighbor("c3", 0.3)]})
        tables.neighbors.put("fc7", {"c1": [Neighbor("c1", 0.0), Neighbor("c3", 2e4)]})
        tables.reviews.add(
            [NeighborReview("c1", "l2", ("c5",), (), "me", TIME), NeighborReview("c1", "fc7", ("c3",), ("c3",), "you", TIME)]
        )
        for revision in REVISIONS:
            tables.revisions.add(revision)
        tables.revisions.put_reviews([ClassReview("set-a-2", BIRD, reviewed=True, problematic=False)])
        for found in PREDICTIONS:
            file = f"predictions/{found.dataset}-{found.model}.parquet"
            tables.predictions.put(PredictionSet(found.dataset, found.model, file, len(found.image_ids), f"print of {file}"))
    return study
