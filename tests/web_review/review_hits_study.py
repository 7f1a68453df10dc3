"""HITs as the method makes them (controls among the images, ten annotators of different kinds) in the small study of the review tests."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

from retest.records import Assignment, AssignmentStatus, Hit
from retest.stages._frequencies import refresh_frequencies
from retest.stages.review_progress import refresh_counts
from retest.study import open_study

CAREFUL = tuple(f"{number:02}{'c0ffee' * 3}" for number in range(10))
SPAMMER = "99" + "badbad" * 3
REJECTED = "98" + "facade" * 3


def add_hits(folder: Path, *, seed: int = 3, share: float = 0.5) -> list[str]:
    """Two HITs of each class, each with a share of its candidates, half of which both show; uuids in the order in which they were added.

    Ten careful annotators answer, one who selects everything within seconds, and one whose answers are rejected.
    """
    rng = random.Random(seed)
    uuids = []
    with closing(open_study(folder)) as study:
        with study.database.write() as tables:
            wnids = [info.wnid for info in tables.classes.all()]
            for wnid in wnids:
                candidates = tables.candidates.ids(wnid=wnid)
                own = tables.originals.ids(split="val", wnid=wnid)
                other = tables.originals.ids(split="val", wnid=next(one for one in wnids if one != wnid))
                half = int(len(candidates) * share)
                for part in (0, 1):
                    label = tuple(candidates[part * half // 2 : part * half // 2 + half])
                    positive, negative = tuple(own[:3]), tuple(other[:3])
                    images = [*label, *positive, *negative]
                    rng.shuffle(images)
                    number = len(uuids)
                    uuid = f"{number:08}-0000-4000-8000-{number:012}"
                    time = f"2026-02-0{number + 1}T10:00:00+00:00"
                    hit = Hit(uuid, wnid, label, positive, negative, tuple(images), "tester", time, submitted=True, hit_id=f"CROWD{number}")
                    tables.hits.add([hit], assignments=11)
                    tables.assignments.add(_answers(hit, rng, number + 1))
                    uuids.append(uuid)
            refresh_frequencies(tables)
        refresh_counts(study)
    return uuids


def _answers(hit: Hit, rng: random.Random, day: int) -> list[Assignment]:
    liked = {image: rng.random() for image in hit.images_to_label}
    answers = []
    for number, worker in enumerate((*CAREFUL, SPAMMER, REJECTED)):
        careless = worker in (SPAMMER, REJECTED)
        chosen = [
            image
            for image in hit.images_all
            if careless or image in hit.images_pos_control or (image in liked and rng.random() < liked[image])
        ]
        status = AssignmentStatus.REJECTED if worker == REJECTED else AssignmentStatus.APPROVED
        seconds = 2 if careless else 30 + number
        accepted, submitted = f"2026-02-{day:02}T11:{number:02}:00+00:00", f"2026-02-{day:02}T11:{number:02}:{seconds:02}+00:00"
        answers.append(Assignment(f"{hit.uuid}-{number:02}", hit.uuid, worker, status, tuple(chosen), accepted, submitted))
    return answers
