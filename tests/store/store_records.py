"""Small records for the store's tests: equal numbers give equal records."""

from __future__ import annotations

from retest.labeling import ControlAccuracy, WorkerQuality
from retest.records import (
    Assignment,
    AssignmentStatus,
    Candidate,
    ClassInfo,
    ClassReview,
    DuplicateOccurrence,
    Exclusion,
    Hit,
    ImageVariant,
    Neighbor,
    NeighborReview,
    OpaqueName,
    OriginalImage,
    Resolution,
    Revision,
    SelectionFrequency,
    Split,
)
from retest.store.hit_figures import WorkerRow

TIME = "2026-01-31T09:00:00+00:00"


def class_info(number: int, gloss: str = "a fish") -> ClassInfo:
    return ClassInfo(f"n{number:08d}", number, ("gold fish", "Carassius é"), gloss, ("animal",), ("https://x",), (f"n{number:08d}", "n9"))


def original(number: int, split: Split = Split.VAL, wnid: str | None = "n00000001") -> OriginalImage:
    return OriginalImage(f"{split}/{number:08d}.JPEG", split, wnid, f"/data/{number}.JPEG")


def candidate(number: int, wnid: str = "n00000001", **values: object) -> Candidate:
    given = {"title": "Ein Fisch ' \" \\ 🐟", "width": 640, "height": 480, "query": {"sort": "date", "pages": [1, 2]}, **values}
    return Candidate(f"c{number:039d}", wnid, "flickr", f"{10**9 + number}", f"https://x/{number}.jpg", **given)  # type: ignore[arg-type]


def occurrence(number: int) -> DuplicateOccurrence:
    return DuplicateOccurrence(f"c{number:039d}", "flickr", f"{10**9 + number}", "n00000001", "gold fish")


def exclusion(number: int, reason: str = "html") -> Exclusion:
    return Exclusion(f"c{number:039d}", reason, "a page instead of a photo", "tester", TIME)


def variant(number: int, name: str = "original", size: int = 100) -> ImageVariant:
    return ImageVariant(f"c{number:039d}", name, f"images/{name}/{number}.jpg", f"{number:064x}", size, 64, 48)


def opaque(number: int, version: int = 1) -> OpaqueName:
    return OpaqueName(f"c{number:039d}", version, f"{version:016x}{number:016x}")


def hit(number: int, wnid: str = "n00000001") -> Hit:
    parts = (tuple(f"{role}{number}-{i}" for i in range(count)) for role, count in (("label", 4), ("positive", 2), ("negative", 1)))
    to_label, positive, negative = parts
    shown = (*negative, *to_label, *positive)
    return Hit(f"00000000-0000-4000-8000-{number:012d}", wnid, to_label, positive, negative, shown, "tester", TIME)


def assignment(number: int, hit_number: int = 0, status: AssignmentStatus = AssignmentStatus.SUBMITTED) -> Assignment:
    return Assignment(f"a{number:04d}", hit(hit_number).uuid, f"worker-{number}", status, hit(hit_number).images_all[:3], TIME, TIME)


def frequency(number: int, selected: int = 7) -> SelectionFrequency:
    return SelectionFrequency(f"c{number:039d}", "n00000001", 10, selected)


def neighbors(number: int) -> tuple[Neighbor, ...]:
    return (Neighbor(f"c{number:039d}", 0.0), Neighbor("val/1.JPEG", 0.1 + number), Neighbor("val/2.JPEG", 1e100))


def review(number: int, metric: str = "l2", near: tuple[str, ...] = ("val/1.JPEG",)) -> NeighborReview:
    return NeighborReview(f"c{number:039d}", metric, ("val/1.JPEG", "val/2.JPEG"), near, "reviewer", TIME)


def resolution(number: int, near: bool = True) -> Resolution:
    return Resolution(f"c{number:039d}", near, "component", "near-duplicate of val/1.JPEG")


def revision(name: str = "study-a-1", images: int = 3, **values: object) -> Revision:
    pairs = tuple((f"c{number:039d}", "n00000001") for number in reversed(range(images)))
    given = {"parameters": {"per_class": 3, "targets": {"l2": 1.2e8}}, "user": "tester", "time": TIME, **values}
    return Revision(name, "sample_above_threshold", pairs, True, 7, **given)  # type: ignore[arg-type]


def class_review(wnid: str = "n00000001", reviewed: bool = False) -> ClassReview:
    return ClassReview("study-a-1", wnid, reviewed, False)


def worker_row(worker: str, answers: int) -> WorkerRow:
    return WorkerRow(WorkerQuality(worker, answers, ControlAccuracy(3, 2, 3, 3), 48, 7, 0.1, 1 / 3, 1, (("code", "reason é"),)), 2)
