"""Predictions for the small study, and what they say by plain counting of the rows of their Parquet files."""

from __future__ import annotations

from collections import Counter
from math import log2

import numpy as np
import pyarrow.parquet as pq

from retest.records import ClassInfo, Predictions
from retest.stages._evaluation_results import StudyResults

MORE = (("cherry", 2), ("date", 3), ("elder", 4))
STRANGE = 9
"""A class index that the study does not know."""


def add_classes(server, gloss="a fruit") -> None:
    with server.study.database.write() as tables:
        tables.classes.put([ClassInfo(wnid, cid, (wnid, f"{wnid} tree"), gloss) for wnid, cid in MORE])


def store(server, dataset, model, ids, labels, top, *, scores=None, key=None) -> None:
    record = Predictions(dataset, model, tuple(ids), np.array(labels, np.int64), np.array(top, np.int64), scores)
    StudyResults(server.study).store(record, key or f"{dataset} {model}")


def give_random(server, dataset="x-a-1", *, models=7, seed=1, strange=0.1):
    """Models of different skill on all images of the study's candidates; the last one lacks some images and has them in another order."""
    add_classes(server)
    rng = np.random.default_rng(seed)
    ids = [*server.ids("apple"), *server.ids("banana")]
    labels = [0] * len(server.ids("apple")) + [1] * len(server.ids("banana"))
    labels[3] = -1
    hard = rng.permutation(len(ids))[:6]  # no model gets these, most say the same
    for model in range(models):
        top = np.array([rng.permutation(5) for _ in ids])
        good = rng.random(len(ids)) < model / models
        for row in np.flatnonzero(good & (np.array(labels) >= 0)):
            place = int(np.flatnonzero(top[row] == labels[row])[0])
            top[row, [0, place]] = top[row, [place, 0]]
        top[rng.random(len(ids)) < strange, 0] = STRANGE
        for row in hard:
            top[row] = [2 if model > row % models else 3, labels[row] if labels[row] >= 0 else 4, 4, 0, 1]
        order = rng.permutation(len(ids))[: len(ids) - 4] if model == models - 1 else np.arange(len(ids))
        width = 3 if model == 1 else 5
        scores = None if model == 2 else np.sort(rng.random((len(order), width)).astype(np.float32))[:, ::-1].copy()
        store(server, dataset, f"m{model}", [ids[i] for i in order], [labels[i] for i in order], top[order, :width], scores=scores)
    return ids, labels


def rows_of(server, dataset="x-a-1"):
    """image -> (label, {model: [classes, best first]}) from the Parquet files themselves."""
    found = {}
    with server.study.database.read() as tables:
        entries = tables.predictions.all(dataset=dataset)
    for entry in entries:
        for row in pq.read_table(server.study.folder / entry.blob_key).to_pylist():
            found.setdefault(row["image_id"], (row["label"], {}))[1][entry.model] = row["top_classes"]
    return found


def votes_of(answers):
    """[(class, votes)], the most first."""
    return sorted(Counter(top[0] for top in answers.values()).items(), key=lambda one: (-one[1], one[0]))


def entropy_of(answers):
    counts = [votes for _, votes in votes_of(answers)]
    return sum(-c / sum(counts) * log2(c / sum(counts)) for c in counts)


def wrong_by_all(rows):
    missed = [i for i, (label, answers) in rows.items() if label is not None and all(top[0] != label for top in answers.values())]
    return sorted(missed, key=lambda image: (-votes_of(rows[image][1])[0][1], image))


def disputed(rows):
    several = [image for image, (_, answers) in rows.items() if len(votes_of(answers)) > 1]
    return sorted(several, key=lambda image: (-round(entropy_of(rows[image][1]), 9), image))
