"""A run of the reduced demo, and a reader of what it left behind that shares no code with the stages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from retest.demo import DemoResult, run_demo, small_demo


@dataclass(frozen=True)
class DemoRun:
    """What a run left behind, read without retest: the database through sqlite3, the rest as files."""

    out: Path
    result: DemoResult
    said: tuple[str, ...]
    steps: tuple[str, ...]

    @property
    def study(self) -> Path:
        return self.out / "study"

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Rows of an SQL query; a row of one column is that value."""
        with closing(sqlite3.connect(f"file:{self.study / 'study.db'}?mode=ro", uri=True)) as connection:
            found = connection.execute(query, values).fetchall()
        return [row[0] if len(row) == 1 else row for row in found]

    @cached_property
    def hits(self) -> list[dict[str, Any]]:
        names = ("no", "uuid", "wnid", "images_to_label", "images_pos_control", "images_neg_control", "images_all", "assignments")
        rows = self.rows(f"SELECT {', '.join(names)} FROM hits ORDER BY no")
        return [{n: json.loads(v) if n.startswith("images_") else v for n, v in zip(names, row, strict=True)} for row in rows]

    @cached_property
    def answers(self) -> list[dict[str, Any]]:
        names = ("id", "hit_uuid", "worker", "status", "selected")
        rows = self.rows(f"SELECT {', '.join(names)} FROM assignments")
        return [{n: json.loads(v) if n == "selected" else v for n, v in zip(names, row, strict=True)} for row in rows]

    @cached_property
    def frequencies(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(image, class) -> (valid assignments, selections), counted from the raw answers."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        by_uuid = {hit["uuid"]: hit for hit in self.hits}
        for answer in self.answers:
            if answer["status"] not in ("Submitted", "Approved"):
                continue
            hit = by_uuid[answer["hit_uuid"]]
            for image in hit["images_all"]:
                shown, selected = found.get((image, hit["wnid"]), (0, 0))
                found[image, hit["wnid"]] = (shown + 1, selected + (image in answer["selected"]))
        return found

    @cached_property
    def candidates(self) -> list[tuple[str, str, tuple[str, str]]]:
        """(id, class, (source, photo id)) of every candidate."""
        return [(i, w, (s, p)) for i, w, s, p in self.rows("SELECT id, wnid, source, photo_id FROM candidates")]

    @cached_property
    def excluded(self) -> dict[str, str]:
        return dict(self.rows("SELECT candidate_id, reason FROM exclusions"))

    @cached_property
    def originals(self) -> dict[str, tuple[str, str]]:
        """id -> (split, class)."""
        return {i: (split, wnid) for i, split, wnid in self.rows("SELECT id, split, wnid FROM originals")}

    @cached_property
    def similar(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = json.loads((self.out / "digits/original/similar_classes.json").read_text())
        return found

    @cached_property
    def neighbors(self) -> dict[str, dict[str, list[tuple[str, float]]]]:
        """metric -> candidate -> [(reference, distance), ...] as stored."""
        found: dict[str, dict[str, list[tuple[str, float]]]] = {}
        for metric, query, text in self.rows("SELECT metric, query_id, neighbors FROM neighbors"):
            found.setdefault(metric, {})[query] = [(reference, distance) for reference, distance in json.loads(text)]
        return found

    @cached_property
    def reviewed(self) -> dict[str, dict[str, set[str]]]:
        """metric -> candidate -> references that were reviewed."""
        found: dict[str, dict[str, set[str]]] = {}
        for metric, candidate, reference in self.rows("SELECT metric, candidate_id, reference FROM reviewed_neighbors"):
            found.setdefault(metric, {}).setdefault(candidate, set()).add(reference)
        return found

    @cached_property
    def pairs(self) -> set[tuple[str, str]]:
        return {tuple(row) for row in self.rows("SELECT first, second FROM near_duplicate_pairs")}

    @cached_property
    def keys(self) -> dict[tuple[str, str], str]:
        """(variant, image) -> blob key."""
        return {(variant, image): key for variant, image, key in self.rows("SELECT variant, image_id, blob_key FROM variants")}

    def blob(self, variant: str, image: str) -> bytes:
        return (self.study / "blobs" / self.keys[variant, image]).read_bytes()

    @property
    def planted(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.out / "digits/planted.json").read_text())["planted"]
        return found


def run_small_demo(out: Path, *, watch: Callable[[str], None] = lambda _event: None) -> DemoRun:
    """Run the reduced demo; ``watch`` is told every step of a progress bar and every line said, as they come."""
    said: list[str] = []
    steps: list[str] = []

    @contextmanager
    def progress(label: str, *, total: int | None) -> Iterator[Any]:
        yield lambda _count: (steps.append(label), watch(label))

    result = run_demo(out, parameters=small_demo(), progress=progress, say=lambda line: (said.append(line), watch(line)))
    return DemoRun(out, result, tuple(said), tuple(steps))


def run_watched(out: Path, events: Connection) -> None:
    """The same in another process that can be killed; every event goes through the pipe."""
    run_small_demo(out, watch=events.send)
