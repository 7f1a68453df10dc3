"""A study of handwritten digits, for the screenshots of the documentation: pages look like what people will see, and may be published.

The digits are those that scikit-learn ships (UCI "Optical Recognition of Handwritten Digits"), enlarged, and drawn in ink on paper.
"""

from __future__ import annotations

import json
import os
import random
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from review_guesses import store
from review_server import STAMP, ReviewServer, collected_study

from retest.labeling import HitParameters
from retest.records import Assignment, AssignmentStatus, Hit
from retest.stages import neighbors, review
from retest.stages._frequencies import refresh_frequencies
from retest.stages.review import Change
from retest.stages.review_progress import refresh_counts

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHOWN = "digit-3"
SIDE = 256
TRAIN, VAL, POOL = 2, 8, 14
"""Images of each digit; the pool gets some planted ones more."""
AGAIN = "again-"
"""How the names of planted copies begin."""
_STRETCH = 138
"""Thirteen people wrote the 1,797 digits one after the other; each stretch of this length has an ink and a paper of its own."""
_INKS = ("#1b2a6b", "#22262b", "#5a2d1a", "#0f4c3a", "#7a1430")
_PAPERS = ("#fbf6e9", "#f4f1ea", "#e9f1f7", "#f3e6cf", "#eef3e4", "#f9eaea", "#ffffff")
_MISTAKEN = {3: (5, 9), 5: (3, 8), 8: (1, 3), 9: (4, 7)}
"""Which digits lie in the pool of which by mistake."""


@cache
def _digits():
    from sklearn.datasets import load_digits

    return load_digits()


def _rows(digit: int) -> list[int]:
    """Rows of the data set that show a digit, in an order of their own, so that all writers take part."""
    rows = [int(row) for row in np.flatnonzero(_digits().target == digit)]
    random.Random(digit).shuffle(rows)
    return rows


def draw(row: int) -> Image.Image:
    """One digit, SIDE pixels wide, in the ink and on the paper of its stretch of the data set."""
    writer, margin = row // _STRETCH, SIDE // 24
    small = Image.fromarray(np.pad(np.round(_digits().images[row] * (255 / 16)).astype(np.uint8), 1))
    stroke = small.resize((SIDE - 2 * margin, SIDE - 2 * margin), Image.Resampling.BICUBIC)
    stroke = stroke.point(lambda value: min(max(round((value - 70) * 2), 0), 255))
    page = Image.new("RGB", (SIDE, SIDE), _PAPERS[writer % len(_PAPERS)])
    page.paste(_INKS[writer % len(_INKS)], (margin, margin), stroke)
    return page


def _scanned_again(image: Image.Image, number: int) -> Image.Image:
    """What somebody else's copy of a page looks like."""
    turned = image.rotate(1.5 - number % 4, Image.Resampling.BICUBIC, fillcolor=image.getpixel((0, 0)))
    return ImageEnhance.Brightness(turned).enhance(0.96)


def write_images(folder: Path, digits: tuple[int, ...]) -> dict[str, int]:
    """Folders train, val and pool; the pool holds copies of originals and of a candidate, and mistaken digits. File -> row drawn."""
    drawn = {}
    for digit in digits:
        rows = _rows(digit)
        train, val, pool = rows[:TRAIN], rows[TRAIN : TRAIN + VAL], rows[TRAIN + VAL : TRAIN + VAL + POOL]
        mistaken = [_rows(other)[-1 - digit] for other in _MISTAKEN.get(digit, ())]
        for part, chosen in (("train", train), ("val", val), ("pool", [*pool, *mistaken])):
            (folder / part / f"digit-{digit}").mkdir(parents=True)
            for row in chosen:
                drawn[f"{part}/digit-{digit}/{part}-{row:04}.png"] = row
                draw(row).save(folder / part / f"digit-{digit}/{part}-{row:04}.png")
        for number, row in enumerate((val[0], val[0], val[3], pool[1])):
            file = f"pool/digit-{digit}/{AGAIN}{number}-{row:04}.png"
            drawn[file] = row
            _scanned_again(draw(row), number + digit).save(folder / file)
    return drawn


def make_digit_study(folder: Path, *, digits: tuple[int, ...] = (3, 5, 8, 9), reviewed: bool = True) -> Path:
    """These digits as classes, with ten answers each: the more an image looks like its digit, the more select it.

    Near-duplicates are reviewed, or wait as neighbours in l2.
    """
    drawn = write_images(folder, digits)
    wnids = [f"digit-{digit}" for digit in digits]
    info = [
        {"cid": d, "wnid": f"digit-{d}", "synset": [NAMES[d]], "gloss": f"the digit {d}, written by hand", "wikipedia_pages": []}
        for d in digits
    ]
    (folder / "classes.json").write_text(json.dumps(info))
    (folder / "similar.json").write_text(json.dumps({wnid: [wnid, *(o for o in wnids if o != wnid)] for wnid in wnids}))
    with collected_study(folder, name="digits", labeling=HitParameters(), per_class=8) as study:
        if not reviewed:
            neighbors.find_neighbors(study, metrics=["l2"])
        with study.database.write() as tables:
            for wnid in wnids:
                _answer(tables, wnid, drawn)
            refresh_frequencies(tables)
            for metric in study.config.review.targets:
                if reviewed or metric != "l2":
                    tables.reviews.put_thresholds(metric, dict.fromkeys(tables.candidates.ids(), 1e100))
        refresh_counts(study)
    return folder / "study"


def _answer(tables, wnid: str, drawn: dict[str, int]) -> None:
    files = _files(tables, wnid)
    means = np.stack([_digits().images[_digits().target == digit].mean(axis=0) for digit in range(10)])
    far = {image: np.square(means[int(wnid[-1])] - _digits().images[drawn[file]]).sum() for image, file in files.items()}
    order = sorted(far, key=far.__getitem__)
    liked = {image: 1 - 0.75 * (place / len(order)) ** 2 for place, image in enumerate(order)}
    rng = random.Random(wnid)
    hit = Hit(f"hit-{wnid}", wnid, tuple(files), (), (), tuple(files), "tester", STAMP.time, submitted=True, hit_id=wnid)
    tables.hits.add([hit], assignments=10)
    tables.assignments.add(
        Assignment(f"{wnid}-{j}", hit.uuid, f"w{j}", AssignmentStatus.APPROVED, tuple(i for i in files if rng.random() < liked[i]))
        for j in range(10)
    )


def _files(tables, wnid: str) -> dict[str, str]:
    """Image -> the file it was made from, for the candidates and original validation images of a class."""
    found = {one.id: f"pool/{one.photo_id}" for one in tables.candidates.all(wnid=wnid)}
    return found | {one.id: one.id for one in tables.originals.all(wnid=wnid) if one.split == "val"}


def give_guesses(server: ReviewServer, *, dataset: str = "digits-a-1") -> None:
    """What small classifiers, taught with 88 digits that are not in the study, say of the candidates of SHOWN."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.tree import DecisionTreeClassifier

    known = (3, 5, 8, 9)
    taught = [row for digit in known for row in _rows(digit)[60:82]]
    with server.study.database.read() as tables:
        files = {image: file for image, file in _files(tables, SHOWN).items() if file.startswith("pool/")}
    rows = [int(Path(file).stem.rpartition("-")[2]) for file in files.values()]
    models = {
        "decision tree": DecisionTreeClassifier(random_state=0),
        "decision tree, depth 4": DecisionTreeClassifier(random_state=0, max_depth=4),
        "logistic regression": LogisticRegression(max_iter=5000),
        "naive Bayes": GaussianNB(var_smoothing=1e-2),
        "nearest neighbours": KNeighborsClassifier(9),
        "nearest neighbour": KNeighborsClassifier(1),
    }
    for name, model in models.items():
        model.fit(_digits().data[taught], _digits().target[taught])
        scores = model.predict_proba(_digits().data[rows])
        order = np.argsort(-scores, axis=1, kind="stable")
        best = np.take_along_axis(scores, order, axis=1).astype(np.float32)
        store(server, dataset, name, list(files), [3] * len(files), model.classes_[order], scores=best)


def decide_what_was_planted(server: ReviewServer, wnids: tuple[str, ...]) -> None:
    """Copies are near-duplicates, mistaken digits are excluded."""
    changes = []
    with server.study.database.read() as tables:
        for wnid in wnids:
            digit = int(wnid.removeprefix("digit-"))
            files = {image: Path(file) for image, file in _files(tables, wnid).items()}
            first = {int(f.stem[-4:]): image for image, f in files.items() if not f.name.startswith(AGAIN)}
            for image, file in files.items():
                row = int(file.stem[-4:])
                if file.name.startswith(AGAIN):
                    changes.append(Change("near_duplicate_pair", review.pair_item(image, first[row]), True, 0))
                elif _digits().target[row] != digit:
                    changes.append(Change("exclusion", image, {"reason": "not the class", "detail": ""}, 0))
    review.decide(server.study, changes, stamp=STAMP)


def take_picture(page, name: str) -> None:
    """A picture of the page in the folder that RETEST_SCREENSHOTS names (if any), in 256 colours: they go into the repository."""
    if "RETEST_SCREENSHOTS" in os.environ:
        path = Path(os.environ["RETEST_SCREENSHOTS"]) / f"review-{name}.png"
        page.screenshot(path=path)
        with Image.open(path) as shot:
            small = shot.convert("RGB").quantize(256)
        small.save(path, optimize=True)
